"""Data of which nothing can be learned, or too much: constant ones, samples that two parts share, numbers at the ends of float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasforge.data import Source, StoredDataset, load
from nasforge.errors import UserError
from nasforge.tasks import data_of

RNG = np.random.default_rng(0)
Y = np.arange(60) % 3
X = RNG.normal(size=(60, 4)).astype(np.float32)
PICTURES = RNG.integers(0, 256, (60, 1, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize("x", [
    np.ones((60, 4), np.float32), np.zeros((60, 5, 2), np.float32), np.full((60, 1, 8, 8), 7, np.uint8), np.repeat(PICTURES[:1], 60, 0),
    np.repeat(np.arange(10)[None], 60, 0),
])  # fmt: skip
@pytest.mark.parametrize("memory", [2.0**31, 0.0])
def test_samples_that_are_all_the_same_are_refused(x: Any, memory: float) -> None:
    with pytest.raises(UserError, match="arrays: samples must differ, got 36 training samples that are all the same"):
        data_of((x, Y), memory_bytes=memory)


def test_constant_features_and_channels_are_said() -> None:
    x, pictures = X.copy(), np.concatenate([PICTURES, np.full_like(PICTURES, 255), np.zeros_like(PICTURES)], 1)
    assert data_of((x, Y)).spec.notes == data_of((PICTURES, Y)).spec.notes == ()
    x[:, 1], x[:, 2] = 3.0, np.where(np.arange(60) % 2, np.nan, 1.0)
    assert data_of((x, Y)).spec.notes == ("2 of 4 features hold one number in all of the training part",)
    assert "2 of 3 channels hold one number in all of the training part" in data_of((pictures, Y)).spec.notes
    assert bool(data_of((x, Y)).train.x.isfinite().all())


@pytest.mark.parametrize("x", [X, PICTURES, RNG.integers(0, 50, (60, 10))], ids=["vectors", "images", "tokens"])
@pytest.mark.parametrize("memory", [2.0**31, 0.0], ids=["", "stored"])
def test_samples_of_train_that_val_and_test_have_too_are_said(x: Any, memory: float) -> None:
    apart = {"x_train": x[:30], "y_train": Y[:30], "x_val": x[30:45], "y_val": Y[30:45], "x_test": x[45:], "y_test": Y[45:]}
    data = data_of(apart, memory_bytes=memory)
    assert isinstance(data, StoredDataset) == (memory == 0) and not any("are in" in note for note in data.spec.notes)
    shared = {**apart, "x_val": np.concatenate([x[29:30], x[31:45]]), "x_test": np.concatenate([x[:2], x[40:41], x[48:]])}
    notes = [note for note in data_of(shared, memory_bytes=memory).spec.notes if "are in" in note]
    assert notes == [
        "1 of 15 samples of val are in train too: its scores are better than those on new data",
        "3 of 15 samples of test are in train or val too: its scores are better than those on new data",
    ]
    twice = data_of((np.repeat(x[:12], 5, 0), Y), memory_bytes=memory)  # before they are divided
    assert "12 of 12 samples of test are in train or val too" in " ".join(twice.spec.notes)


def test_photographs_in_two_folders_are_found_by_their_content(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("test", 20)):
        for i in range(first, first + 24):  # the last four of train are the first four of test
            folder = tmp_path / "set" / part / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PICTURES[i, 0]).save(folder / f"{part}{i}.png")
    for memory in (None, 0.0):
        notes = load(Source.of({"data": str(tmp_path / "set"), "data_memory": memory})).spec.notes
        assert [note for note in notes if "test are in" in note] == [
            "4 of 24 samples of test are in train or val too: its scores are better than those on new data"
        ]


@pytest.mark.parametrize("scale", [1e38, 1e25, 1e-15, 1e-30])
@pytest.mark.parametrize("memory", [2.0**31, 0.0], ids=["", "stored"])
def test_numbers_near_the_ends_of_float32_are_normalized_like_any_others(scale: float, memory: float) -> None:
    plain, scaled = (
        next(data_of(((X * np.float32(s)).astype(np.float32), Y), memory_bytes=memory).batches("train", 60)).x for s in (1, scale)
    )
    assert np.allclose(plain.numpy(), scaled.numpy(), atol=1e-3) and float(scaled.std()) > 0.9
    with pytest.raises(UserError, match=r"x must hold numbers of at most 3\.4e\+38|x must be finite"):
        data_of((X.astype(np.float64) * 1e39, Y), memory_bytes=memory)
