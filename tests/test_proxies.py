"""Zero-cost proxies: against formulas written out here, over real networks, and as the evaluator of a search."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nasforge import proxies, zoo
from nasforge.build import build
from nasforge.cli import main
from nasforge.data import load
from nasforge.zoo.small import small


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    data = load("digits", limit=300)
    return data.train.x[:32], data.train.y[:32]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))


def test_naswot_is_the_determinant_of_the_pattern_kernel(batch: tuple[Tensor, Tensor]) -> None:
    model, (x, y) = net(), batch
    active = (model[1](x.flatten(1)) > 0).int()
    kernel = torch.tensor([[20 - int((a ^ b).sum()) for b in active] for a in active], dtype=torch.float64)
    expected = torch.linalg.slogdet(kernel + proxies.JITTER * torch.eye(32, dtype=torch.float64))[1]
    assert proxies.naswot(model, x, y) == pytest.approx(float(expected))


def test_synflow_of_a_linear_chain_is_the_sum_over_paths() -> None:
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False))
    before = [p.detach().clone() for p in model.parameters()]
    flow = float((before[1].abs() @ before[0].abs()).sum())  # each of the two layers has this sum
    assert proxies.synflow(model, torch.randn(4, 3), torch.zeros(4)) == pytest.approx(math.log10(2 * flow), abs=1e-6)
    assert all(torch.allclose(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_grad_norm_is_the_norm_of_the_gradient(batch: tuple[Tensor, Tensor]) -> None:
    model, (x, y) = net(), batch
    nn.functional.cross_entropy(model(x), y).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert proxies.grad_norm(model, x, y) == pytest.approx(float(expected), rel=1e-4)


def test_jacob_cov_is_lower_for_samples_alike(batch: tuple[Tensor, Tensor]) -> None:
    model, (x, y) = net(), batch
    assert proxies.jacob_cov(model, x, y) > proxies.jacob_cov(model, x[:1].repeat(32, 1, 1, 1) + 1e-3 * x, y)


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "mobilenet_v3_small", "densenet_bc_100_12", "vgg11"])
def test_every_score_is_finite_and_the_network_is_left_as_it_was(name: str, batch: tuple[Tensor, Tensor]) -> None:
    arch = small(zoo.load(name if name in zoo.names() else "squeezenet1_1"), (1, 8, 8), 10)
    torch.manual_seed(0)
    model = build(arch)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    scores = proxies.score(model, *batch)
    assert set(scores) == set(proxies.PROXIES) and all(math.isfinite(v) for v in scores.values())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


def test_a_search_by_proxies_trains_its_finalists_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search", "digits", "--evaluator", "proxy", "--objective", "naswot,-params", "--trials", "6", "--finalists", "1", "--json"]
    assert main([*command, "--final-seeds", "1", "--final-epochs", "1", "--no-control", "--run", str(tmp_path / "run"),
                 "--data-limit", "300", "--seed-arch", "lenet5"]) == 0  # fmt: skip
    summary = json.loads(capsys.readouterr().out)
    assert summary["finished"] >= 6 and summary["finalists"][0]["test_mean"] is not None


def test_what_an_evaluator_cannot_tell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "digits", "--evaluator", "proxy", "--objective", "accuracy"]) == 2
    assert "does not tell accuracy" in capsys.readouterr().err
