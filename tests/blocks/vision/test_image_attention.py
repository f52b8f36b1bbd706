"""Attention over images and in windows, against formulas and the published sizes of BoTNet and Swin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasforge.blocks.core.shapes import Shape
from nasforge.networks.build import build, make, probe, steps


def layer(node: Any, *shapes: Shape) -> nn.Module:
    torch.manual_seed(0)
    return make(node, shapes, 5, "block").eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def reads(module: nn.Module, length: int, width: int) -> Tensor:
    """(T, T): whether output step i depends on input step j."""
    x = torch.randn(1, length, width, requires_grad=True)
    y = module(x)[0]
    rows = [torch.autograd.grad(y[i].sum(), x, retain_graph=True)[0][0].abs().sum(1) > 0 for i in range(length)]
    return torch.stack(rows)


# ---------------------------------------------------------------- over images


def test_attention_over_an_image_follows_the_formula() -> None:
    """banerjee: s_ij = f(x_i).g(x_j), beta_ji = softmax over i, o_j = v(sum_i beta_ji h(x_i)); v: C x C*."""
    module, x = layer({"image_attention": {"width": 2}}, (6, 3, 4)), torch.randn(1, 6, 3, 4)
    g, f, h = (w[:, :, 0, 0] for w in module.read.weight.chunk(3))  # queries g, keys f, values h
    flat = x[0].flatten(1)  # (C, N)
    beta = ((f @ flat).T @ (g @ flat)).softmax(0)  # (i, j)
    expected = module.project.weight[:, :, 0, 0] @ (h @ flat @ beta)
    torch.testing.assert_close(module(x)[0].flatten(1), expected, rtol=1e-4, atol=1e-5)
    found = probe({"image_attention": {"width": 2}}, ((6, 3, 4),), 5)
    assert (found.params, found.macs) == (4 * 6 * 2, 12 * 4 * 6 * 2 + 2 * 12 * 12 * 2)


def test_relative_positions_add_a_product_for_each_distance() -> None:
    module = layer({"image_attention": {"heads": 2, "width": 6, "relative": True}}, (4, 3, 5))
    query = torch.randn(1, 2, 15, 3)
    bias = module.bias(query)
    for i, j in ((0, 0), (3, 11), (14, 2), (7, 8)):
        down, across = j // 5 - i // 5, j % 5 - i % 5
        expected = query[0, :, i] @ (module.rows[down + 2] + module.columns[across + 4])
        torch.testing.assert_close(bias[0, :, i, j], expected)


def botnet(relative: bool) -> dict[str, Any]:
    """BoTNet-50 of Srinivas et al. 2021, table 1: ResNet-50 with attention in the three blocks of its last stage."""

    def bottleneck(width: int, stride: int) -> dict[str, Any]:
        body = [
            {"conv": {"out": width, "kernel": 1}},
            {"conv": {"out": width, "kernel": 3, "stride": stride}},
            {"conv": {"out": 4 * width, "kernel": 1, "act": "none"}},
        ]
        return {"residual": {"body": body, "act": "relu"}}

    stages = [[bottleneck(w, s if i == 0 else 1) for i in range(n)] for w, n, s in ((64, 3, 1), (128, 4, 2), (256, 6, 2))]
    last = [{"bot": {"out": 2048, "heads": 4, "stride": 2 if i == 0 else 1, "relative": relative}} for i in range(3)]
    return {
        "input": [3, 1024, 1024],
        "classes": 1000,
        "stem": [{"conv": {"out": 64, "kernel": 7, "stride": 2}}, {"pool": {"kind": "max", "kernel": 3, "stride": 2}}],
        "body": [block for stage in stages for block in stage] + last,
        "head": [{"pool": {"kind": "avg"}}, "linear"],
    }


def test_botnet_has_its_published_size_and_cost() -> None:
    """wang's table: 20.8 M parameters, 102.98 G multiply-adds at 1024 x 1024; exact counts derived in the catalogue."""
    plain, relative = (list(steps(botnet(r))) for r in (False, True))
    assert sum(s.probe.params for s in plain) == 20_838_440
    vectors = 128 * (2 * 127 + 2 * 2 * 63)  # 128 wide, 2*64 - 1 rows and columns in the first block, 2*32 - 1 in the others
    assert sum(s.probe.params for s in relative) == 20_838_440 + vectors
    attention = 2 * 4096**2 * 512 + 2 * 2 * 1024**2 * 512
    logits = 4096 * 512 * 2 * 127 + 2 * 1024 * 512 * 2 * 63  # 0.665 G
    macs = sum(s.probe.macs for s in relative)
    assert macs - sum(s.probe.macs for s in plain) == logits
    assert macs / 1e9 == pytest.approx(102.98, rel=2e-4)
    assert (macs - attention - logits) / 1e9 == pytest.approx(82.999, rel=1e-3)


