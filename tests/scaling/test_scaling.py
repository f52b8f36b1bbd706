"""Compound scaling: the rule by hand, the published EfficientNets, and the largest member within a limit."""

from __future__ import annotations

import pytest

from nasforge import zoo
from nasforge.errors import UserError
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.scaling import fit, matched, scale
from nasforge.spaces.arch import Arch


def small_net() -> Arch:
    return {
        "name": "net",
        "input": [3, 32, 32],
        "classes": 10,
        "stem": [{"conv": {"out": 16, "kernel": 3}}],
        "body": [
            {"stage": {"block": {"mbconv": {"expand": 4}}, "out": 24, "depth": 2, "stride": 2}},
            {"stage": {"block": {"basic": {"out": 40}}, "depth": 3}},
        ],
        "head": [{"conv": {"out": 64, "kernel": 1}}, {"pool": {"kind": "avg"}}, {"linear": {}}],
    }


def test_the_rule_by_hand() -> None:
    """depth 2 -> ceil(2 * 1.2) = 3, 3 -> ceil(3.6) = 4; widths * 1.5 to multiples of 8; 32 * 1.15 = 36.8 -> 37."""
    arch = scale(small_net(), 1, depth=1.2, width=1.5, resolution=1.15)
    first, second = (line["stage"] for line in arch["body"])
    assert arch["input"] == [3, 37, 37] and arch["classes"] == 10
    assert arch["stem"] == [{"conv": {"out": 24, "kernel": 3}}]
    assert (first["depth"], first["out"], first["stride"], first["block"]) == (3, 40, 2, {"mbconv": {"expand": 4}})  # 36 -> 40
    assert (second["depth"], second["block"]) == (4, {"basic": {"out": 64}})  # 60 -> 64
    assert arch["head"] == [{"conv": {"out": 96, "kernel": 1}}, {"pool": {"kind": "avg"}}, {"linear": {}}]


def test_phi_is_an_exponent_and_zero_changes_nothing() -> None:
    net = small_net()
    assert key(scale(net, 0)) == key(net)
    assert scale(net, 2)["input"] == [3, round(32 * 1.15**2), round(32 * 1.15**2)]
    assert [line["stage"]["depth"] for line in scale(net, 2)["body"]] == [3, 5]  # ceil(2.88), ceil(4.32)
    assert [line["stage"]["depth"] for line in scale(net, -2)["body"]] == [2, 3]  # ceil(1.39), ceil(2.08)
    assert net == small_net()


def test_a_whole_product_is_not_rounded_up() -> None:
    stage = {"stage": {"block": {"conv": {"out": 8}}, "depth": 5}}
    for factor, depth in ((1.2, 6), (1.4, 7), (2.2, 11), (0.2, 1)):
        arch = scale({"input": [3, 8, 8], "classes": 2, "body": [stage]}, 1, depth=factor, width=1, resolution=1)
        assert arch["body"][0]["stage"]["depth"] == depth


def test_widths_of_branches_and_listed_repeats_grow_and_the_classifier_stays() -> None:
    arch = {
        "input": [3, 16, 16],
        "classes": 7,
        "body": [
            {"inception": {"b1": 16, "b3": [8, 16], "b5": [8, 16], "pool": 16}},
            {"stage": {"blocks": [{"conv": {"out": 16}}, {"conv": {"out": 32}}]}},
            {"residual": {"body": [{"conv": {"out": 32}}], "shortcut": "auto"}},
        ],
        "head": [{"pool": {"kind": "avg"}}, {"linear": {"out": 7}}],
    }
    big = scale(arch, 1, depth=1.5, width=2, resolution=1)
    assert big["body"][0] == {"inception": {"b1": 32, "b3": [16, 32], "b5": [16, 32], "pool": 32}}
    assert big["body"][1]["stage"]["blocks"] == [{"conv": {"out": 32}}, {"conv": {"out": 64}}, {"conv": {"out": 64}}]
    assert big["body"][2]["residual"]["body"] == [{"conv": {"out": 64}}]
    assert big["head"][-1] == {"linear": {"out": 7}}


EFFICIENTNETS = [  # depth, width and side of the reference code of Tan & Le 2019; recount of the reference models (networks.yaml)
    pytest.param(1.1, 1.0, 240, 7_794_184, 686_802_832, id="b1"),
    pytest.param(1.2, 1.1, 260, 9_109_994, 993_561_872, id="b2"),
    pytest.param(1.4, 1.2, 300, 12_233_232, 1_827_141_392, id="b3"),
    pytest.param(1.8, 1.4, 380, 19_341_616, 4_393_771_024, id="b4"),
    pytest.param(2.2, 1.6, 456, 30_389_784, 10_266_384_752, id="b5", marks=pytest.mark.thorough),
    pytest.param(2.6, 1.8, 528, 43_040_704, 19_067_593_536, id="b6", marks=pytest.mark.thorough),
    pytest.param(3.1, 2.0, 600, 66_347_960, 37_745_884_192, id="b7", marks=pytest.mark.thorough),
]


