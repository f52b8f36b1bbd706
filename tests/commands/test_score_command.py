"""nasforge score: what was trained scores as its training said, library weights are mapped, and what does not belong is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import nasforge as nf
from nasforge import zoo
from nasforge.cli import main
from nasforge.networks.build import build
from nasforge.spaces.files import write
from nasforge.zoo.weights import running_order

DATA = ["--data", "digits", "--data-limit", "300"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a training, and its result."""
    folder = tmp_path_factory.mktemp("score") / "net"
    assert main(["train", "lenet5", *DATA, "--epochs", "3", "--set", "views=flip", "--out", str(folder), "--quiet"]) == 0
    return folder, json.loads((folder / "result.json").read_text())


def scored(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["score", *words, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def test_a_training_scores_as_it_said(trained: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    folder, result = trained
    found = scored(capsys, str(folder), *DATA)
    assert found["metrics"] == pytest.approx(result["test"], abs=1e-5) and found["samples"] == 359 and found["metric"] == "accuracy"
    assert scored(capsys, str(folder), *DATA, "--part", "val")["metrics"] == pytest.approx(result["metrics"], abs=1e-5)
    by_name = scored(capsys, "lenet5", "--weights", str(folder / "model.safetensors"), *DATA)
    plain = scored(capsys, str(folder / "arch.yaml"), "--weights", str(folder / "model.safetensors"), *DATA)
    assert plain["metrics"] == found["metrics"], "as the recipe in the file says"
    assert by_name["metrics"]["accuracy"] > found["metrics"]["accuracy"], "one view: mirrored digits are others"
    assert by_name["form"] == "made for [1, 32, 32] and 10 classes, used for [1, 8, 8] and 10" or "small form" in by_name["form"]
    assert main(["score", str(folder), *DATA]) == 0
    assert capsys.readouterr().out.startswith(f"{folder} on digits: accuracy {result['test']['accuracy']:.4g}, ")


def test_weights_of_a_library_are_mapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state dict in the order and with the layers of ours, but with other names, as a .pth file."""
    torch.manual_seed(0)
    arch = {**zoo.load("resnet20"), "name": "resnet20"}
    model = build(arch)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
    state = model.state_dict()
    names = {layer.name: f"features.{i}" for i, layer in enumerate(running_order(arch))}
    theirs = {f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in state.items()}
    torch.save({"state_dict": theirs}, tmp_path / "resnet20.pth")
    save_file(state, tmp_path / "ours.safetensors")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "c.npz", x=rng.random((60, 3, 32, 32), dtype="float32"), y=np.arange(60) % 10)
    data = ["--data", str(tmp_path / "c.npz"), "--part", "train"]
    found = scored(capsys, "resnet20", "--weights", str(tmp_path / "resnet20.pth"), *data)
    assert found["metrics"] == scored(capsys, "resnet20", "--weights", str(tmp_path / "ours.safetensors"), *data)["metrics"]
    assert found["metrics"]["loss"] > 0.5 and found["form"] == "as it is" and found["params"] == 269722


def test_from_python(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, result = trained
    found = nf.score(folder, "digits", data_limit=300, threads=1)
    assert found.metrics == pytest.approx(result["test"], abs=1e-5) and found.part == "test" and found.weights.endswith("model.safetensors")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lenet5"], "lenet5: has no weights of its own; give --weights FILE"),
        (["nosuch"], "nosuch: no documented network has that name"),
        (["resnet20", "--weights", "w.safetensors"], "--weights w.safetensors: small_resnet20: the weights must be of this network;"),
        (["lenet5", "--weights", "nowhere.pth"], "nowhere.pth"),
        (["own.yaml", "--weights", "w.safetensors"], "it is made for images [3, 32, 32], digits has [1, 8, 8]"),
    ],
)
def test_what_does_not_belong_is_refused(
    words: list[str], message: str, trained: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").symlink_to(trained[0] / "model.safetensors")
    write({"input": [3, 32, 32], "classes": 10, "body": [{"conv": {"out": 4, "kernel": 9, "pad": "valid"}}], "head": ["gap_head"]},
          tmp_path / "own.yaml")  # fmt: skip
    capsys.readouterr()
    assert main(["score", *words, *DATA]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


def test_a_run_is_scored_on_its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["search", "digits", "--strategy", "random", "--trials", "2", "--epochs", "1", "--final-epochs", "1", "--final-seeds", "1",
             "--finalists", "1", "--data-limit", "200", "--scheduler", "none", "--runner", "inline", "--run", "r", "--json"]  # fmt: skip
    assert main(words) == 0
    best = json.loads(capsys.readouterr().out)["best"]
    found = scored(capsys, "r")
    assert found["data"] == "digits" and found["metrics"]["accuracy"] == pytest.approx(best["test_mean"], abs=1e-6)
    assert scored(capsys, f"r:{best['name']}")["metrics"] == found["metrics"]
    capsys.readouterr()
    assert main(["score", "r:0"]) == 2 and "r:0: has no weights of its own" in capsys.readouterr().err


def test_data_that_ask_for_something_else_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that names one class an image, and label maps of as many classes."""
    rng = np.random.default_rng(0)
    net = {"input": [1, 8, 8], "classes": 2, "body": [{"conv": {"out": 4}}], "head": ["gap_head"]}
    (tmp_path / "net.yaml").write_text(json.dumps(net))
    save_file({key: value.clone() for key, value in build(net).state_dict().items()}, tmp_path / "net.safetensors")
    np.savez(tmp_path / "maps.npz", x=rng.normal(size=(40, 1, 8, 8)).astype(np.float32), y=rng.integers(0, 2, (40, 8, 8)))
    files = [str(tmp_path / name) for name in ("net.yaml", "net.safetensors", "maps.npz")]
    assert main(["score", files[0], "--weights", files[1], "--data", files[2]]) == 2
    said = "must fit the data maps, got: output of the task segmentation must be (1, 2, 8, 8) for targets (1, 8, 8), got (1, 2)"
    assert f"net.yaml: {said}; give data as it was trained on" in capsys.readouterr().err
