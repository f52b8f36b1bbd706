"""Convolution and its relatives: sizes, counts and identities. The lecture that prints a number stands beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nasforge.blocks.core.conv import Conv, Deconv
from nasforge.blocks.core.rearrange import DepthToSpace, Shift, Shuffle, SpaceToDepth, Upsample
from nasforge.errors import UserError
from nasforge.networks.build import make, opened, probe

BARE = {"norm": "none", "act": "none", "bias": False}


def conv(shape: tuple[int, ...], **args: Any) -> Conv:
    return Conv(shape, **{**BARE, **args})


def cost(block: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    """(parameters, multiply-adds)"""
    found = probe(block, (shape,), 10)
    return found.params, found.macs


def reach(block: Any, shape: tuple[int, ...], at: int) -> tuple[int, int]:
    """The first and last input position that output position `at` of a sequence depends on."""
    module = make(block, (shape,), 10, "block").double().eval()
    x = torch.randn(1, *shape, dtype=torch.double, requires_grad=True)
    module(x)[0, at].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(-1)[0].nonzero().flatten()
    return int(seen[0]), int(seen[-1])


@pytest.mark.parametrize(("size", "sums"), [(6, [3, 9, 9]), (5, [1, 6, 7]), (7, [1, 6, 12, 11])])
def test_padding_as_in_tensorflow(size: int, sums: list[float]) -> None:
    """Sums of three numbers with stride 2 over 0, 1, 2, ...: of an even number of them the odd zero stands after, not before."""
    layer = conv((size, 1), out=1, kernel=3, stride=2, pad="tf")
    torch.nn.init.ones_(layer.conv.weight)
    assert layer(torch.arange(float(size)).view(1, -1, 1)).flatten().tolist() == sums


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "expected"),
    [(224, 11, 4, [1, 2], 55), (227, 11, 4, "valid", 55), (55, 3, 2, "valid", 27), (27, 5, 1, 2, 27), (28, 5, 1, "valid", 24),
     (12, 5, 1, "valid", 8), (299, 3, 2, "valid", 149), (149, 3, 1, "valid", 147), (147, 3, 1, "same", 147), (147, 3, 2, "valid", 73),
     (73, 3, 1, "valid", 71), (71, 3, 2, "valid", 35)],
)  # fmt: skip
def test_output_size_is_the_formula_of_the_lectures(size: int, kernel: int, stride: int, pad: Any, expected: int) -> None:
    """floor((L + P - F) / S) + 1 (redfern, banerjee)."""
    block = {"conv": {"out": 2, "kernel": kernel, "stride": stride, "pad": pad}}
    assert probe(block, ((1, size, size),), 1).shapes == ((2, expected, expected),)


@pytest.mark.parametrize(
    ("shape", "out", "kernel", "stride", "pad", "printed"),
    [((3, 227, 227), 96, 11, 4, "valid", 105_705_600), ((96, 27, 27), 256, 5, 1, 2, 448_084_224),
     ((256, 13, 13), 384, 3, 1, 1, 149_585_280), ((384, 13, 13), 384, 3, 1, 1, 224_345_472), ((384, 13, 13), 256, 3, 1, 1, 149_563_648)],
)  # fmt: skip
def test_alexnet_macs_with_the_bias_counted(shape: tuple[int, ...], out: int, kernel: int, stride: int, pad: Any, printed: int) -> None:
    """Redfern's table counts one more addition per output value for the bias."""
    found = probe({"conv": {"out": out, "kernel": kernel, "stride": stride, "pad": pad, "norm": "none"}}, (shape,), 10)
    _, high, wide = found.shapes[0]
    assert found.macs + out * high * wide == printed
    assert found.params == kernel * kernel * shape[0] * out + out


