"""Gates: counts, what a closed and an open gate give, and the formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasforge.blocks.vision.gating import ConcurrentExcite, ConvBlockAttention, EfficientChannel, Highway, SelectiveKernel, SqueezeExcite
from nasforge.errors import UserError
from nasforge.networks.build import probe


def zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data.zero_()


@pytest.mark.parametrize(("channels", "inner"), [(256, 16), (512, 32), (1024, 64), (2048, 128)])
def test_se_widths_with_reduction_16(channels: int, inner: int) -> None:
    """Kalhor: fc sizes [16, 256] [32, 512] [64, 1024] [128, 2048]; 2 C^2 / r weights, 8,192 for C = 256."""
    layer = SqueezeExcite((channels, 7, 7))
    assert layer.reduce.weight.shape == (inner, channels) and layer.expand.weight.shape == (channels, inner)
    found = probe({"se": {"bias": False}}, ((channels, 7, 7),), 1)
    assert found.params == found.macs == 2 * channels**2 // 16


def test_se_is_the_formula_on_images_and_sequences() -> None:
    video = ((6, 2, 3, 3), (2, 3, 4), (3, 6, 1, 1, 1))
    for shape, positions, spread in (((6, 4, 5), (2, 3), (3, 6, 1, 1)), ((7, 6), (1,), (3, 1, 6)), video):
        layer = SqueezeExcite(shape, width=2, act="swish")
        x = torch.randn(3, *shape)
        scale = layer.expand(F.silu(layer.reduce(x.mean(positions)))).sigmoid()
        torch.testing.assert_close(layer(x), x * scale.view(spread))
        zero(layer)
        torch.testing.assert_close(layer(x), x / 2)  # sigmoid(0)


def test_se_width_is_rounded_to_the_divisor() -> None:
    """MobileNetV3: 72 / 4 = 18 becomes 24, as 16 would be below 90 %."""
    assert SqueezeExcite((72, 2, 2), 0.25, divisor=8).reduce.out_features == 24
    assert SqueezeExcite((4, 2, 2)).reduce.out_features == 1
    with pytest.raises(UserError, match=r"body\.se: ratio must be a number above 0"):
        probe({"se": {"ratio": 0}}, ((4, 2, 2),), 1, "body")


@pytest.mark.parametrize(("channels", "kernel"), [(64, 3), (128, 5), (256, 5), (512, 5), (8, 3)])
def test_eca_kernel_follows_from_the_channels(channels: int, kernel: int) -> None:
    """k = |log2(C) / 2 + 1 / 2| rounded up to odd. Source: Wang et al. 2020, equation 12."""
    assert EfficientChannel((channels, 2, 2)).conv.weight.numel() == kernel == probe("eca", ((channels, 2, 2),), 1).params


def test_eca_filters_over_neighbouring_channels() -> None:
    layer, x = EfficientChannel((5, 2, 2), kernel=3), torch.randn(1, 5, 2, 2)
    means = F.pad(x.mean((2, 3)), [1, 1])[0]
    w = layer.conv.weight.flatten()
    scale = torch.stack([(means[i : i + 3] * w).sum() for i in range(5)]).sigmoid()
    torch.testing.assert_close(layer(x), x * scale.view(1, 5, 1, 1))


def test_cbam_spatial_gate_has_100_parameters() -> None:
    """Redfern: 7 x 7 x 2 + batch norm = 100 parameters."""
    layer = ConvBlockAttention((64, 6, 6))
    assert sum(p.numel() for part in (layer.conv, layer.norm) for p in part.parameters()) == 100
    assert probe("cbam", ((64, 6, 6),), 1).params == 100 + 2 * 64 * 4 + 64 + 4


def test_cbam_gates_maps_then_places() -> None:
    layer, x = ConvBlockAttention((8, 5, 6), ratio=0.5).eval(), torch.randn(2, 8, 5, 6)
    maps = sum(layer.expand(layer.reduce(v).relu()) for v in (x.mean((2, 3)), x.amax((2, 3)))).sigmoid()  # type: ignore[union-attr]
    first = x * maps[:, :, None, None]
    places = layer.norm(layer.conv(torch.stack([first.mean(1), first.amax(1)], 1))).sigmoid()
    torch.testing.assert_close(layer(x), first * places)


def test_scse_is_both_gates_at_once() -> None:
    for join in ("add", "max"):
        layer, x = ConcurrentExcite((6, 4, 4), join=join), torch.randn(2, 6, 4, 4)  # type: ignore[arg-type]
        zero(layer)
        torch.testing.assert_close(layer(x), x if join == "add" else x / 2)  # both gates are 1/2
    layer.conv.bias.data.fill_(30.0)  # type: ignore[union-attr]
    torch.testing.assert_close(layer(x), torch.maximum(x, x / 2))  # places open, maps half


@pytest.mark.parametrize("shape", [(6,), (5, 6), (6, 4, 4)])
def test_highway_carries_or_transforms(shape: tuple[int, ...]) -> None:
    """Kalhor, banerjee: T = 0 gives y = x, T = 1 gives y = H(x)."""
    layer, x = Highway(shape), torch.randn(2, *shape)
    layer.carry = 200.0
    torch.testing.assert_close(layer(x), x)
    layer.carry = -200.0
    torch.testing.assert_close(layer(x), layer.change(x).relu())
    zero(layer.pass_on)
    layer.carry = 0.0
    torch.testing.assert_close(layer(x), (layer.change(x).relu() + x) / 2)
    assert Highway(shape).carry > 0  # a new layer mostly carries


def test_selective_kernel_weighs_its_branches() -> None:
    layer, x = SelectiveKernel((8, 6, 6), groups=4).eval(), torch.randn(3, 8, 6, 6)
    maps = [path(x) for path in layer.paths]
    for select in layer.select:
        zero(select)
    torch.testing.assert_close(layer(x), (maps[0] + maps[1]) / 2)  # equal scores
    layer.train()
    assert torch.isfinite(layer(x[:1])).all()  # one sample has no variance for the norm of the descriptor
    assert layer.reduce.out_features == 32 and SelectiveKernel((1024, 2, 2)).reduce.out_features == 64  # max(C / 16, 32)
