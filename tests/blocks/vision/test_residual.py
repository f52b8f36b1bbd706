"""Residual blocks: identities, orders, and the sizes of the networks that are made of them (counts: recounts in the shared catalogue)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nasforge.blocks.compose.combine import Chain, Residual
from nasforge.blocks.core.conv import Conv
from nasforge.errors import UserError
from nasforge.networks.build import make, probe

PLAIN = {"norm": "none", "act": "none", "bias": False}
CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)


def cost(blocks: list[Any], shape: tuple[int, ...], classes: int) -> tuple[int, int]:
    found = probe(blocks, (shape,), classes)
    return found.params, found.macs


def imagenet(block: str, depths: list[int], ratio: int = 4, **args: Any) -> list[Any]:
    """7x7/2, 3x3/2 max pool, four stages of widths 64 to 512 (times `ratio` out), global average, classifier."""
    stages = [
        {"stage": {"block": {block: args}, "out": 64 * ratio * 2**i, "depth": depth, "stride": 2 if i else 1}}
        for i, depth in enumerate(depths)
    ]  # fmt: skip
    return [{"conv": {"out": 64, "kernel": 7, "stride": 2}}, {"pool": {"kernel": 3, "stride": 2}}, *stages, "gap_head"]


def cifar(block: str, depth: int, widths: list[int], preact: bool, stem: int = 16, **args: Any) -> list[Any]:
    """3x3, three stages, global average, classifier; a pre-activated net is normed at its end instead of its start."""
    stages = [{"stage": {"block": {block: args}, "out": w, "depth": depth, "stride": 2 if i else 1}} for i, w in enumerate(widths)]
    start = {"conv": {"out": stem, **(PLAIN if preact else {})}}
    return [start, *stages, *(["norm", "relu"] if preact else []), "gap_head"]


@pytest.mark.parametrize(
    ("network", "params", "macs"),
    [
        (imagenet("basic", [2, 2, 2, 2], 1), 11_689_512, 1_814_073_344),  # resnet18
        (imagenet("bottleneck", [3, 4, 6, 3]), 25_557_032, 4_089_184_256),  # resnet50, stride on the 3x3
        (imagenet("bottleneck", [3, 4, 6, 3], stride_on="1x1"), 25_557_032, 3_857_973_248),
        (imagenet("bottleneck", [3, 4, 6, 3], base_width=128), 68_883_240, 11_398_021_120),  # wide_resnet50_2
        (imagenet("resnext", [3, 4, 6, 3]), 25_028_904, 4_230_479_872),  # resnext50_32x4d
        (imagenet("resnext", [3, 4, 23, 3], groups=64), 83_455_272, 15_460_270_080),  # resnext101_64x4d
        (imagenet("bottleneck", [3, 4, 6, 3], se=1 / 16), 28_088_024, 4_091_699_200),  # seresnet50
        (imagenet("bottleneck", [3, 4, 6, 3], gate={"se": {"bias": False}}), 28_071_976, 4_091_699_200),
        (imagenet("resnext", [3, 4, 6, 3], se=1 / 16), 27_559_896, 4_232_994_816),  # seresnext50_32x4d
        (imagenet("bottleneck", [3, 4, 6, 3], groups=32, base_width=4, middle="sk"), 27_479_784, 4_462_710_784),  # sknet50
    ],
    ids=["18", "50", "50-1x1", "50-wide", "x50", "x101", "se50", "se50-no-bias", "sex50", "sk50"],
)
def test_imagenet_networks_have_their_exact_size(network: list[Any], params: int, macs: int) -> None:
    assert cost(network, IMAGENET, 1000) == (params, macs)


def test_cbam_network_has_its_exact_parameters() -> None:
    assert cost(imagenet("resnext", [3, 4, 6, 3], gate="cbam"), IMAGENET, 1000)[0] == 27_561_496  # cbam_resnext50_32x4d


@pytest.mark.parametrize(
    ("network", "params"),
    [
        (cifar("basic", 18, [16, 32, 64], False, shortcut="pad"), 1_727_962),  # resnet110
        (cifar("preact_basic", 18, [16, 32, 64], True, shortcut="pad"), 1_727_962),
        (cifar("preact_bottleneck", 18, [64, 128, 256], True), 1_703_258),  # preact_resnet164
        (cifar("preact_bottleneck", 111, [64, 128, 256], True), 10_327_706),  # preact_resnet1001
        (cifar("wide_basic", 4, [160, 320, 640], True, dropout=0.3), 36_479_194),  # wrn_28_10
        (cifar("bottleneck", 3, [256, 512, 1024], False, 64, groups=16, base_width=64), 68_155_210),  # resnext29_16x64d
    ],
    ids=["110", "preact110", "preact164", "preact1001", "wrn", "resnext29"],
)
def test_cifar_networks_have_their_exact_parameters(network: list[Any], params: int) -> None:
    assert cost(network, CIFAR, 10)[0] == params


def test_pyramid_network_widens_at_each_unit() -> None:
    """D_k = D_(k-1) + alpha / N, alpha 270, N 54: pyramidnet164_a270 has 27,216,021 parameters."""
    widths = [round(16 + 270 * (k + 1) / 54) for k in range(54)]
    args = {"ordering": "pyramid", "shortcut": "pad"}
    units = [{"bottleneck": {"out": 4 * w, "stride": 2 if k in (18, 36) else 1, **args}} for k, w in enumerate(widths)]
    assert cost([{"conv": {"out": 16, "act": "none"}}, *units, "norm", "relu", "gap_head"], CIFAR, 10)[0] == 27_216_021


def test_bottleneck_saves_the_printed_weights() -> None:
    """Kalhor, banerjee: 16,384 + 36,864 + 16,384 = 69,632 instead of 589,824 (batch norms apart)."""
    norms = 2 * (64 + 64 + 256)
    assert cost([{"bottleneck": {"out": 256}}], (256, 8, 8), 1)[0] == 69_632 + norms
    assert cost([{"conv": {"out": 256, **PLAIN}}], (256, 8, 8), 1)[0] == 589_824


def test_wide_block_of_width_one_is_the_residual_block() -> None:
    assert cost([{"wide_basic": {}}], (16, 8, 8), 1) == cost([{"preact_basic": {}}], (16, 8, 8), 1)


# ---------------------------------------------------------------- functions


def built(block: Any, shape: tuple[int, ...] = (8, 6, 6)) -> nn.Module:
    return make(block, (shape,), 1, "block").eval()


def silence(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data.zero_()
    return module


@pytest.mark.parametrize("name", ["preact_basic", "preact_bottleneck", "wide_basic"])
def test_a_body_of_zeros_is_the_identity(name: str) -> None:
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(silence(built({name: {"out": 8}}))(x), x)
    torch.testing.assert_close(silence(built({"basic": {"out": 8}}))(x), x.relu())  # the original form has ReLU behind the sum


def test_gradient_through_a_residual_is_one_plus_that_of_the_body() -> None:
    """de / dx_d = (1 + dh / dx) de / dx_(d+1)."""
    module = make({"residual": {"body": [{"linear": {"out": 1}}]}}, ((1,),), 1, "block")
    x = torch.ones(1, 1, requires_grad=True)
    module(x).backward()
    slope = next(module.parameters()).item()
    assert x.grad is not None and x.grad.item() == pytest.approx(1 + slope)


def reference(order: str, x: Tensor, parts: Sequence[nn.Module]) -> Tensor:
    """The five orders of He et al. 2016b, figure 4, and pyramid, written out; parts: convolutions and norms as they come."""

    def relu(t: Tensor) -> Tensor:
        return t.clamp_min(0)

    if order == "original":
        c1, n1, c2, n2 = parts
        return relu(x + n2(c2(relu(n1(c1(x))))))
    if order == "norm_after_add":
        c1, n1, c2, n2 = parts
        return relu(n2(x + c2(relu(n1(c1(x))))))
    if order == "act_before_add":
        c1, n1, c2, n2 = parts
        return x + relu(n2(c2(relu(n1(c1(x))))))
    if order == "act_only_preact":
        c1, n1, c2, n2 = parts
        return x + n2(c2(relu(n1(c1(relu(x))))))
    if order == "preact":
        n0, c1, n1, c2 = parts
        return x + c2(relu(n1(c1(relu(n0(x))))))
    n0, c1, n1, c2, n2 = parts
    return x + n2(c2(relu(n1(c1(n0(x))))))


@pytest.mark.parametrize("order", ["original", "norm_after_add", "act_before_add", "act_only_preact", "preact", "pyramid"])
def test_orders_of_norm_activation_and_sum(order: str) -> None:
    module = built({"basic": {"ordering": order}})
    parts = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    for part in parts:
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.uniform_(part.bias, -1, 1)
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(module(x), reference(order, x, parts), rtol=1e-4, atol=1e-5)


def test_preactivation_is_shared_with_the_projection_and_not_with_the_identity() -> None:
    """He et al. 2016b: where the shape changes, norm and activation come before body and projection; a projection has no norm."""
    same, changed = built({"preact_basic": {}}), built({"preact_basic": {"out": 12, "stride": 2}})
    assert isinstance(same, Residual) and isinstance(same.shortcut, Chain) and not list(same.shortcut.parameters())
    assert isinstance(changed, Chain) and isinstance(changed.blocks[1], Residual)
    projection = changed.blocks[1].shortcut
    assert isinstance(projection, Conv) and isinstance(projection.norm, nn.Identity) and projection.conv.bias is None
    x = torch.randn(2, 8, 6, 6)
    before = changed.blocks[0](x)
    torch.testing.assert_close(changed(x), projection(before) + changed.blocks[1].body(before))


def test_the_projection_has_the_norm_of_its_block() -> None:
    module = built({"basic": {"out": 12, "norm": "layer"}})
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    assert sum(isinstance(m, nn.GroupNorm) for m in module.modules()) == 3


@pytest.mark.parametrize("kind", ["auto", "projection", "pool", "pad", "none"])
def test_shortcut_kinds(kind: str) -> None:
    for name in ("basic", "preact_basic"):
        assert built({name: {"out": 12, "stride": 2, "shortcut": kind}})(torch.randn(2, 8, 7, 7)).shape == (2, 12, 4, 4)
    with pytest.raises(UserError, match="identity needs a body that keeps the shape"):
        built({"basic": {"out": 12, "shortcut": "identity"}})


def test_resnext_forms_are_equal() -> None:
    """Xie et al. 2017, figure 3: sum over paths, early concatenation and grouped convolution compute the same."""
    cardinality, width = 4, 3
    grouped = built({"residual": {"body": [{"conv": {"out": 12, "kernel": 1, **PLAIN}}, {"conv": {"out": 12, "groups": 4, **PLAIN}},
                                           {"conv": {"out": 8, "kernel": 1, **PLAIN}}]}})  # fmt: skip
    path: list[Any] = [{"conv": {"out": width, "kernel": 1, **PLAIN}}, {"conv": {"out": width, **PLAIN}}]
    last: Any = {"conv": {"out": 8, "kernel": 1, **PLAIN}}
    early = built({"residual": {"body": [{"parallel": {"branches": [path] * cardinality}}, last]}})
    paths = built({"residual": {"body": [{"parallel": {"branches": [[*path, last]] * cardinality, "join": "add"}}]}})
    first, second, third = (m for m in grouped.modules() if isinstance(m, nn.Conv2d))
    in_early = [m for m in early.modules() if isinstance(m, nn.Conv2d)]
    in_paths = [m for m in paths.modules() if isinstance(m, nn.Conv2d)]
    in_early[-1].weight.data = third.weight.data
    for i in range(cardinality):
        part = slice(i * width, (i + 1) * width)
        for convs, at in ((in_early, 2 * i), (in_paths, 3 * i)):
            convs[at].weight.data, convs[at + 1].weight.data = first.weight.data[part], second.weight.data[part]
        in_paths[3 * i + 2].weight.data = third.weight.data[:, part]
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(early(x), grouped(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(paths(x), grouped(x), rtol=1e-4, atol=1e-5)


def test_resnext_cardinality_32_width_4_has_128_channels_between() -> None:
    block = built({"resnext": {"out": 256}}, (256, 4, 4))
    assert [m.out_channels for m in block.modules() if isinstance(m, nn.Conv2d)] == [128, 128, 256]


def test_a_bottleneck_without_a_width_says_what_it_needs() -> None:
    with pytest.raises(UserError, match=r"body\.0\.bottleneck: bottleneck needs `out`, the channels it gives \(here or in its stage\)"):
        probe([{"bottleneck": {}}], ((8, 6, 6),), 1, "body")
