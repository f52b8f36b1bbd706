"""Joining, enlarging and pyramids of feature maps; the blocks of segmentation networks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.core.shapes import Shape
from nasforge.errors import UserError
from nasforge.networks.build import build, make, probe


def layer(node: Any, *shapes: Shape) -> nn.Module:
    torch.manual_seed(0)
    return make(node, shapes, 5, "block").eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# ---------------------------------------------------------------- joining


def test_concat_and_add() -> None:
    a, b, c = (torch.randn(2, n, 4, 4) for n in (2, 3, 2))
    torch.testing.assert_close(layer("concat", (2, 4, 4), (3, 4, 4))(a, b), torch.cat([a, b], 1))
    torch.testing.assert_close(layer("add", (2, 4, 4), (2, 4, 4), (2, 4, 4))(a, c, a), 2 * a + c)
    x, y = torch.randn(2, 5, 3), torch.randn(2, 5, 1)
    torch.testing.assert_close(layer("concat", (5, 3), (5, 1))(x, y), torch.cat([x, y], 2))


def test_crop_takes_the_middle() -> None:
    a, b = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 8, 7)
    torch.testing.assert_close(layer({"concat": {"crop": True}}, (1, 4, 4), (1, 8, 7))(a, b)[:, 1:], b[:, :, 2:6, 1:5])


@pytest.mark.parametrize(
    ("node", "shapes", "says"),
    [
        ("concat", ((2, 4, 4),), "concat reads several inputs, got one; name an output"),
        ("concat", ((2, 4, 4), (2, 5, 5)), "put resize_to before it"),
        ({"concat": {"crop": True}}, ((2, 6, 6), (2, 5, 5)), "the first of them the smallest"),
        ("add", ((2, 4, 4), (3, 4, 4)), "add needs inputs of one shape"),
        ("fpn", ((2, 4, 4), (2, 8, 8)), "from fine to coarse"),
        ("fpn", ((2, 4, 4),), "fpn reads several maps"),
        ({"up": {"kernel": 3}}, ((2, 4, 4),), "a kernel of factor"),
        ({"pooled_map": {"bins": 5}}, ((2, 4, 4),), "bins from 1 to the shorter side"),
        ({"fuse_maps": {"join": "concat", "out": 3}}, ((2, 4, 4), (2, 2, 2)), "keeps all channels"),
    ],
)
def test_mistakes_say_what_must_hold(node: Any, shapes: tuple[Shape, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        layer(node, *shapes)


def test_scores_of_a_shallow_map_and_an_enlarged_deep_one_are_added() -> None:
    """FCN-16s, Long et al. 2015, section 4.2: 1x1 scores of pool4 plus the enlarged scores of the end."""
    fuse = layer({"fuse_maps": {"out": 5}}, (8, 4, 6), (5, 2, 3))
    shallow, deep = torch.randn(2, 8, 4, 6), torch.randn(2, 5, 2, 3)
    scores = F.conv2d(shallow, fuse.laterals[0].weight, fuse.laterals[0].bias)
    up = F.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(fuse(shallow, deep), scores + up)
    assert count(fuse) == 8 * 5 + 5


# ---------------------------------------------------------------- enlarging


def test_nearest_enlarging_has_the_lectures_values() -> None:
    """sojka: [[1, 2], [3, 4]] -> [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]."""
    x = torch.tensor([[1.0, 2], [3, 4]])[None, None]
    expected = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])[None, None]
    torch.testing.assert_close(layer({"up": {"kind": "nearest"}}, (1, 2, 2))(x), expected)


def test_bilinear_enlarging_keeps_planes() -> None:
    """Inside the map the values of a linear slope are exact: output i lies at (i + 0.5) / 2 - 0.5."""
    x = (torch.arange(6.0)[:, None] + 10 * torch.arange(5.0)[None, :])[None, None]
    y = layer({"up": {"kind": "bilinear"}}, (1, 6, 5))(x)
    rows, columns = (torch.arange(12) + 0.5) / 2 - 0.5, (torch.arange(10) + 0.5) / 2 - 0.5
    expected = rows[:, None] + 10 * columns[None, :]
    torch.testing.assert_close(y[0, 0, 1:-1, 1:-1], expected[1:-1, 1:-1])


@pytest.mark.parametrize(("factor", "kernel"), [(2, None), (2, 4), (4, 8), (3, 3)])
def test_transposed_convolution_is_the_adjoint_of_the_convolution(factor: int, kernel: int | None) -> None:
    """<conv(y), x> = <y, up(x)>; stride 2 with kernel 2 doubles the size."""
    up = layer({"up": {"factor": factor, "kernel": kernel, "out": 3, "bias": False}}, (4, 5, 6))
    span = kernel or factor
    x, y = torch.randn(1, 4, 5, 6), torch.randn(1, 3, 5 * factor, 6 * factor)
    down = F.conv2d(y, up.project.weight, stride=factor, padding=(span - factor) // 2)
    assert up(x).shape == y.shape
    torch.testing.assert_close((down * x).sum(), (y * up(x)).sum(), rtol=1e-4, atol=1e-4)


def test_up_costs_its_convolution_alone() -> None:
    transposed = probe({"up": {"expand": 0.5}}, ((8, 5, 6),), 5)
    assert (transposed.shapes, transposed.params, transposed.macs) == (((4, 10, 12),), 8 * 4 * 4 + 4, 30 * 8 * 4 * 4)
    nearest = probe({"up": {"kind": "nearest", "out": 4}}, ((8, 5, 6),), 5)
    assert (nearest.shapes, nearest.macs) == (((4, 10, 12),), 30 * 8 * 4)  # projected before it is enlarged
    assert probe({"up": {"kind": "bilinear"}}, ((8, 5, 6),), 5).params == 0


def test_resize_to_takes_the_size_of_the_second_map() -> None:
    x, y = torch.randn(1, 2, 3, 3), torch.randn(1, 5, 7, 4)
    out = layer("resize_to", (2, 3, 3), (5, 7, 4))(x, y)
    torch.testing.assert_close(out, F.interpolate(x, (7, 4), mode="bilinear", align_corners=False))
    assert layer("resize_to", (5, 7, 4), (5, 7, 4))(y, y) is y


# ---------------------------------------------------------------- pyramids


def depends(module: nn.Module, shapes: list[Shape]) -> list[list[bool]]:
    """For each output map, which input maps it depends on."""
    xs = [torch.randn(1, *shape, requires_grad=True) for shape in shapes]
    outs = module(*xs)
    grads = [torch.autograd.grad(out.sum(), xs, retain_graph=True, allow_unused=True) for out in outs]
    return [[g is not None and bool(g.abs().sum() > 0) for g in row] for row in grads]


def test_fpn_of_resnet_has_its_size_and_macs() -> None:
    """Lin et al. 2017: C2..C5 of ResNet-50, 256 channels; 1x1 laterals and 3x3 smoothing with biases."""
    widths, sides = (256, 512, 1024, 2048), (64, 32, 16, 8)
    shapes = tuple((w, s, s) for w, s in zip(widths, sides, strict=True))
    found = probe({"fpn": {"out": 256}}, shapes, 5)
    assert found.shapes == tuple((256, s, s) for s in sides)
    assert found.params == sum(w * 256 + 256 + 9 * 256 * 256 + 256 for w in widths) == 3_344_384
    assert found.macs == sum(s * s * (w * 256 + 9 * 256 * 256) for w, s in zip(widths, sides, strict=True))


def test_fpn_goes_from_the_top_down() -> None:
    shapes: list[Shape] = [(2, 8, 8), (3, 4, 4), (4, 2, 2)]
    assert depends(layer({"fpn": {"out": 4}}, *shapes), shapes) == [
        [True, True, True],
        [False, True, True],
        [False, False, True],
    ]


def test_fpn_adds_nearest_enlarged_levels() -> None:
    fpn = layer({"fpn": {"out": 3, "extra": 1}}, (2, 4, 4), (5, 2, 2))
    fine, coarse = torch.randn(1, 2, 4, 4), torch.randn(1, 5, 2, 2)
    deep = fpn.laterals[1](coarse)
    sums = fpn.laterals[0](fine) + deep.repeat_interleave(2, 2).repeat_interleave(2, 3)
    p2, p3, p4 = fpn(fine, coarse)
    torch.testing.assert_close(p2, fpn.smooth[0](sums))
    torch.testing.assert_close(p3, fpn.smooth[1](deep))
    torch.testing.assert_close(p4, p3[:, :, ::2, ::2])


def test_bifpn_goes_both_ways() -> None:
    shapes: list[Shape] = [(4, 8, 8), (4, 4, 4), (4, 2, 2), (4, 1, 1)]
    module = layer({"bifpn": {"out": 4}}, *shapes)
    assert all(all(row) for row in depends(module, shapes))
    meetings = [m for m in module.modules() if hasattr(m, "weights")]
    assert [len(m.weights) for m in meetings] == [2, 2, 2, 3, 3, 2]  # 3 down, 3 back
    node = 9 * 4 + 4 * 4 + 2 * 4  # depthwise, pointwise, norm
    assert count(module) == 6 * node + 14


def test_bifpn_projects_maps_of_another_width() -> None:
    same, other = (layer({"bifpn": {"out": 4}}, (w, 8, 8), (4, 4, 4)) for w in (4, 6))
    assert count(other) - count(same) == 6 * 4 + 2 * 4


def test_bifpn_weighs_by_normalised_shares() -> None:
    """Tan et al. 2020, section 3.3: w_i / (eps + sum w_j) with w >= 0; a negative weight counts as 0."""
    meet = layer({"bifpn": {"out": 4}}, (4, 8, 8), (4, 4, 4)).down[0]
    meet.weights.data = torch.tensor([3.0, 1.0])
    x, y = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    mixed = (3 * x + y) / (4 + 1e-4)
    expected = meet.norm(meet.pointwise(meet.depthwise(F.silu(mixed))))
    torch.testing.assert_close(meet(x, y), expected)
    meet.weights.data[1] = -5.0
    torch.testing.assert_close(meet(x, y), meet(x, torch.zeros_like(y)))


@pytest.mark.parametrize("node", [{"fpn": {"out": 4}}, {"bifpn": {"out": 4}}])
def test_pyramids_take_odd_sizes(node: Any) -> None:
    found = probe(node, ((2, 15, 13), (3, 8, 7), (4, 4, 4)), 5)
    assert found.shapes == ((4, 15, 13), (4, 8, 7), (4, 4, 4))


# ---------------------------------------------------------------- segmentation


def test_unet_up_halves_the_maps_joins_the_copy_and_convolves_twice() -> None:
    """Ronneberger et al. 2015, section 2."""
    found = probe({"unet_up": {"out": 4, "norm": "none"}}, ((8, 3, 5), (4, 6, 10)), 5)
    assert found.shapes == ((4, 6, 10),)
    assert found.params == (8 * 4 * 4 + 4) + (9 * 8 * 4 + 4) + (9 * 4 * 4 + 4)
    assert probe({"unet_up": {"out": 4}}, ((8, 3, 5), (4, 7, 11)), 5).shapes == ((4, 7, 11),)


def test_unet_has_the_shape_of_its_paper() -> None:
    """Ronneberger et al. 2015, figure 1: 572 x 572 in, 388 x 388 out, 28 x 28 at the bottom, 64 to 1,024 maps."""

    def pair(out: int) -> list[Any]:
        return [{"conv": {"out": out, "kernel": 3, "pad": "valid", "norm": "none"}}] * 2

    def level(blocks: list[Any], **wires: Any) -> dict[str, Any]:
        return {"stage": {"block": blocks}, **wires}

    widths = (64, 128, 256, 512)
    body: list[Any] = []
    for i, width in enumerate(widths):
        pool = [{"pool": {"kind": "max", "kernel": 2}}] if i else []
        body.append(level([*pool, *pair(width)], **{"as": f"level{i}"}))
    body.append(level([{"pool": {"kind": "max", "kernel": 2}}, *pair(1024)], **{"as": "bottom"}))
    for i, width in reversed(list(enumerate(widths))):
        blocks = [{"up": {"out": width}}, {"concat": {"crop": True}}, *pair(width)]
        body.append(level(blocks, **{"from": ["last", f"level{i}"]}))
    unet = {
        "input": [1, 572, 572],
        "classes": 2,
        "body": body,
        "head": [{"conv": {"out": "classes", "kernel": 1, "norm": "none", "act": "none"}}],
    }
    network = build(unet, device="meta")
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 572, 572, device="meta")).shape == (1, 2, 388, 388)
    chain = [1, 64, 128, 256, 512, 1024]
    down = sum(9 * a * b + b + 9 * b * b + b for a, b in itertools.pairwise(chain))
    up = sum((2 * w) * w * 4 + w + 9 * 2 * w * w + w + 9 * w * w + w for w in widths)
    assert count(network) == down + up + 64 * 2 + 2


def test_double_conv_with_a_skip() -> None:
    plain, skip = ({"double_conv": {"out": 6, "residual": r}} for r in (False, True))
    shape = ((4, 8, 8),)
    assert probe(skip, shape, 5).params - probe(plain, shape, 5).params == 4 * 6 + 2 * 6  # a projection with its norm
    assert probe({"unet_down": {"out": 6}}, shape, 5).shapes == ((6, 4, 4),)


@pytest.mark.parametrize(("side", "bins"), [(6, 1), (6, 3), (7, 3), (7, 6)])
def test_pooled_map_averages_as_torch_does(side: int, bins: int) -> None:
    module = layer({"pooled_map": {"bins": bins, "norm": "none", "act": "none"}}, (4, side, side))
    x = torch.randn(2, 4, side, side)
    pooled = module.project(F.adaptive_avg_pool2d(x, bins))
    torch.testing.assert_close(module(x), F.interpolate(pooled, (side, side), mode="bilinear", align_corners=False))


def test_pyramid_pooling_doubles_the_channels() -> None:
    """Zhao et al. 2017: bins 1, 2, 3, 6, each with a quarter of the channels, beside the map itself."""
    found = probe("pyramid_pooling", ((8, 6, 6),), 5)
    assert found.shapes == ((16, 6, 6),)
    assert found.macs == (1 + 4 + 9 + 36) * 8 * 2


def test_aspp_joins_its_dilations() -> None:
    """Chen et al. 2017: 1x1, three 3x3 and the image's mean, each `out` maps, then 1x1."""
    found = probe({"aspp": {"out": 5}}, ((4, 9, 9),), 5)
    branches = 4 * 5 + 3 * 9 * 4 * 5 + 4 * 5
    norms = 6 * 2 * 5
    assert (found.shapes, found.params) == (((5, 9, 9),), branches + 5 * 5 * 5 + norms)
    assert found.macs == 81 * (4 * 5 + 3 * 9 * 4 * 5 + 25 * 5) + 4 * 5


