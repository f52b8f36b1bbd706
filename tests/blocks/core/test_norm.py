"""Normalisation: the formulas of the papers, and folding into the convolution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasforge.blocks.core.conv import Conv, Deconv
from nasforge.blocks.core.fold import fold_batch_norm
from nasforge.blocks.core.norm import LocalResponseNorm, Norm, standardize, weight_norm
from nasforge.errors import UserError
from nasforge.networks.build import build, make

EPS = 1e-5


def normed(x: Tensor, axes: list[int]) -> Tensor:
    """(x - mean) / sqrt(var + eps) over some axes."""
    centered = x - x.mean(axes, keepdim=True)
    return centered / (centered.square().mean(axes, keepdim=True) + EPS).sqrt()


def test_batch_norm_forward_and_running_statistics() -> None:
    layer, x = Norm((3, 4, 4)), torch.randn(6, 3, 4, 4) * 2 + 1
    torch.testing.assert_close(layer(x), normed(x, [0, 2, 3]), rtol=1e-4, atol=1e-5)
    assert isinstance(layer.norm, nn.BatchNorm2d) and layer.norm.running_mean is not None
    torch.testing.assert_close(layer.norm.running_mean, 0.1 * x.mean([0, 2, 3]))


def test_batch_norm_backward_is_the_formula_of_the_lectures() -> None:
    """dx = dxhat / sqrt(var + eps) + dvar * 2 (x - mu) / m + dmu / m; dgamma = sum dy * xhat; dbeta = sum dy (kalhor, banerjee)."""
    layer = Norm((3,)).double()
    layer.norm.weight.data, layer.norm.bias.data = torch.randn(3).double(), torch.randn(3).double()
    x, dy = torch.randn(5, 3, dtype=torch.double, requires_grad=True), torch.randn(5, 3, dtype=torch.double)
    layer(x).backward(dy)
    with torch.no_grad():
        m, mu, scale = 5, x.mean(0), (x.var(0, correction=0) + EPS).sqrt()
        xhat = (x - mu) / scale
        dxhat = dy * layer.norm.weight.data  # type: ignore[operator, union-attr]
        dvar = (dxhat * (x - mu)).sum(0) * -0.5 / scale**3
        dmu = -(dxhat / scale).sum(0)
        dx = dxhat / scale + dvar * 2 * (x - mu) / m + dmu / m
    for found, expected in ((x.grad, dx), (layer.norm.weight.grad, (dy * xhat).sum(0)), (layer.norm.bias.grad, dy.sum(0))):
        assert isinstance(found, Tensor)
        torch.testing.assert_close(found, expected)


def test_group_norm_between_instance_and_layer() -> None:
    """Kalhor: as many groups as channels is instance norm, one group is layer norm over (C, H, W)."""
    x = torch.randn(2, 6, 4, 5)
    torch.testing.assert_close(Norm((6, 4, 5), "group", groups=6)(x), Norm((6, 4, 5), "instance")(x))
    torch.testing.assert_close(Norm((6, 4, 5), "group", groups=1)(x), Norm((6, 4, 5), "layer")(x))
    torch.testing.assert_close(Norm((6, 4, 5), "instance")(x), normed(x, [2, 3]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(Norm((6, 4, 5), "layer")(x), normed(x, [1, 2, 3]), rtol=1e-4, atol=1e-5)
    by_three = normed(x.view(2, 3, 2, 4, 5), [2, 3, 4]).view_as(x)
    torch.testing.assert_close(Norm((6, 4, 5), "group", groups=3)(x), by_three, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (7, 1)])
def test_group_norm_finds_groups_for_any_width(channels: int, groups: int) -> None:
    layer = Norm((channels, 2, 2), "group")
    assert isinstance(layer.norm, nn.GroupNorm) and layer.norm.num_groups == groups
    with pytest.raises(UserError, match="group norm needs channels divisible by groups, got 48 channels and 32 groups"):
        make({"norm": {"kind": "group", "groups": 32}}, ((48, 2, 2),), 1, "block")


@pytest.mark.parametrize("shape", [(6,), (5, 6)])
def test_layer_norm_is_over_features(shape: tuple[int, ...]) -> None:
    x = torch.randn(3, *shape)
    torch.testing.assert_close(Norm(shape, "layer")(x), normed(x, [-1]), rtol=1e-4, atol=1e-5)


def test_norm_of_a_sequence_is_per_feature() -> None:
    x = torch.randn(3, 5, 6)
    torch.testing.assert_close(Norm((5, 6), "batch")(x), normed(x, [0, 1]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(Norm((5, 6), "instance")(x), normed(x, [1]), rtol=1e-4, atol=1e-5)


def test_only_batch_norm_depends_on_the_batch() -> None:
    """Kalhor: batch norm needs a big batch, layer norm is independent of it."""
    x = torch.randn(4, 6, 3, 3)
    for kind in ("layer", "group", "instance"):
        layer = Norm((6, 3, 3), kind, groups=2)  # type: ignore[arg-type]
        torch.testing.assert_close(layer(x)[:1], layer(x[:1]))
    layer = Norm((6, 3, 3))
    assert not torch.allclose(layer(x)[:1], layer(x[:1]))


def test_weight_standardisation_has_mean_0_and_deviation_1() -> None:
    weight = standardize(torch.randn(8, 4, 3, 3) * 3 + 2)
    torch.testing.assert_close(weight.mean([1, 2, 3]), torch.zeros(8), rtol=0, atol=1e-5)
    torch.testing.assert_close(weight.std([1, 2, 3], correction=0), torch.ones(8), rtol=1e-4, atol=1e-4)


def test_weight_norm_parts_length_and_direction() -> None:
    direction, gain = torch.randn(5, 3, 3, 3), torch.rand(5, 1, 1, 1) + 1
    weight = weight_norm(direction, gain)
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), gain.flatten())
    torch.testing.assert_close(weight_norm(7 * direction, gain), weight)
    layer = Conv((3, 5, 5), out=5, weight="norm")
    torch.testing.assert_close(layer.weights(), layer.conv.weight)  # g starts as ||v||


def test_local_response_norm_is_the_formula() -> None:
    """x / (k + alpha / n * sum over n neighbours)^beta; away from the borders the sum has F = 5 terms, 2 F - 1 = 9 operations (redfern)."""
    x = torch.randn(1, 7, 1, 1)
    out = LocalResponseNorm((7, 1, 1), size=5, alpha=0.5, beta=0.75, k=2.0)(x).flatten()
    values = x.flatten()
    for i in range(7):
        near = values[max(0, i - 2) : i + 3].square().sum()
        torch.testing.assert_close(out[i], values[i] / (2 + 0.1 * near) ** 0.75)


# ---------------------------------------------------------------- folding


def used(module: nn.Module, *shape: int) -> nn.Module:
    """The module after some training steps' worth of statistics, with its affine parameters moved."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.uniform_(part.bias, -1, 1)
    for _ in range(3):
        module.train()(torch.randn(8, *shape) * 2 + 0.5)
    return module.eval()


