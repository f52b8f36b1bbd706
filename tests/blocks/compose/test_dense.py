"""Dense blocks and dual paths: channels, depth, and the networks made of them (counts: recounts in the shared catalogue)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nasforge.blocks.compose.combine import Dense
from nasforge.blocks.compose.dense import Dual
from nasforge.errors import UserError
from nasforge.networks.build import make, probe

STEM = {"pool": {"kernel": 3, "stride": 2}}


def densenet(depths: list[int], growth: int, stem: int) -> list[Any]:
    blocks: list[Any] = [{"conv": {"out": stem, "kernel": 7, "stride": 2}}, STEM]
    for i, depth in enumerate(depths):
        blocks += [{"dense_block": {"growth": growth, "depth": depth}}, *(["transition"] if i < len(depths) - 1 else [])]
    return [*blocks, "norm", "relu", "gap_head"]


def dpn(stem: int, mid: int, groups: int, growths: list[int], depths: list[int]) -> list[Any]:
    blocks: list[Any] = [{"conv": {"out": stem, "kernel": 7, "stride": 2}}, STEM]
    for i, (growth, depth) in enumerate(zip(growths, depths, strict=True)):
        unit = {"width": 256 * 2**i, "growth": growth, "mid": mid * 2**i, "groups": groups}
        blocks += [{"dual_path": {**unit, "first": True, "stride": 2 if i else 1}}, *[{"dual_path": unit}] * (depth - 1)]
    return [*blocks, "norm", "relu", "gap_head"]


@pytest.mark.parametrize(
    ("network", "params", "macs"),
    [
        (densenet([6, 12, 24, 16], 32, 64), 7_978_856, 2_834_161_664),  # densenet121
        (densenet([6, 12, 32, 32], 32, 64), 14_149_480, 3_359_843_328),  # densenet169
        (densenet([6, 12, 36, 24], 48, 96), 28_681_000, 7_727_907_072),  # densenet161
        (dpn(64, 96, 32, [16, 32, 24, 128], [3, 4, 20, 3]), 37_668_392, 6_501_684_224),  # dpn92
        (dpn(96, 160, 40, [16, 32, 32, 128], [3, 6, 20, 3]), 61_570_728, 11_671_217_152),  # dpn98
    ],
    ids=["dense121", "dense169", "dense161", "dpn92", "dpn98"],
)
def test_networks_have_their_exact_size(network: list[Any], params: int, macs: int) -> None:
    found = probe(network, ((3, 224, 224),), 1000)
    assert (found.params, found.macs) == (params, macs)


@pytest.mark.parametrize("stem", [(64, 96, 32, [16, 32, 24, 128], [3, 4, 20, 3]), (96, 160, 40, [16, 32, 32, 128], [3, 6, 20, 3])])
def test_dual_path_networks_end_in_2688_channels(stem: Any) -> None:
    """Redfern: DPN-92 and DPN-98."""
    assert probe(dpn(*stem)[:-1], ((3, 224, 224),), 1000).shapes[0][0] == 2_688


@pytest.mark.parametrize(("depths", "layers"), [([6, 12, 24, 16], 121), ([6, 12, 64, 48], 265)])
def test_depth_is_twice_the_layers_plus_five(depths: list[int], layers: int) -> None:
    """Weighted layers; the lectures print 264 for the last, 265 counts."""
    with torch.device("meta"):
        network = make(densenet(depths, 4, 8), ((3, 64, 64),), 10, "net")
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == layers == 2 * sum(depths) + 5


@pytest.mark.parametrize(("before", "growth"), [(64, 32), (96, 48)])
def test_weights_of_a_dense_layer(before: int, growth: int) -> None:
    """C * 4k + 36 k^2; for k = 48 the 1x1 has 192 channels and the 3x3 48."""
    layer = make({"dense_layer": {"growth": growth}}, ((before, 8, 8),), 1, "layer")
    convs = [m for m in layer.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [4 * growth, growth]
    assert sum(c.weight.numel() for c in convs) == before * 4 * growth + 36 * growth**2
    assert probe({"dense_layer": {"growth": growth, "bottleneck": 0}}, ((before, 8, 8),), 1).macs == 9 * before * growth * 64


def test_a_dense_block_concatenates_and_does_not_add() -> None:
    block = make({"dense_block": {"growth": 3, "depth": 4}}, ((8, 6, 6),), 1, "block").eval()
    assert isinstance(block, Dense)
    x = torch.randn(2, 8, 6, 6)
    out = block(x)
    assert out.shape == (2, 8 + 4 * 3, 6, 6) and torch.equal(out[:, :8], x)
    torch.testing.assert_close(out[:, 8:11], block.layers[0](x))
    torch.testing.assert_close(out[:, 11:14], block.layers[1](out[:, :11]))


def test_transitions_of_densenet_halve_the_size() -> None:
    """56 -> 28 -> 14 -> 7, and the channels with compression 0.5."""
    shape: tuple[int, ...] = (256, 56, 56)
    for size in (28, 14, 7):
        shape = probe("transition", (shape,), 1).shapes[0]
        assert shape[1:] == (size, size)
    assert shape[0] == 32
    assert probe({"transition": {"compression": 1}}, ((30, 8, 8),), 1).shapes == ((30, 4, 4),)


def test_a_dual_path_adds_the_first_channels_and_appends_the_rest() -> None:
    module = make({"dual_path": {"width": 6, "growth": 2, "mid": 4, "groups": 2}}, ((10, 5, 5),), 1, "block").eval()
    assert isinstance(module, Dual)
    x = torch.randn(2, 10, 5, 5)
    y = module.body(x)
    torch.testing.assert_close(module(x), torch.cat([x[:, :6] + y[:, :6], x[:, 6:], y[:, 6:]], 1))


def test_the_first_dual_path_of_a_stage_adds_two_increments() -> None:
    first = probe({"dual_path": {"width": 8, "growth": 3, "mid": 4, "groups": 2, "first": True, "stride": 2}}, ((5, 8, 8),), 1)
    assert first.shapes == ((8 + 2 * 3 + 3, 4, 4),)  # two increments from the projection, one from the body
    with pytest.raises(UserError, match=r"block\.dual: body and shortcut must have one size and at least 8 channels"):
        make({"dual": {"body": [{"conv": {"out": 9}}], "width": 8}}, ((5, 8, 8),), 1, "block")