def test_counts_of_the_lectures() -> None:
    assert cost({"conv": {"out": 32, "stride": 2, **BARE}}, (3, 224, 224))[1] == 10_838_016  # MobileNet stem
    assert cost({"conv": {"out": 32, "kernel": 1, **BARE}}, (192, 28, 28)) == (6_144, 4_816_896)  # pointwise
    assert cost({"depthwise": {"norm": "none"}}, (512, 14, 14)) == (4_608 + 512, 903_168)  # depthwise, plus biases
    plain = cost({"conv": {"out": 256, "kernel": 5, **BARE}}, (3, 8, 8))[1]
    thin = cost({"separable": {"out": 256, "kernel": 5}}, (3, 8, 8))[1]
    assert (plain, thin) == (1_228_800, 53_952)  # 12x12x3 without padding gives 8x8
    assert thin / plain == pytest.approx(1 / 256 + 1 / 25)


def test_grouped_convolution_halves_the_weights() -> None:
    one, two = (cost({"conv": {"out": 256, "kernel": 5, "groups": g, **BARE}}, (96, 27, 27)) for g in (1, 2))
    assert one == (2 * two[0], 2 * two[1])  # AlexNet conv2


def test_factorised_filters_have_the_printed_weights() -> None:
    """Kalhor: flattened 1,728 -> 198 per position; n = 7: 49 -> 14 per pair of channels; GoogLeNet conv1 2,688 for its 3 * 64 pairs."""
    flat = make({"flattened": {"out": 1, "kernel": 3}}, ((192, 6, 6),), 10, "block")
    assert sum(m.conv.weight.numel() for m in flat.modules() if isinstance(m, Conv)) == 198
    assert cost({"conv": {"out": 1, **BARE}}, (192, 6, 6))[0] == 1_728
    pair = make({"asymmetric": {"out": 1}}, ((1, 9, 9),), 10, "block")
    weights = sum(m.conv.weight.numel() for m in pair.modules() if isinstance(m, Conv))
    assert weights == 14 and 3 * 64 * weights == 2_688 and cost({"conv": {"out": 1, "kernel": 7, **BARE}}, (1, 9, 9))[0] == 49


def test_asymmetric_is_the_square_filter_where_that_has_rank_one() -> None:
    tall, wide = conv((1, 9, 9), out=1, kernel=[7, 1]), conv((1, 9, 9), out=1, kernel=[1, 7])
    square = conv((1, 9, 9), out=1, kernel=7)
    square.conv.weight.data = tall.conv.weight * wide.conv.weight
    x = torch.randn(2, 1, 9, 9)
    torch.testing.assert_close(wide(tall(x)), square(x))


@pytest.mark.parametrize(("depth", "field", "weights"), [(2, 5, 18), (3, 7, 27)])
def test_stacked_3x3_sees_as_much_as_a_large_filter(depth: int, field: int, weights: int) -> None:
    stack = [{"stage": {"block": {"conv": {"out": 1, "norm": "none", "bias": False, "act": "tanh"}}, "depth": depth}}]
    assert cost(stack, (1, 9, 9))[0] == weights < cost({"conv": {"out": 1, "kernel": field, **BARE}}, (1, 9, 9))[0] == field**2
    first, last = reach([{"stage": {"block": {"conv": {"out": 1, **BARE}}, "depth": depth}}], (15, 1), 7)
    assert last - first + 1 == field


def test_dilation_widens_without_parameters() -> None:
    assert reach({"conv": {"out": 1, "dilation": 2, **BARE}}, (15, 1), 7) == (5, 9)  # effective kernel l (k - 1) + 1 = 5
    assert cost({"conv": {"out": 1, "dilation": 2, **BARE}}, (15, 1)) == cost({"conv": {"out": 1, **BARE}}, (15, 1))
    levels = [{"conv": {"out": 1, "dilation": d, **BARE}} for d in (1, 2, 4)]
    first, last = reach(levels, (31, 1), 15)
    assert last - first + 1 == 15  # kalhor, redfern: k = 3, d = 1, 2, 4


@pytest.mark.parametrize(("per_level", "field"), [(1, 15), (2, 29)])
def test_dilated_causal_convolution_sees_only_the_past(per_level: int, field: int) -> None:
    """Sojka: k = 3, d = 1, 2, 4: receptive field 15 with one convolution per level, 29 with two."""
    levels = [{"conv": {"out": 1, "dilation": d, "pad": "causal", **BARE}} for d in (1, 2, 4) for _ in range(per_level)]
    assert reach(levels, (40, 1), 35) == (35 - field + 1, 35)


