"""Initial weights against the formulas of the papers and the numbers of the catalogue."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from nasforge.blocks.compose.combine import Residual
from nasforge.data import load
from nasforge.errors import UserError
from nasforge.networks.build import build
from nasforge.train.init import initialize, weights, whiten, zero_residuals


def test_xavier_of_784_x_256_has_the_printed_deviation() -> None:
    layer = nn.Linear(784, 256).requires_grad_(False)
    initialize(layer, "xavier")
    assert float(layer.weight.std()) == pytest.approx(0.04385, rel=0.01)  # catalogue, xavier_init; 200,704 numbers
    assert math.sqrt(2 / (784 + 256)) == pytest.approx(0.04385, abs=5e-6)
    assert float(layer.weight.mean()) == pytest.approx(0, abs=5e-4)
    assert torch.count_nonzero(layer.bias) == 0


@pytest.mark.parametrize(
    ("layer", "n_in", "n_out"),
    [
        (nn.Linear(300, 200), 300, 200),
        (nn.Conv2d(32, 64, 3), 32 * 9, 64 * 9),
        (nn.Conv2d(64, 64, 5, groups=4), 16 * 25, 16 * 25),
        (nn.Conv1d(64, 128, 3), 64 * 3, 128 * 3),
        (nn.ConvTranspose2d(64, 32, 3), 64 * 9, 32 * 9),
        (nn.LSTM(200, 200), 200, 200),
        (nn.MultiheadAttention(128, 4), 128, 128),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else str(v),
)
@pytest.mark.parametrize("kind", ["xavier", "he"])
def test_variances_follow_the_fan_of_each_gate_and_group(layer: nn.Module, n_in: int, n_out: int, kind: str) -> None:
    initialize(layer.requires_grad_(False), kind)
    expected = 2 / (n_in + n_out) if kind == "xavier" else 2 / n_in  # Glorot and Bengio eq. 12; He et al. eq. 10
    made = list(weights(layer))
    assert made
    for weight in made:
        assert float(weight.var()) == pytest.approx(expected, rel=0.06)
        assert weight.shape[0] * weight[0, 0].numel() == n_out and weight[0].numel() == n_in


@pytest.mark.parametrize(
    "layer", [nn.Linear(20, 30), nn.Linear(30, 20), nn.Conv2d(8, 100, 3), nn.Conv2d(12, 12, 3, groups=12), nn.GRU(20, 20)]
)
def test_orthogonal_columns_or_rows(layer: nn.Module) -> None:
    initialize(layer.requires_grad_(False), "orthogonal")
    for weight in weights(layer):
        matrix = weight.flatten(1)
        product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        assert torch.allclose(product, torch.eye(len(product)), atol=1e-5)


class Branched(nn.Module):
    """Two ways that join, one layer used twice, a norm, and dropout in between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.left, self.right = nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 12, 1)
        self.out = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (self.left(x) + self.right(self.right(x))).relu()
        return self.out(nn.functional.dropout(x.mean((2, 3)), 0.5, self.training))


def test_lsuv_gives_every_layer_unit_variance_on_real_digits() -> None:
    model, batch = Branched().train(), load().train[:256]
    seen: dict[str, list[float]] = {}
    initialize(model, "lsuv", batch, seed=1)
    mean = model.norm.running_mean
    assert model.training and mean is not None and torch.equal(mean, torch.zeros(12))
    for name in ("stem", "left", "right", "out"):
        layer = getattr(model, name)
        layer.register_forward_hook(lambda *args, n=name: seen.setdefault(n, []).append(float(args[2].detach().var())))
    model.eval()(batch.x)
    assert {n: v[0] for n, v in seen.items()} == pytest.approx(dict.fromkeys(seen, 1.0), rel=1e-3)
    assert len(seen["right"]) == 2 and len(seen) == 4


def test_lsuv_scales_directions_without_changing_them() -> None:
    plain, scaled = Branched().requires_grad_(False), Branched().requires_grad_(False)
    initialize(plain, "orthogonal", seed=3)
    initialize(scaled, "lsuv", load().train[:64], seed=3)
    ratio = scaled.left.weight / plain.left.weight
    assert float(ratio.std() / ratio.mean()) < 1e-4 and float(ratio.mean()) != pytest.approx(1, abs=0.01)


def test_channels_last_weights_are_filled_too() -> None:
    plain = nn.Conv2d(8, 16, 3)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for layer in (plain, last):
        initialize(layer, "he", seed=5)
    assert torch.equal(plain.weight, last.weight)


def test_seed_decides_and_default_changes_nothing() -> None:
    model = Branched()
    before = copy.deepcopy(model.state_dict())
    initialize(model, "default")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    first, again, other = Branched(), Branched(), Branched()
    for made, seed in ((first, 1), (again, 1), (other, 2)):
        initialize(made, "he", seed=seed)
    assert torch.equal(first.left.weight, again.left.weight)
    assert not torch.equal(first.left.weight, other.left.weight)


def test_dirac_hands_the_input_on() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.Conv2d(6, 6, 3, groups=6)
    ).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    initialize(model, "dirac")
    x = torch.rand(2, 4, 5, 5)
    assert torch.equal(model[1](x)[:, :4], x)
    after = model.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"]) and torch.equal(after["2.weight"], before["2.weight"])
    assert torch.equal(after["1.weight"][4:], before["1.weight"][4:])


def test_whitened_patches_have_the_identity_as_covariance() -> None:
    batch = load("digits").train
    model = nn.Sequential(nn.Conv2d(1, 8, 2, bias=False), nn.ReLU()).requires_grad_(False)
    whiten(model, batch)
    out = nn.functional.conv2d(batch.x[:1000], model[0].weight, stride=2)  # the patches that were looked at
    values = out[:, :4].transpose(0, 1).flatten(1)
    assert torch.allclose(torch.cov(values), torch.eye(4), atol=0.02)
    assert torch.allclose(out[:, :4], -out[:, 4:], atol=1e-5)


def test_whitening_takes_the_principal_directions_where_filters_are_few() -> None:
    batch = load("digits").train
    few, many = nn.Conv2d(1, 2, 2, bias=False).requires_grad_(False), nn.Conv2d(1, 8, 2, bias=False).requires_grad_(False)
    whiten(few, batch)
    whiten(many, batch)
    assert torch.equal(few.weight[0], many.weight[0]) and torch.equal(few.weight[1], many.weight[4])
    linear = nn.Linear(4, 4)
    before = linear.weight.clone()
    whiten(linear, batch)
    assert torch.equal(linear.weight, before)


@pytest.mark.parametrize(("act", "zero"), [("none", True), ("celu", True), ("gelu", True), ("relu", False)])
def test_residuals_begin_as_their_shortcut_where_they_can_learn(act: str, zero: bool) -> None:
    conv = {"conv": {"out": 4, "act": act}}
    arch = {"input": [3, 8, 8], "classes": 5, "body": [{"conv": {"out": 4}}, {"residual": {"body": [conv, conv], "shortcut": "identity"}}],
            "head": ["gap_head"]}  # fmt: skip
    model = build(arch)
    zero_residuals(model)
    block = next(m for m in model.modules() if isinstance(m, Residual))
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(x), x) == zero
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.weight.grad is not None and norm.weight.grad.any() for norm in norms[-1:])


def test_mistakes() -> None:
    with pytest.raises(UserError, match="did you mean 'xavier'"):
        initialize(Branched(), "xaver")
    with pytest.raises(UserError, match="lsuv needs a batch"):
        initialize(Branched(), "lsuv")