def test_extra_levels_shrink_as_in_ssd() -> None:
    """Liu et al. 2016, figure 2: 19 -> 10 -> 5 -> 3 -> 1."""
    shape: tuple[Shape, ...] = ((1024, 19, 19),)
    sides = []
    for squeeze, out, stride, pad in (
        (256, 512, 2, "same"),
        (128, 256, 2, "same"),
        (128, 256, 1, "valid"),
        (128, 256, 1, "valid"),
    ):
        shape = probe({"extra_level": {"squeeze": squeeze, "out": out, "stride": stride, "pad": pad}}, shape, 5).shapes
        sides.append(shape[0][1])
    assert sides == [10, 5, 3, 1]


def test_named_maps_run_through_a_whole_network() -> None:
    arch = {
        "input": [3, 16, 16],
        "classes": 4,
        "body": [{"conv": {"out": n, "stride": 2}, "as": f"c{n}"} for n in (4, 6, 8)],
        "neck": [
            {"fpn": {"out": 5}, "from": ["c4", "c6", "c8"], "as": ["p1", "p2", "p3"]},
            {"bifpn": {"out": 5}, "from": ["p1", "p2", "p3"], "as": ["q1", "q2", "q3"]},
            {"fuse_maps": {}, "from": ["q1", "q2", "q3"]},
        ],
        "heads": {"mask": [{"up": {"out": "classes"}}], "label": [{"pool": {"kind": "avg"}}, "linear"]},
    }
    network = build(arch)
    out: dict[str, Tensor] = network(torch.randn(2, 3, 16, 16))
    assert {k: tuple(v.shape) for k, v in out.items()} == {"mask": (2, 4, 16, 16), "label": (2, 4)}
    sum(v.sum() for v in out.values()).backward()
    assert all(p.grad is not None for p in network.parameters())