@pytest.mark.parametrize("weight", ["plain", "norm", "standard"])
def test_convolution_is_a_matrix_product(weight: Any) -> None:
    layer = conv((3, 6, 7), out=4, stride=2, weight=weight)
    x = torch.randn(2, 3, 6, 7)
    columns = F.unfold(x, 3, padding=1, stride=2)  # (B, 27, 12)
    torch.testing.assert_close(layer(x), (layer.weights().flatten(1) @ columns).view(2, 4, 3, 4), rtol=1e-4, atol=1e-5)


def test_convolution_order_with_norm_and_activation() -> None:
    x = torch.randn(4, 3, 5, 5)
    after, before = Conv((3, 5, 5), out=3), Conv((3, 5, 5), out=3, preact=True)
    torch.testing.assert_close(after(x), F.relu(after.norm(after.conv(x))))
    torch.testing.assert_close(before(x), before.conv(F.relu(before.norm(x))))
    assert (after(x) >= 0).all() and (before(x) < 0).any()


def test_sequence_convolution_is_the_image_one_with_one_row() -> None:
    line, image = conv((9, 3), out=4, kernel=3), conv((3, 1, 9), out=4, kernel=[1, 3])
    image.conv.weight.data = line.conv.weight.data.unsqueeze(2)
    x = torch.randn(2, 9, 3)
    torch.testing.assert_close(line(x), image(x.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2))


def test_softmax_in_a_convolution_runs_over_channels() -> None:
    for shape, axis in (((3, 4, 4), 1), ((6, 3), -1)):
        out = Conv(shape, out=5, act="softmax")(torch.randn(2, *shape))
        torch.testing.assert_close(out.sum(axis), torch.ones_like(out.sum(axis)))


def test_drop_connect_masks_weights_in_training_only() -> None:
    layer = conv((1, 4, 4), out=200, kernel=1, drop_connect=0.4)
    layer.conv.weight.data.fill_(1.0)
    x = torch.ones(1, 1, 4, 4)
    values = layer(x)[0, :, 0, 0]
    torch.testing.assert_close(values.unique(), torch.tensor([0.0, 1 / 0.6]))
    assert (values == 0).float().mean() == pytest.approx(0.4, abs=0.15)
    assert torch.equal(layer.eval()(x), torch.ones(1, 200, 4, 4))


# ---------------------------------------------------------------- transposed


@pytest.mark.parametrize(("kernel", "stride", "pad", "groups"), [(3, 1, 1, 1), (2, 2, 0, 1), (4, 2, 1, 2), (5, 3, 2, 1)])
def test_transposed_convolution_is_the_adjoint(kernel: int, stride: int, pad: int, groups: int) -> None:
    """<conv(x), y> = <x, convT(y)>; the size is one that the stride divides."""
    size = (4 - 1) * stride + kernel - 2 * pad
    forward = conv((4, size, size), out=6, kernel=kernel, stride=stride, pad=pad, groups=groups).double()
    back = Deconv((6, 4, 4), out=4, kernel=kernel, stride=stride, pad=pad, groups=groups, norm="none", act="none", bias=False).double()
    back.conv.weight.data = forward.conv.weight.data
    x, y = torch.randn(2, 4, size, size, dtype=torch.double), torch.randn(2, 6, 4, 4, dtype=torch.double)
    torch.testing.assert_close((forward(x) * y).sum(), (x * back(y)).sum())


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (4, 2), (5, 2), (3, 1), (2, 3), (3, 3), (4, 3)])
def test_transposed_convolution_multiplies_the_size(kernel: int, stride: int) -> None:
    for shape in ((4, 5, 6), (5, 4)):
        grown = probe({"deconv": {"kernel": kernel, "stride": stride}}, (shape,), 10).shapes[0]
        assert grown == ((4, 5 * stride, 6 * stride) if len(shape) == 3 else (5 * stride, 4))
    assert probe({"deconv": {"expand": 0.5, "kernel": 4, "pad": 0}}, ((4, 5, 6),), 10).shapes[0] == (2, 12, 14)