def test_bot_with_stride_halves_odd_sides_too() -> None:
    assert probe({"bot": {"out": 16, "heads": 2, "stride": 2}}, ((8, 7, 6),), 5).shapes == ((16, 4, 3),)


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize(("side", "window", "shift"), [(8, 4, False), (8, 4, True), (6, 4, True), (6, 3, True), (5, 2, True)])
def test_windows_read_their_own_tokens_only(side: int, window: int, shift: bool) -> None:
    """Token i reads j exactly if one window of the shifted tiling of the plane holds both."""
    module = layer({"window_attention": {"heads": 2, "window": window, "shift": shift}}, (side * side, 4))
    move = window // 2 if shift else 0
    at = torch.arange(side)
    tile = torch.div(at - move, window, rounding_mode="floor")
    if shift and side % window == 0:  # what is rolled round stands in the last tile and reads its own kind only
        assert tile[0] == -1
    cell = (tile[:, None] * 100 + tile[None, :]).flatten()
    assert torch.equal(reads(module, side * side, 4), cell[:, None] == cell[None, :])


def test_window_attention_follows_its_formula() -> None:
    """Liu et al. 2021, equation 4: softmax(Q K^T / sqrt(d) + B) V with B of the distance."""
    module, x = layer({"window_attention": {"heads": 2, "window": 3, "size": [3, 3]}}, (9, 4)), torch.randn(1, 9, 4)
    module.table.data.normal_()
    query, key, value = (p.unflatten(1, (2, 2)).transpose(0, 1) for p in module.read(x)[0].chunk(3, 1))  # (heads, N, P)
    scores = query @ key.transpose(1, 2) / 2**0.5
    for i in range(9):
        for j in range(9):
            scores[:, i, j] += module.table[(i // 3 - j // 3 + 2) * 5 + i % 3 - j % 3 + 2]
    expected = module.project((scores.softmax(2) @ value).transpose(0, 1).flatten(1))
    torch.testing.assert_close(module(x)[0], expected)


def test_windows_cost_linearly_in_the_area_and_full_attention_quadratically() -> None:
    def macs(node: Any, side: int) -> int:
        return probe(node, ((side * side, 32),), 5).macs

    windows, full = {"window_attention": {"heads": 4, "window": 7}}, {"attention": {"heads": 4}}
    assert macs(windows, 56) == 4 * macs(windows, 28) == 4 * (784 * 4 * 32 * 32 + 2 * 784 * 49 * 32)
    assert macs(full, 28) == 784 * 4 * 32 * 32 + 2 * 784**2 * 32
    assert macs(full, 56) - 4 * 784 * 4 * 32 * 32 == 16 * (macs(full, 28) - 784 * 4 * 32 * 32)


def test_swin_t_has_its_published_size() -> None:
    """Liu et al. 2021, table 1a: 29 M parameters, 4.5 G multiply-adds (28,288,354 in their code)."""
    body: list[Any] = []
    for pairs, heads in ((1, 3), (1, 6), (3, 12), (1, 24)):
        body += [
            *(["patch_merging"] if body else []),
            {"stage": {"block": {"swin_pair": {"heads": heads}}, "depth": pairs}},
        ]
    swin = {
        "input": [3, 224, 224],
        "classes": 1000,
        "stem": [{"patches": {"size": 4, "out": 96}}, {"norm": {"kind": "layer"}}],
        "body": body,
        "head": [{"norm": {"kind": "layer"}}, {"pool": {"kind": "avg"}}, "linear"],
    }
    assert count(build(swin, device="meta")) == 28_288_354
    assert sum(s.probe.macs for s in steps(swin)) / 1e9 == pytest.approx(4.5, abs=0.05)
