"""Where no space is named, the packaged one for such data is searched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasforge as nf
from nasforge.api.named import space_named
from nasforge.data.dataset import DataSpec, Source, Target
from nasforge.errors import UserError
from nasforge.search.default_space import default_space
from nasforge.spaces.files import space_names
from nasforge.tasks import load_data

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("inputs", "kind", "space"),
    [
        ({"x": [1, 8, 8]}, "label", "digits"),
        ({"x": [3, 64, 48]}, "label", "fast"),
        ({"x": [3, 64, 48]}, "labels", "fast"),
        ({"x": [3, 64, 64]}, "mask", "unet"),
        ({"x": [40, 6]}, "label", "series"),
        ({"x": [12]}, "value", "tabular"),
        ({"x": [12]}, "label", "tabular"),
        ({"x": {"tokens": 65, "length": 64}}, "steps", "text"),
        ({"a": {"tokens": 9, "length": 8}, "b": {"tokens": 7, "length": 8}}, "steps", "translation"),
    ],
)
def test_each_kind_of_data_has_a_space(inputs: dict[str, Any], kind: str, space: str) -> None:
    assert default_space(DataSpec(inputs, {"y": Target(kind, 3)}), "data") == space
    assert space in space_names() and "input" in space_named(space)


def test_data_without_a_space_are_refused_with_what_they_are() -> None:
    with pytest.raises(UserError, match=r"flow: no packaged space is the default for inputs .*the target y \(mask\); name a space"):
        default_space(DataSpec({"x": [8, 4]}, {"y": Target("mask", 3)}), "flow")


BRIEF: dict[str, Any] = {
    "trials": 2, "epochs": 1, "final_epochs": 1, "finalists": 1, "final_seeds": 1, "strategy": "random", "runner": "inline",
    "show": False, "page": False,
}  # fmt: skip


def test_a_table_alone_is_searched(tmp_path: Path) -> None:
    rows = ["size,colour,label", *(f"{i % 7},{'red' if i % 3 else 'blue'},{'yes' if i % 3 else 'no'}" for i in range(120))]
    (tmp_path / "my.csv").write_text("\n".join(rows), encoding="utf-8")
    run = nf.search(data=tmp_path / "my.csv", run=tmp_path / "run", **BRIEF)
    assert run.summary["best"]["test_mean"] >= 0.5


def test_the_space_for_such_data_is_named_where_another_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"; tabular is for such data$"):
        nf.search("mobile", "diabetes", run=tmp_path / "run", **BRIEF)


def test_series_alone_are_searched(tmp_path: Path) -> None:
    y = np.arange(90) % 3
    x = RNG.normal(size=(90, 12, 4)) + y[:, None, None]
    run = nf.search(data=(x, y), run=tmp_path / "run", **BRIEF)
    assert run.summary["best"]["metric"] == "accuracy"
    with pytest.raises(UserError, match="must have a space or data, got neither"):
        nf.search(run=tmp_path / "other", **BRIEF)


def test_arrays_without_a_named_space_are_read_once(tmp_path: Path) -> None:
    rng, file = np.random.default_rng(0), str(tmp_path / "x.npz")
    np.savez(file, x=rng.random((60, 3, 16, 16), np.float32), y=np.arange(60) % 2)
    assert load_data(Source(file)) is load_data(Source(file, reads=(3, 32, 32)))
    np.savez(file, x=rng.random((60, 16, 8, 3), np.float32), y=np.arange(60) % 2)
    assert load_data(Source(file)).spec.input == [3, 16, 8]
    assert load_data(Source(file, reads=(16, 8, 3))).spec.input == [16, 8, 3], "the network settles the layout"
