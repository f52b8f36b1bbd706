"""Data as users have them: frames, names as classes, layouts of images, sequences of unequal length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import shared_data

from nasforge.data import Dataset, Source
from nasforge.errors import UserError
from nasforge.tasks import data_of, load_data, task_of

RNG = np.random.default_rng(0)


def flowers() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_iris

    bunch = load_iris()
    return bunch.data, bunch.target_names[bunch.target]


def test_one_data_set_in_every_form_has_one_key(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    x, names = flowers()
    frame = pandas.DataFrame(x, columns=list("abcd")).assign(label=names)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    np.savez(tmp_path / "t.npz", x=x, y=names.astype(str))
    files = [load_data(Source(str(tmp_path / name))) for name in ("t.csv", "t.parquet", "t.jsonl", "t.npz")]
    apart = (frame[list("abcd")], frame["label"])
    found = [data_of(given) for given in ((x, names), {"x": x, "y": names}, frame, apart, (torch.from_numpy(x), names.tolist()))]
    assert len({data.key for data in (*files, *found)}) == 1
    assert all(data.spec.input == [4] and data.spec.target.names == ("setosa", "versicolor", "virginica") for data in (*files, *found))


@pytest.mark.parametrize(("given", "options", "said"), [
    ("frame", {"target": "colour"}, "no column 'colour'; did you mean 'color'"),
    ("frame", {"task": "regression", "target": "color"}, "row 0: the target color must be a number, got 'red'"),
    ("frame", {"task": "regresion"}, "no such task; did you mean 'regression'"),
    ((RNG.random((20, 3)), ["a", "b"] * 10), {"target": "y"}, "names a column of a frame"),
    ((np.array([["a", "b"]] * 20), [0, 1] * 10), {}, "x must hold numbers"),
    (7, {}, "must be a name, (x, y)"),
    (([RNG.random((3, 2)), RNG.random((4, 3))] * 10, [0, 1] * 10), {}, "must be (T,) or (T, F) numbers with the same F"),
    (([RNG.random((3, 2)), RNG.random((0, 2))] * 10, [0, 1] * 10), {}, "must be (T,) or (T, F) numbers"),
])  # fmt: skip
def test_mistakes_in_what_is_given(given: Any, options: dict[str, Any], said: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": range(40), "color": ["red", "blue"] * 20})
    with pytest.raises(UserError) as caught:
        data_of(frame if isinstance(given, str) else given, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(("shape", "reads", "found"), [
    ((32, 9, 9), None, [32, 9, 9]),  # two equal sides, though the channels are more
    ((9, 9, 32), None, [32, 9, 9]),
    ((3, 6, 7), None, [3, 6, 7]),
    ((6, 7, 3), None, [3, 6, 7]),
    ((8, 8, 8), None, [8, 8, 8]),
    ((9, 12, 12), (12, 9, 12), [12, 9, 12]),  # the network decides
    ((5, 6, 7), None, [5, 6, 7]),
    ((7, 6, 5), None, [5, 7, 6]),
    ((5, 6, 7), (7, 5, 6), [7, 5, 6]),
    ((32, 9, 9), (32, 9, 9), [32, 9, 9]),
    ((4, 4, 3), (4, 8, 8), [4, 4, 3]),  # its number of channels alone
])  # fmt: skip
def test_the_layout_of_images_is_that_of_the_network_or_told_by_the_sides(shape: Any, reads: Any, found: list[int]) -> None:
    x = RNG.random((20, *shape)).astype(np.float32)
    data = data_of((x, [0, 1] * 10), reads=reads)
    assert data.spec.input == found
    moved = found != list(shape) or (shape[0] == shape[2] and found[0] != shape[0])
    assert ("channels" in " ".join(data.spec.notes)) or not moved, "nothing is transposed silently"
    whole = torch.cat([next(data.batches(part, 20)).x for part in ("train", "val", "test")])
    mean = whole.mean((0, 2, 3))
    assert len(mean) == found[0]


def series(n: int = 60) -> tuple[list[np.ndarray], list[int]]:
    lengths = RNG.integers(2, 9, n)
    return [RNG.normal(i % 2, 1, (int(t), 3)).astype(np.float32) for i, t in enumerate(lengths)], [i % 2 for i in range(n)]


def steps_known(data: Dataset) -> int:
    parts = [next(data.batches(part, 1000)).x for part in ("train", "val", "test")]
    return int(sum((~x.isnan().all(2)).sum() for x in parts))


def test_sequences_of_unequal_length_in_every_form(tmp_path: Path) -> None:
    x, y = series()
    longest = max(map(len, x))
    nan, zeros = np.full((60, longest, 3), np.nan, np.float32), np.zeros((60, longest, 3), np.float32)
    for i, sample in enumerate(x):
        nan[i, : len(sample)] = zeros[i, : len(sample)] = sample
    np.savez(tmp_path / "l.npz", x=zeros, y=y, lengths=[len(s) for s in x])
    found = [data_of((x, y)), data_of((nan, y)), load_data(Source(str(tmp_path / "l.npz")))]
    assert len({data.key for data in found}) == 1
    for data in found:
        assert data.spec.padded == {"input"} and data.spec.input == [longest, 3] and task_of(data.spec).name == "classification"
        assert steps_known(data) == sum(map(len, x))
        train = next(data.batches("train", 1000)).x
        assert train.nanmean((0, 1)).abs().max() < 1e-5 and (train**2).nanmean((0, 1)).sub(1).abs().max() < 1e-4


def test_tokens_and_steps_of_unequal_length() -> None:
    x = [RNG.integers(0, 7, int(t)) for t in RNG.integers(2, 6, 40)]
    tags = [sample % 3 for sample in x]
    data = data_of((x, tags))
    batch = next(data.batches("train", 1000))
    assert data.spec.padded == {"input"} and data.spec.input == {"tokens": 7, "length": 5} and data.spec.target.kind == "steps"
    assert bool(((batch.x < 0) == (batch.y < 0)).all()) and int(batch.y.min()) == -100
    plain = data_of(([RNG.random(int(t)) for t in RNG.integers(2, 6, 40)], [0, 1] * 20))
    assert plain.spec.input == [5, 1] and plain.spec.padded == {"input"}


def test_multilabel_arff_as_mulan_writes_it() -> None:
    path = shared_data("multilabel/scene-train.arff.gz")
    data = load_data(Source(str(path), task="multilabel"))
    assert data.spec.input == [294] and data.spec.target.names == ("Beach", "Sunset", "FallFoliage", "Field", "Mountain", "Urban")
    assert data.size("train") + data.size("val") == 1211 and data.size("test") == 1196
    two = load_data(Source(str(path), task="multilabel", target="Beach,Urban"))
    assert two.spec.target.size == 2 and two.spec.input == [298]