@pytest.mark.parametrize(
    "layer",
    [Conv((4, 6, 6), out=6, groups=2), Conv((4, 6, 6), norm="batch", bias=True, weight="norm"), Conv((4, 6, 6), weight="standard"),
     Conv((9, 4), out=5, pad="causal"), Deconv((4, 6, 6), out=6, groups=2), Deconv((9, 4), out=5, kernel=3)],
    ids=["grouped", "weight-norm", "standardised", "sequence", "deconv", "deconv-sequence"],
)  # fmt: skip
def test_folded_convolution_equals_convolution_and_norm(layer: nn.Module) -> None:
    shape = (9, 4) if isinstance(layer, Conv | Deconv) and layer.swap else (4, 6, 6)
    used(layer, *shape)
    folded = fold_batch_norm(layer)
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in folded.modules())
    x = torch.randn(3, *shape)
    torch.testing.assert_close(folded(x), layer(x), rtol=1e-4, atol=1e-4)
    assert any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in layer.modules())  # the original is as it was


def test_folded_network_is_the_same_function_with_fewer_parameters() -> None:
    body = [{"conv": {"out": 8, "stride": 2}}, {"basic": {"out": 12, "stride": 2}}, {"mbconv": {"out": 12, "se": 0.25}}, "gap_head"]
    network = used(build({"input": [3, 16, 16], "classes": 5, "body": body}), 3, 16, 16)
    folded = fold_batch_norm(network)
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-4, atol=1e-4)
    norms = sum(m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in folded.parameters()) == norms  # two per channel become one


def test_folding_tells_how_the_layer_is_written_now_and_leaves_preactivation_alone() -> None:
    layer = used(make({"conv": {"out": 6, "weight": "standard"}}, ((4, 6, 6),), 10, "block"), 4, 6, 6)
    shapes, args = fold_batch_norm(layer).made_with  # type: ignore[misc]
    again = Conv(shapes[0], **args)
    again.load_state_dict(fold_batch_norm(layer).state_dict())
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(again.eval()(x), layer(x), rtol=1e-4, atol=1e-4)
    before = used(make({"conv": {"preact": True}}, ((4, 6, 6),), 10, "block"), 4, 6, 6)
    folded = fold_batch_norm(before)
    assert isinstance(folded.norm, nn.BatchNorm2d) and torch.equal(folded(x), before(x))
