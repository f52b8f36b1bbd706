"""nasforge scale: one axis, own coefficients, the grid by short trainings; and trainings at the size that an architecture reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import going_on

from nasforge.cli import main
from nasforge.data import Source
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Job
from nasforge.evaluation.train import at_input
from nasforge.networks.cost import count
from nasforge.scaling import coefficient_grid
from nasforge.spaces.files import read, write
from nasforge.tasks import load_data

NET: dict[str, Any] = {
    "name": "net",
    "input": [1, 8, 8],
    "classes": 10,
    "stem": [{"conv": {"out": 8}}],
    "body": [{"stage": {"block": "conv", "out": 8, "depth": 1}}, {"stage": {"block": "conv", "out": 16, "depth": 1, "stride": 2}}],
    "head": ["gap_head"],
}


@pytest.fixture
def net(tmp_path: Path) -> str:
    return str(write(NET, tmp_path / "net.yaml"))


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert main(["scale", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_own_coefficients_and_an_axis(net: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told = asked(capsys, net, "--phi", "1", "--alpha", "3", "--beta", "2", "--gamma", "1.5", "--out", str(tmp_path / "big.yaml"))
    assert told["arch"]["input"] == [1, 12, 12] and told["arch"]["stem"] == [{"conv": {"out": 16}}]
    assert [line["stage"]["depth"] for line in told["arch"]["body"]] == [3, 3] and read(tmp_path / "big.yaml") == told["arch"]
    wide = asked(capsys, net, "--phi", "2", "--axis", "width", "--divisor", "1")
    compound = asked(capsys, net, "--phi", "2", "--divisor", "1")
    assert abs(wide["macs"] / compound["macs"] - 1) < 0.1 and wide["arch"]["input"] == [1, 8, 8]
    small = asked(capsys, net, "--fit", "params=1000,memory=100000", "--axis", "width", "--divisor", "1")
    assert 900 < small["params"] <= 1000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give either --phi"),
        (["--grid", "--axis", "width"], "leave --axis out"),
        (["--phi", "1", "--divisor", "0"], "--divisor: must be"),
        (["--grid", "--budget", "flops"], "--budget: must be one of"),
        (["--fit", "params"], "METRIC=NUMBER"),
        (["--phi", "1", "--axis", "depht"], "did you mean 'depth'"),
    ],
)
def test_mistakes(net: str, words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", net, *words]) == 2
    assert told in capsys.readouterr().err


def test_the_grid_is_trained_and_its_best_is_used(net: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = (net, "--grid", "--step", "0.4", "--epochs", "2", "--data-limit", "200", "--divisor", "1")
    told = asked(capsys, *words)
    rows, best = told["grid"], told["best"]
    assert 1 < len(rows) <= len(coefficient_grid(0.4)) and best == rows[0]
    assert best["score"] == max(row["score"] for row in rows) and len({row["loss"] for row in rows}) == len(rows)
    assert told["coefficients"] == {"depth": best["alpha"], "width": best["beta"], "resolution": best["gamma"]}
    assert told["arch"]["input"] == best["input"] and told["macs"] == best["macs"]
    assert asked(capsys, *words)["grid"] == rows  # the same again


def test_images_come_at_the_size_that_is_read() -> None:
    data = load_data(Source())
    big = at_input(data, {"input": [1, 12, 10]})
    assert big.shape == (1, 12, 10) == tuple(big.test.x.shape[1:]) and big.key != data.key and big.train.y is data.train.y
    assert torch.allclose(big.val.x.mean((2, 3)), data.val.x.mean((2, 3)), atol=0.15)
    twice = at_input(data, {"input": [1, 16, 16]}).val.x  # a pixel twice as large: its inner quarter pixels are 9:3:3:1 of 4 neighbours
    x = data.val.x
    assert torch.allclose(twice[:, :, 1, 1], (9 * x[:, :, 0, 0] + 3 * x[:, :, 0, 1] + 3 * x[:, :, 1, 0] + x[:, :, 1, 1]) / 16, atol=1e-5)
    assert at_input(data, NET) is data and at_input(data, {"input": [3, 9, 9]}) is data


def test_a_network_is_trained_and_tested_at_its_own_size() -> None:
    """A linear layer over all pixels fits one size alone."""
    arch = {"input": [1, 10, 10], "classes": 10, "head": ["flatten", "linear"]}
    evaluator = prepared(Context(source=Source(limit=300)))
    result = evaluator.evaluate(Job(arch, test=True, recipe={"epochs": 3}), going_on)
    assert result.error is None and result.test["accuracy"] > 0.5


def test_the_largest_within_a_measured_latency(net: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement is stood in for by 1 ms for each 1,000 parameters."""
    slow = {"latency_ms": lambda arch: count(arch).params / 1000}
    for user in ("nasforge.commands.scale", "nasforge.api.networks"):
        monkeypatch.setattr(f"{user}.meters_of", lambda profile: slow)
    told = asked(capsys, net, "--fit", "latency_ms=20", "--divisor", "1")
    assert told["latency_ms"] == told["params"] / 1000 and 18 < told["latency_ms"] <= 20
