"""Weights of a library for an architecture of one's own: mapped, checked by outputs, and trained on."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from zoo import references

from nasforge import zoo
from nasforge.cli import main
from nasforge.networks.build import build
from nasforge.spaces.files import read, write


class RepUnit(nn.Module):
    """A block of RepVGG in training, its identity norm registered first."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.identity = nn.BatchNorm2d(after) if before == after else None
        self.conv_kxk = nn.Sequential(OrderedDict(conv=nn.Conv2d(before, after, 3, padding=1, bias=False), bn=nn.BatchNorm2d(after)))
        self.conv_1x1 = nn.Sequential(OrderedDict(conv=nn.Conv2d(before, after, 1, bias=False), bn=nn.BatchNorm2d(after)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_kxk(x) + self.conv_1x1(x)
        return (y if self.identity is None else y + self.identity(x)).relu()


class RepNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stages, self.fc = RepUnit(3, 8), nn.Sequential(RepUnit(8, 8), RepUnit(8, 8)), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.stages(self.stem(x)).mean((2, 3)))


def rep_arch() -> dict[str, Any]:
    """The same, its branches in another order."""
    wide, narrow = ({"conv": {"out": 8, "kernel": kernel, "act": "none"}} for kernel in (3, 1))
    unit = [{"parallel": {"join": "add", "branches": [wide, narrow, "norm"]}}, "relu"]
    stem = [{"parallel": {"join": "add", "branches": [wide, narrow]}}, "relu"]
    return {"input": [3, 16, 16], "classes": 5, "stem": stem, "body": [{"stage": {"block": unit, "depth": 2}}], "head": ["gap_head"]}


def test_branches_that_nothing_orders_need_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    theirs = references.lively(RepNet()).eval()
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        y = theirs(x)
    torch.save(theirs.state_dict(), "rep.pth")
    write(rep_arch(), "rep.yaml")
    np.save("in.npy", x.numpy())
    np.save("out.npy", y.numpy())
    command = ["zoo", "--weights", "rep.yaml", "rep.pth"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "3 times the order of branches cannot be told" in said and "add --check IN.npy OUT.npy" in said
    assert main([*command, "--check", "in.npy", "out.npy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["difference"] < 1e-5
    network = build(read("rep.yaml")).eval()
    network.load_state_dict(load_file("rep.safetensors"))
    assert torch.allclose(network(x), y, atol=1e-4)
    np.save("out.npy", 2 * y.numpy())
    assert main([*command, "--check", "in.npy", "out.npy"]) == 2
    assert "the network must give the outputs of the file, it differs by" in capsys.readouterr().err
    assert main([*command, "--check", "out.npy", "in.npy"]) == 2 and "must be inputs (N, 3, 16, 16)" in capsys.readouterr().err
    assert main([*command, "--check", "rep.pth", "in.npy"]) == 2 and "must be an array of numbers" in capsys.readouterr().err


def test_a_file_of_a_documented_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As a checkpoint of a fine-tuning has it: its names tell all, with 7 classes."""
    monkeypatch.chdir(tmp_path)
    torch.save(references.ResNet([2, 2, 2, 2], deep=False, classes=7).state_dict(), "r18_7.pth")
    torch.save(references.ResNet([2, 2, 2, 2], deep=False).state_dict(), "r18.pth")
    write({**{k: v for k, v in zoo.load("resnet18").items() if k != "name"}, "classes": 7}, "r18_7.yaml")
    assert main(["zoo", "--weights", "r18_7.yaml", "r18_7.pth", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["arch"], found["mapped"], found["left"], found["fresh"]) == ("r18_7", 41, [], [])
    assert main(["zoo", "--weights", "r18_7.yaml", "r18.pth"]) == 2 and "fc (weight 1000x512" in capsys.readouterr().err
    assert main(["zoo", "--weights", "r18_7.yaml", "r18.pth", "--partial", "--out", "part.safetensors"]) == 0
    assert len(load_file("part.safetensors")) == len(build(read("r18_7.yaml"), "meta").state_dict())


NET = {"input": [1, 8, 8], "classes": 10, "stem": [{"conv": {"out": 6}}], "body": [{"conv": {"out": 8}}], "head": ["gap_head"]}
TRAIN = ["train", "net.yaml", "--data-limit", "200", "--json"]


def test_a_training_begins_with_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write(NET, "net.yaml")
    assert main([*TRAIN, "--epochs", "12", "--set", "early_stopping=null", "--out", "first"]) == 0
    learned = json.loads(capsys.readouterr().out)
    other = load_file("first/model.safetensors")
    head = next(name for name in other if other[name].shape == (10, 8))
    save_file({**other, head: torch.zeros(3, 8), head.replace("weight", "bias"): torch.zeros(3)}, "other_head.safetensors")
    for file, fresh in (("first/model.safetensors", 0), ("other_head.safetensors", 1)):
        out = f"on_{fresh}"
        assert main([*TRAIN, "--epochs", "1", "--set", "lr=1e-6", "--weights", file, "--out", out]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["metrics"]["inherited"] == 1
        began = load_file(f"{out}/initial.safetensors")
        assert torch.equal(began[next(iter(other))], other[next(iter(other))]) and began[head].shape == (10, 8)
        if not fresh:
            assert found["metrics"]["loss"] == pytest.approx(learned["metrics"]["loss"], abs=0.05)
    assert main([*TRAIN, "--epochs", "1", "--set", "lr=1e-6", "--out", "on_1"]) == 2
    assert "holds a training that began with other weights" in capsys.readouterr().err
    assert main([*TRAIN, "--set", "init=he", "--weights", "first/model.safetensors", "--out", "x"]) == 2
    assert "recipe.init: he would replace the weights" in capsys.readouterr().err