@pytest.mark.parametrize(("depth", "width", "side", "params", "macs"), EFFICIENTNETS)
def test_published_efficientnets(depth: float, width: float, side: int, params: int, macs: int) -> None:
    cost = count(scale(zoo.load("efficientnet_b0"), 1, depth=depth, width=width, resolution=side / 224))
    assert (cost.params, cost.macs) == (params, macs)


@pytest.mark.parametrize(
    ("depth", "width", "params"), [(2.2, 1.6, 30_389_784), (2.6, 1.8, 43_040_704), (3.1, 2.0, 66_347_960)], ids=["b5", "b6", "b7"]
)
def test_parameters_of_the_largest_efficientnets(depth: float, width: float, params: int) -> None:
    """Their size does not depend on the side of the input, and is found sooner on a small one."""
    assert count(scale({**zoo.load("efficientnet_b0"), "input": [3, 32, 32]}, 1, depth=depth, width=width, resolution=1)).params == params


def test_doubling_the_work_is_near_two_to_the_phi() -> None:
    """depth * width^2 * resolution^2 = 1.2 * 1.1^2 * 1.15^2 = 1.92: the paper's constraint. Rounding up adds to it in a small network."""
    base = zoo.load("efficientnet_b0")
    ratio = count(scale(base, 3)).macs / count(base).macs
    assert 1.92**3 * 0.95 < ratio < 1.92**3 * 1.25


@pytest.mark.parametrize("limit", [{"params": 200_000}, {"params": 20_000}, {"macs": 5e6, "params": 1e6}, {"activation_bytes": 3e6}])
def test_fit_is_the_largest_within_the_limit(limit: dict[str, float]) -> None:
    arch = fit(small_net(), limit)
    phi = float(arch["name"].removeprefix("net_phi"))
    assert all(getattr(count(arch), name) <= bound for name, bound in limit.items())
    more = count(scale(small_net(), phi + 0.01))
    assert any(getattr(more, name) > bound for name, bound in limit.items())


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"parms": 1e6}, "did you mean 'params'"),
        ({}, "limit: takes bounds"),
        ({"params": 10}, "not even phi"),
        ({"params": 1e15}, "too high"),
    ],
)
def test_limits_that_cannot_be_met(limit: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        fit({"input": [3, 8, 8], "classes": 2, "body": [{"conv": {"out": 8}}], "head": ["gap_head"]}, limit)


def test_factors_are_positive() -> None:
    with pytest.raises(UserError, match=r"scale.width: must be a number above 0, got 0"):
        scale(small_net(), 1, width=0)


def vit(side: list[int], patch: dict[str, int], size: list[int] | None = None) -> Arch:
    """A vision transformer with windows, whose tokens become an image at the end."""
    grid = {} if size is None else {"size": size}
    return {
        "input": [3, *side], "classes": 10, "stem": [{"patches": {"out": 64, **patch}}, {"positions": {"kind": "learned"}}],
        "body": [{"stage": {"depth": 3, "block": {"encoder_layer": {"heads": 4, "order": "pre", "act": "gelu"}}}}],
        "head": [{"to_image": grid}, "gap_head"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "phi", "sides"),
    [
        (vit([64, 64], {"size": 8}), 1, [72, 72]),  # 73.6 -> 72
        (vit([64, 64], {"size": 8}), -1, [56, 56]),  # 55.7 -> 56
        (vit([64, 64], {"size": 8}), -20, [8, 8]),
        (vit([60, 60], {"size": 8, "pad": 2}), 1, [68, 68]),  # 69: with 4 more it must be a multiple of 8
        (vit([64, 64], {"size": 7, "stride": 4, "pad": 3}), 1, [74, 74]),  # those that overlap fit anywhere
        (vit([64, 32], {"size": 8}, [8, 4]), 1, [72, 40]),
        ({**vit([64, 64], {"size": 4}), "stem": [{"conv": {"out": 8, "stride": 2}}, {"patches": {"size": 4, "out": 64}}]}, 1, [72, 72]),
        ({"input": [3, 30, 30], "classes": 4, "stem": [{"space_to_depth": {"block": 3}}], "head": ["gap_head"]}, 1, [33, 33]),  # 34.5
    ],
)
def test_sides_are_those_that_patches_tile(arch: Arch, phi: int, sides: list[int]) -> None:
    grown = scale(arch, phi, width=1.0)
    assert grown["input"][1:] == sides and count(grown).macs > 0
    if arch["head"][0] == {"to_image": {"size": [8, 4]}}:
        assert grown["head"][0] == {"to_image": {"size": [9, 5]}}


def test_patches_within_a_limit_and_along_the_axis_of_the_resolution() -> None:
    net = vit([64, 64], {"size": 8})
    assert count(fit(net, {"params": 1e5})).params <= 1e5
    for axis in ("width", "resolution"):
        target = float(count(scale(net, 1)).macs)
        assert count(matched(net, axis, target, lambda one: float(count(one).macs))).macs == pytest.approx(target, rel=0.35)
