"""Mobile blocks: the networks made of them (counts: recounts in the shared catalogue), and what each unit does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from nasforge.blocks.base import Layer
from nasforge.blocks.compose.combine import Residual
from nasforge.errors import UserError
from nasforge.networks.build import build, make, probe, steps

IMAGE = (3, 224, 224)


def stage(block: str, out: int, depth: int, stride: int, **args: Any) -> dict[str, Any]:
    return {"stage": {"block": {block: args}, "out": out, "depth": depth, "stride": stride}}


def conv(out: int, act: str = "relu", kernel: int = 3, stride: int = 1) -> dict[str, Any]:
    return {"conv": {"out": out, "kernel": kernel, "stride": stride, "act": act}}


def architecture(stem: Any, body: list[Any], head: list[Any]) -> dict[str, Any]:
    return {"input": list(IMAGE), "classes": 1000, "stem": [stem], "body": body, "head": head}


def total(arch: dict[str, Any]) -> tuple[int, int]:
    found = [step.probe for step in steps(arch)]
    return sum(p.params for p in found), sum(p.macs for p in found)


def efficientnet_b0(se: float) -> dict[str, Any]:
    """Source: Tan & Le 2019, table 1: expansion, kernel, channels, layers, stride."""
    rows = [(1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)]
    body = [stage("mbconv", out, depth, s, expand=t, kernel=k, se=se) for t, k, out, depth, s in rows]
    return architecture(conv(32, "swish", stride=2), body, [conv(1280, "swish", 1), "gap_head"])


def mobilenet_v2() -> dict[str, Any]:
    """Source: Sandler et al. 2018, table 2: t, c, n, s."""
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    body = [stage("inverted_residual", c, n, s, expand=t) for t, c, n, s in rows]
    return architecture(conv(32, "relu6", stride=2), body, [conv(1280, "relu6", 1), "gap_head"])


def mobilenet_v1() -> dict[str, Any]:
    rows = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    return architecture(conv(32, stride=2), [{"depthwise_separable": {"out": c, "stride": s}} for c, s in rows], ["gap_head"])


def mobilenet_v3_large() -> dict[str, Any]:
    """Source: Howard et al. 2019, table 1: kernel, expanded, out, squeeze-excite, activation, stride."""
    rows = [(3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1),
            (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
            (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), *[(5, 960, 160, 1, 1, 1)] * 2]  # fmt: skip
    gate = {"se_of": "expanded", "se_divisor": 8, "se_act": "relu", "se_gate": "hard_sigmoid"}
    body, before = [], 16
    for kernel, wide, out, se, hard, stride in rows:
        args = {"out": out, "expand": wide / before, "kernel": kernel, "stride": stride, "se": 0.25 * se, **gate}
        body.append({"mbconv": {**args, "act": "hard_swish" if hard else "relu"}})
        before = out
    end: list[Any] = [conv(960, "hard_swish", 1), {"pool": {"kind": "avg"}}, {"linear": {"out": 1280, "act": "hard_swish"}}, "linear"]
    return architecture(conv(16, "hard_swish", stride=2), body, end)


def mnasnet(rows: Sequence[tuple[int, int, int, int, int, float]]) -> dict[str, Any]:
    """Source: Tan et al. 2019, figure 7: expansion, kernel, out, layers, stride, squeeze-excite."""
    body = [stage("mbconv", out, depth, s, expand=t, kernel=k, se=se, act="relu") for t, k, out, depth, s, se in rows]
    return architecture(conv(32, stride=2), body, [conv(1280, kernel=1), "gap_head"])


A1 = [(1, 3, 16, 1, 1, 0), (6, 3, 24, 2, 2, 0), (3, 5, 40, 3, 2, 0.25), (6, 3, 80, 4, 2, 0), (6, 3, 112, 2, 1, 0.25),
      (6, 5, 160, 3, 2, 0.25), (6, 3, 320, 1, 1, 0)]  # fmt: skip
B1 = [(1, 3, 16, 1, 1, 0), (3, 3, 24, 3, 2, 0), (3, 5, 40, 3, 2, 0), (6, 5, 80, 3, 2, 0), (6, 3, 96, 2, 1, 0), (6, 5, 192, 4, 2, 0),
      (6, 3, 320, 1, 1, 0)]  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "params", "macs"),
    [
        (efficientnet_b0(0.25), 5_288_548, 385_814_752),
        (efficientnet_b0(0), 4_652_008, 385_187_552),
        (mobilenet_v1(), 4_231_976, 568_740_352),
        (mobilenet_v2(), 3_504_872, 300_774_272),
        (mobilenet_v3_large(), 5_483_032, 216_589_760),
        (mnasnet(A1), 3_887_038, 311_579_072),
        (mnasnet(B1), 4_383_312, 314_415_872),
    ],
    ids=["b0", "b0-no-se", "v1", "v2", "v3", "mnasnet-a1", "mnasnet-b1"],
)
def test_networks_have_their_exact_size(arch: dict[str, Any], params: int, macs: int) -> None:
    assert total(arch) == (params, macs)


def test_sizes_of_mobilenet_v2_chain_from_224_to_7() -> None:
    maps = [step.probe.shapes[0] for step in steps(mobilenet_v2())][:8]
    assert [shape[1] for shape in maps] == [112, 112, 56, 28, 14, 14, 7, 7]


def test_shares_of_mobilenet_v1() -> None:
    """Redfern: 94.86 % of the multiply-adds in pointwise, 3.06 % in depthwise convolutions."""
    body = [step for step in steps(mobilenet_v1()) if "depthwise_separable" in str(step.node)]
    point = deep = 0
    for step in body:
        args = step.node["depthwise_separable"]
        before, (_, high, wide) = step.shapes[0][0], step.probe.shapes[0]
        deep += 9 * before * high * wide
        point += before * args["out"] * high * wide
    whole = total(mobilenet_v1())[1]
    assert sum(step.probe.macs for step in body) == point + deep
    assert 100 * point / whole == pytest.approx(94.86, abs=0.01) and 100 * deep / whole == pytest.approx(3.06, abs=0.01)


def layers(block: Any, shape: tuple[int, ...]) -> list[Any]:
    return [m for m in make(block, (shape,), 1, "block").modules() if isinstance(m, Layer) and m.made_with]


def test_mbconv_parts() -> None:
    names = [type(m).__name__ for m in layers({"mbconv": {"out": 24, "se": 0.25}}, (24, 8, 8))]
    assert names == ["Conv", "Conv", "SqueezeExcite", "Conv"]
    assert [type(m).__name__ for m in layers({"mbconv": {"out": 16, "expand": 1}}, (32, 8, 8))] == ["Conv", "Conv"]
    squeeze = layers({"mbconv": {"out": 24, "expand": 6, "se": 0.25}}, (16, 8, 8))[2]
    assert squeeze.reduce.out_features == 4  # a quarter of the 16 input maps, not of the 96 expanded ones


@pytest.mark.parametrize(("stride", "out", "added"), [(1, 8, True), (2, 8, False), (1, 12, False)])
def test_an_inverted_residual_adds_only_where_the_shape_stays(stride: int, out: int, added: bool) -> None:
    block = make({"inverted_residual": {"out": out, "stride": stride}}, ((8, 6, 6),), 1, "block").eval()
    assert isinstance(block, Residual) and (block.shortcut is not None) == added
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(block(x), block.body(x) + x if added else block.body(x))
    assert (block.body(x) < 0).any()  # linear output (redfern)


@pytest.mark.parametrize(
    ("groups", "width", "macs"),
    [(1, 144, 143_078_976), (2, 200, 140_836_512), (3, 240, 137_460_672), (4, 272, 134_339_776), (8, 384, 138_365_952)],
)
def test_shufflenet_v1_has_its_exact_cost(groups: int, width: int, macs: int) -> None:
    body: list[Any] = [conv(24, stride=2), {"pool": {"kernel": 3, "stride": 2}}]
    for i, repeats in enumerate((3, 7, 3)):
        first = {"out": width * 2**i, "groups": groups, "stride": 2, "group_first": i > 0}
        body += [{"shuffle_unit_v1": first}, *[{"shuffle_unit_v1": {"groups": groups}}] * repeats]
    assert probe([*body, "gap_head"], (IMAGE,), 1000).macs == macs


def test_shufflenet_v2_50_has_its_exact_cost() -> None:
    body: list[Any] = [conv(64, stride=2), {"pool": {"kernel": 3, "stride": 2}}]
    for i, (width, depth) in enumerate([(244, 3), (488, 4), (976, 6), (1952, 3)]):
        body += [{"shuffle_unit_v2": {"out": width, "stride": 2 if i else 1}}, *["shuffle_unit_v2"] * (depth - 1)]
    assert probe([*body, conv(2048, kernel=1), "gap_head"], (IMAGE,), 1000).macs == 2_304_152_672


def test_shuffle_unit_v1_concatenates_the_pooled_input_after_a_stride() -> None:
    unit = make({"shuffle_unit_v1": {"out": 16, "groups": 2, "stride": 2}}, ((6, 8, 8),), 1, "block").eval()
    x = torch.rand(2, 6, 8, 8)
    out = unit(x)
    assert out.shape == (2, 16, 4, 4)
    torch.testing.assert_close(out[:, :6], nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
    with pytest.raises(UserError, match="keeps its width with stride 1 or grows, got 6 -> 4 channels, stride 1"):
        make({"shuffle_unit_v1": {"out": 4, "groups": 2}}, ((6, 8, 8),), 1, "block")


def test_shuffle_unit_v1_that_grows_without_a_stride_keeps_its_input_beside() -> None:
    unit = make({"shuffle_unit_v1": {"out": 16, "groups": 2}}, ((6, 8, 8),), 1, "block").eval()
    x = torch.rand(2, 6, 8, 8)
    out = unit(x)
    assert out.shape == (2, 16, 8, 8)
    torch.testing.assert_close(out[:, :6], x)


def test_shuffle_unit_v2_leaves_half_of_the_channels_alone() -> None:
    unit = make("shuffle_unit_v2", ((8, 5, 5),), 1, "block").eval()
    x = torch.randn(2, 8, 5, 5)
    torch.testing.assert_close(unit(x)[:, 0::2], x[:, :4])  # shuffled: every second channel is an old one
    wider = make({"shuffle_unit_v2": {"out": 12, "stride": 2}}, ((8, 6, 6),), 1, "block")
    assert wider(torch.randn(2, 8, 6, 6)).shape == (2, 12, 3, 3)


@pytest.mark.parametrize(("of", "params", "macs"), [("output", 4_965_960, 1_716_531_200), ("input", 4_363_848, 1_466_052_608)])
def test_shiftnet_has_its_size_for_both_readings_of_the_expansion(of: str, params: int, macs: int) -> None:
    """Redfern does not say of what width E is the multiple. The counts of the catalogue leave the batch norms out; shortcuts are free."""
    groups = [((2, 5, 4, 64), (5, 4, 4)), ((2, 5, 4, 128), (5, 3, 5)), ((2, 3, 3, 256), (3, 2, 6)), ((2, 3, 2, 512), (3, 1, 2))]
    body: list[Any] = [conv(32, kernel=7, stride=2)]
    for (stride, kernel, expand, out), (kernel2, expand2, repeats) in groups:
        rest = {"out": out, "of": of, "shortcut": "pad"}
        body += [{"csc": {"stride": stride, "kernel": kernel, "expand": expand, **rest}}]
        body += [{"csc": {"kernel": kernel2, "expand": expand2, **rest}}] * repeats
    found = probe([*body, "gap_head"], (IMAGE,), 1000)
    with torch.device("meta"):
        norms = [m for m in make([*body, "gap_head"], (IMAGE,), 1000, "net").modules() if isinstance(m, nn.BatchNorm2d)]
    assert (found.params - sum(2 * m.num_features for m in norms), found.macs) == (params, macs)


def test_xception_has_its_exact_size() -> None:
    """Source: Chollet 2017, figure 5."""
    body = [
        {"conv": {"out": 32, "stride": 2, "pad": "valid"}}, {"conv": {"out": 64, "pad": "valid"}},
        {"xception_block": {"out": 128, "stride": 2, "act_first": False}}, {"xception_block": {"out": 256, "stride": 2}},
        {"xception_block": {"out": 728, "stride": 2}}, {"stage": {"block": {"xception_block": {"out": 728, "depth": 3}}, "depth": 8}},
        {"xception_block": {"out": 1024, "stride": 2, "grow": "last"}}, {"separable": {"out": 1536}}, {"separable": {"out": 2048}},
        "gap_head",
    ]  # fmt: skip
    found = probe(body, ((3, 299, 299),), 1000)
    assert (found.params, found.macs) == (22_855_952, 8_357_403_496)


def test_families_stand_beside_each_other_in_one_network() -> None:
    body = [
        conv(16, stride=2), stage("basic", 16, 1, 1), stage("mbconv", 24, 2, 2, se=0.25), {"fire": {"squeeze": 8, "e1": 12, "e3": 12}},
        {"dense_block": {"growth": 8, "depth": 2}}, "transition", {"inception": {"b1": 8, "b3": [8, 12], "b5": [4, 8], "pool": 8}},
        stage("shuffle_unit_v2", 36, 1, 1), {"drop_block": {"p": 0.1, "size": 3}}, "cbam", "highway", "norm", "swish", "gap_head",
    ]  # fmt: skip
    network = build({"input": [3, 32, 32], "classes": 5, "body": body, "drop_path": 0.2})
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_a_block_without_a_width_says_what_it_needs() -> None:
    with pytest.raises(UserError, match=r"body\.0\.mbconv: mbconv needs `out`"):
        probe([{"mbconv": {}}], ((8, 6, 6),), 1, "body")


def test_shuffle_unit_v2_with_residual_adds_its_branch_to_what_it_read() -> None:
    """Source: Ma et al. 2018 (ShuffleNet V2), appendix figure 2: squeeze-excite before the sum and the ReLU."""
    plain = probe("shuffle_unit_v2", ((8, 5, 5),), 1)
    large = probe({"shuffle_unit_v2": {"se": 0.5, "residual": True}}, ((8, 5, 5),), 1)
    assert large.params == plain.params + 2 * 4 * 2 + 2 + 4  # 4 -> 2 -> 4 with biases
    unit = make({"shuffle_unit_v2": {"residual": True}}, ((8, 5, 5),), 1, "block").eval()
    norms = [module for module in unit.modules() if isinstance(module, nn.BatchNorm2d)]
    nn.init.zeros_(norms[-1].weight)  # the branch gives nothing, its half is passed on
    x = torch.rand(2, 8, 5, 5)
    torch.testing.assert_close(unit(x), x[:, [0, 4, 1, 5, 2, 6, 3, 7]])