def test_transposed_convolution_that_cannot_keep_the_size_says_so() -> None:
    with pytest.raises(UserError, match=r"body\.0\.deconv: deconv with pad: same needs an odd kernel where the stride is 1"):
        probe([{"deconv": {"kernel": 2, "stride": 1}}], ((4, 5, 6),), 10, "body")


# ---------------------------------------------------------------- moving values


def test_shuffle_reads_the_table_by_columns() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)
    assert Shuffle((6, 1, 1), 2)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]  # kalhor: g = 2, n = 3
    torch.testing.assert_close(Shuffle((6, 1, 1), 3)(Shuffle((6, 1, 1), 2)(x)), x)


def test_shift_moves_each_group_and_is_free() -> None:
    assert cost("shift", (18, 6, 6)) == (0, 0)
    x = torch.randn(2, 9, 4, 5)
    moved = Shift((9, 4, 5))(x)
    torch.testing.assert_close(moved[:, 0, 1:, 1:], x[:, 0, :-1, :-1])  # first offset: from above left
    torch.testing.assert_close(moved[:, 4], x[:, 4])  # the middle one
    torch.testing.assert_close(moved[:, 8, :-1, :-1], x[:, 8, 1:, 1:])
    assert (moved[:, 0, 0] == 0).all() and (moved[:, 8, -1] == 0).all()


def test_a_convolution_is_the_sum_of_1x1_filters_on_shifted_maps() -> None:
    """Redfern: F x F convolution = F^2 1x1 filters on shifted maps."""
    whole = conv((2, 5, 6), out=3)
    x = torch.randn(2, 2, 5, 6)
    shift = Shift((18, 5, 6))
    shifted = shift(x.repeat(1, 9, 1, 1))  # group i holds both maps moved by offset i
    point = whole.conv.weight.permute(0, 2, 3, 1).reshape(3, 18, 1, 1)
    torch.testing.assert_close(F.conv2d(shifted, point), whole(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [2, 3])
def test_space_to_depth_and_back(block: int) -> None:
    x = torch.randn(2, 3, 6, 12)
    deep = SpaceToDepth((3, 6, 12), block)(x)
    assert deep.shape == (2, 3 * block**2, 6 // block, 12 // block)
    assert torch.equal(DepthToSpace(tuple(deep.shape[1:]), block)(deep), x)


def test_upsample_repeats_or_interpolates() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    wide: Tensor = Upsample((1, 2, 2))(x)
    assert wide[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]  # sojka: nearest un-pooling
    smooth = Upsample((1, 2, 2), mode="bilinear")(x)[0, 0]
    assert smooth[0].tolist() == [1.0, 1.25, 1.75, 2.0] and smooth[:, 0].tolist() == [1.0, 1.5, 2.5, 3.0]


def test_mlpconv_is_a_perceptron_at_each_place() -> None:
    block = make({"mlpconv": {"out": 4, "hidden": [5, 6]}}, ((3, 6, 6),), 10, "block")
    first, *layers = [m for m in block.modules() if isinstance(m, Conv)]
    x = torch.randn(2, 3, 6, 6)
    y = first(x).permute(0, 2, 3, 1)
    for layer in layers:
        y = F.relu(F.linear(y, layer.conv.weight[:, :, 0, 0], layer.conv.bias))
    torch.testing.assert_close(block(x), y.permute(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "block", [{"shuffle": {"groups": 1}}, {"space_to_depth": {"block": 1}}, {"depth_to_space": {"block": 1}}, {"upsample": {"scale": 1}},
              {"norm": {"kind": "none"}}, {"act": {"kind": "none"}}],
)  # fmt: skip
def test_a_layer_that_does_nothing_is_no_part_of_the_canonical_form(block: Any) -> None:
    assert opened([block, {"conv": {"out": 4}}]) == opened({"conv": {"out": 4}})
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(make(block, ((8, 6, 6),), 1, "block")(x), x)
    name = next(iter(block))
    assert opened(name) != []
