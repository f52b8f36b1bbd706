"""Every kind of task trained shortly on real data."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import arff
from support import ROOT, shared_data
from torch import nn

from nasforge.cli import main
from nasforge.data import Dataset, Source
from nasforge.evaluation.train import fit_to_data
from nasforge.networks.build import build
from nasforge.spaces.choosers import enumerate_space
from nasforge.spaces.files import read
from nasforge.spaces.space import Space
from nasforge.tasks import load_data, task_of
from nasforge.train import Recipe, default_recipe, fit, score

pytestmark = pytest.mark.slow

MLP: dict[str, Any] = {
    "body": ["flatten", {"linear": {"out": 32, "act": "relu"}}, {"linear": {"out": 32, "act": "relu"}}],
    "head": ["linear"],
}
TWO_HEADS: dict[str, Any] = {
    "body": [{"conv": {"out": 12, "stride": 2}}, {"conv": {"out": 16}}],
    "heads": {
        "mask": [{"up": {"kind": "bilinear", "factor": 2}}, {"conv": {"out": 11, "kernel": 1, "norm": "none", "act": "none"}}],
        "label": [{"pool": {"kind": "avg", "kernel": 4}}, "flatten", {"linear": {"out": 4}}],
    },
}


def network(arch: dict[str, Any], data: Dataset) -> nn.Module:
    torch.manual_seed(0)
    return build(fit_to_data(arch, data))


def trained(arch: dict[str, Any], data: Dataset, **changes: Any) -> dict[str, float]:
    """The metrics on test after a short training."""
    task, model = task_of(data.spec), network(arch, data)
    fit(model, data, Recipe.from_dict({**default_recipe(task, data).to_dict(), **changes}))
    return score(model, data, "test", task)


def test_the_progress_of_diabetes_is_predicted_better_than_by_its_mean() -> None:
    data = load_data(Source("diabetes"))
    assert data.spec.input == [10] and (data.spec.target.kind, data.spec.target.names) == ("value", ("progression",))
    assert [data.size(part) for part in ("train", "val", "test")] == [266, 88, 88]
    found = trained(MLP, data)
    assert found["r2"] > 0.2  # the best that is known is about .5
    y = next(data.batches("test", 1000)).y
    assert found["mse"] < float(y.var()) and found["mae"] < float((y - y.mean()).abs().mean())


def test_the_value_of_houses_from_a_table_with_names_and_blanks() -> None:
    path = shared_data("tabular/california_housing.csv.gz")
    data = load_data(Source(str(path), 4000, task="regression", target="median_house_value"))
    assert data.name == "california_housing" and data.spec.target.names == ("median_house_value",)
    assert data.spec.input == [8 + 5]  # eight numbers, and one column for each of five names
    assert data.spec.notes == (
        "total_bedrooms: 207 empty cells, counted as the mean of the column", "ocean_proximity: 5 names, one column each",
        "1 of 13 features hold one number in all of the training part",  # no island is among these
    )
    assert sum(data.size(part) for part in ("val", "test")) >= 2000 and data.size("train") == 4000
    x = next(data.batches("train", 5000)).x
    assert bool(torch.isfinite(x).all()) and float(x.mean(0).abs().max()) < 0.2 and 50_000 < data.spec.target.std[0] < 200_000
    assert trained(MLP, data, epochs=6)["r2"] > 0.5


def _scene(folder: Path) -> str:
    """The images of scenes as an array file: 294 measurements, six labels."""
    arrays = {}
    for part in ("train", "test"):
        with gzip.open(shared_data("multilabel") / f"scene-{part}.arff.gz", "rt") as file:
            rows, _ = arff.loadarff(io.StringIO(file.read()))
        table = np.array([[float(cell) for cell in row] for row in rows.tolist()], np.float32)
        arrays |= {f"x_{part}": table[:, :-6], f"y_{part}": table[:, -6:]}
    np.savez(folder / "scene.npz", **arrays)
    return str(folder / "scene.npz")


def test_scenes_of_several_labels(tmp_path: Path) -> None:
    data = load_data(Source(_scene(tmp_path), task="multilabel"))
    assert [data.size(part) for part in ("train", "val", "test")] == [969, 242, 1196]
    assert data.spec.target.kind == "labels" and data.spec.target.size == 6
    found = trained(MLP, data, epochs=6)
    assert found["micro_f1"] > 0.5 and found["mean_ap"] > 0.6 and found["auc"] > 0.8


def test_digit_scenes_teach_two_heads_at_once() -> None:
    data = load_data(Source("digit_scenes", 600))
    assert data.spec.input == [3, 32, 32] and [(t.kind, t.size) for t in data.spec.targets.values()] == [("mask", 11), ("label", 4)]
    task = task_of(data.spec)
    assert task.main.name == "miou@mask"
    model = network(TWO_HEADS, data)
    before = score(model, data, "val", task)
    recipe = {**default_recipe(task, data).to_dict(), "epochs": 3, "batch_size": 32, "lr": 0.01}
    fitted = fit(model, data, Recipe.from_dict(recipe))
    assert fitted.metrics["accuracy@label"] > 0.9 > 0.5 > before["accuracy@label"]  # one in four is chance; no flip may spoil it
    assert fitted.metrics["loss@mask"] < 0.6 * before["loss@mask"] and fitted.metrics["accuracy@mask"] > 0.8


def test_one_epoch_of_translation_leaves_far_fewer_words_to_doubt() -> None:
    data = load_data(Source(str(shared_data("translation/multi30k")), 1500))
    task = task_of(data.spec)
    assert task.name == "seq2seq" and list(data.spec.inputs) == ["source", "target"] and data.spec.notes[0].startswith("en to de: ")
    arch, _ = next(enumerate_space(Space(fit_to_data(read(ROOT / "search_spaces" / "translation.yaml"), data))))
    torch.manual_seed(0)
    model = build(arch)
    before = score(model, data, "val", task)["perplexity"]
    fitted = fit(model, data, Recipe.from_dict({**default_recipe(task, data).to_dict(), "epochs": 1, "batch_size": 16}))
    words = data.spec.targets["steps"].size
    assert before > words / 3 and fitted.metrics["perplexity"] < words / 5


def test_the_command_trains_a_table_and_names_its_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mlp.yaml").write_text(json.dumps({"input": [10, 1], "classes": 1, **MLP}), encoding="utf-8")
    arguments = ["train", str(tmp_path / "mlp.yaml"), "--data", "diabetes", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--epochs", "3"]) == 0
    told = capsys.readouterr()
    assert "mean squared error" in told.out and "R²" in told.out and "mean squared error" in told.err
    found = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert (found["task"], found["metric"]) == ("regression", "mse") and found["test"].keys() == {"mse", "mae", "r2", "loss"}
