"""Single axes beside compound scaling, what grows with a width, limits that are not counts, and the grid of coefficients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from random import Random
from typing import Any

import pytest

from nasforge import zoo
from nasforge.errors import UserError
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.scaling import along, candidates, coefficient_grid, cost_of, fit, grow, matched, matched_compound, scale, search_grid
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import find_space, read
from nasforge.spaces.space import Space


def macs(arch: Arch) -> float:
    return float(count(arch).macs)


def plain_net() -> Arch:
    return {
        "name": "net",
        "input": [3, 32, 32],
        "classes": 10,
        "stem": [{"conv": {"out": 32}}],
        "body": [
            {"stage": {"block": "basic", "out": 32, "depth": 3}},
            {"stage": {"block": "basic", "out": 64, "depth": 4, "stride": 2}},
            {"stage": {"block": "basic", "out": 128, "depth": 3, "stride": 2}},
        ],
        "head": ["gap_head"],
    }


def transformer(heads: int = 4, width: int = 64, **more: Any) -> Arch:
    layer = {"encoder_layer": {"heads": heads, **more}}
    return {
        "input": [3, 16, 16],
        "classes": 10,
        "stem": [{"patches": {"size": 4, "out": width}}],
        "body": [{"stage": {"block": layer, "depth": 2}}],
        "head": [{"pool": {"kind": "avg"}}, "linear"],
    }


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize("axis", ["depth", "width", "resolution"])
@pytest.mark.parametrize("phi", [1, 2])
def test_axes_reach_the_cost_of_the_compound_member(axis: str, phi: int) -> None:
    net = plain_net()
    target = macs(scale(net, phi))
    assert abs(macs(matched(net, axis, target, macs)) / target - 1) < 0.05


def test_the_compound_family_reaches_a_cost() -> None:
    net = plain_net()
    assert abs(macs(matched_compound(net, 3 * macs(net), macs)) / (3 * macs(net)) - 1) < 0.05


def test_an_axis_changes_nothing_else() -> None:
    net = plain_net()
    stages = [line["stage"] for line in net["body"]]
    deep, wide, fine = (matched(net, axis, 2 * macs(net), macs) for axis in ("depth", "width", "resolution"))
    assert deep["input"] == wide["input"] == [3, 32, 32] and deep["stem"] == net["stem"]
    assert [s["stage"]["out"] for s in deep["body"]] == [32, 64, 128]
    assert all(new["stage"]["depth"] > old["depth"] for new, old in zip(deep["body"], stages, strict=True))
    assert [s["stage"]["depth"] for s in wide["body"]] == [3, 4, 3] and fine["body"] == net["body"] and fine["input"][1] > 40


def test_cardinality_by_hand() -> None:
    """Source: Xie et al. 2017, table 7: twice the groups of ResNeXt-29 8x64d is ResNeXt-29 16x64d."""
    base, more = (zoo.load(f"resnext29_{n}x64d_cifar") for n in (8, 16))
    assert key(along(base, "cardinality", 2)) == key(more)


def test_alpha_of_a_pyramid() -> None:
    """Source: Han et al. 2017, equation 3: the last block has start + alpha maps."""
    net = {"input": [3, 16, 16], "classes": 10, "body": [{"pyramid": {"alpha": 48, "depths": [1, 1, 2]}}], "head": ["gap_head"]}
    steep = along(net, "pyramid", 2)
    assert steep["body"] == [{"pyramid": {"alpha": 96, "depths": [1, 1, 2]}}]
    assert count(steep).macs > 2 * count(net).macs


@pytest.mark.parametrize(
    ("axis", "words"),
    [("widht", "did you mean 'width'"), ("cardinality", "has none with several"), ("pyramid", "this architecture has none")],
)
def test_axes_that_are_not_there(axis: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        along(plain_net(), axis, 2)


def test_an_axis_that_cannot_get_there() -> None:
    net = {"input": [3, 8, 8], "classes": 2, "body": [{"conv": {"out": 8}}], "head": ["gap_head"]}
    with pytest.raises(UserError, match="depth alone does not bring the cost"):
        matched(net, "depth", 2 * macs(net), macs)
    with pytest.raises(UserError, match="resolution grows images"):
        along({**net, "input": {"tokens": 10, "length": 4}}, "resolution", 2)


# ---------------------------------------------------------------- what grows


@pytest.mark.parametrize("factor", [0.5, 1.1, 1.3, 1.5, 1.8, 2.0, 3.0])
def test_heads_grow_and_widths_stay_divisible(factor: float) -> None:
    wide = grow(transformer(), width=factor)
    width, heads = wide["stem"][0]["patches"]["out"], wide["body"][0]["stage"]["block"]["encoder_layer"]["heads"]
    assert heads == round(4 * factor) and width % heads == 0 and count(wide).params > 0
    assert 0.9 * 64 * factor <= width <= 64 * factor + heads * 8


def test_heads_by_hand() -> None:
    assert grow(transformer(3, 192), width=2)["body"][0]["stage"]["block"] == {"encoder_layer": {"heads": 6}}
    free = grow(transformer(3, 64, head_width=20), width=1.5)
    assert (
        free["body"][0]["stage"]["block"] == {"encoder_layer": {"heads": 4, "head_width": 20}} and free["stem"][0]["patches"]["out"] == 96
    )
    one = grow({"body": [{"image_attention": {}}]}, width=2)
    assert one["body"] == [{"image_attention": {}}]  # one head stays one


def test_defaults_that_are_not_written_grow() -> None:
    net = {"input": [3, 8, 8], "classes": 2, "body": ["dense_block", {"stage": {"block": "conv"}}], "head": ["gap_head"]}
    big = grow(net, depth=2, width=2)
    assert big["body"] == [{"dense_block": {"growth": 64, "depth": 8}}, {"stage": {"block": "conv", "depth": 2}}]
    assert grow(net)["body"] == net["body"]


def test_widths_keep_their_own_divisor_and_that_of_groups() -> None:
    assert grow({"body": [{"conv": {"out": 12}}]}, width=1.3)["body"] == [{"conv": {"out": 16}}]  # 15.6, multiples of 4
    assert grow({"body": [{"conv": {"out": 48, "groups": 6}}]}, width=1.3)["body"] == [{"conv": {"out": 72, "groups": 6}}]  # of 24
    assert grow({"body": [{"conv": {"out": 5}}]}, width=1.3)["body"] == [{"conv": {"out": 7}}]  # 6.5, of 1


def test_reductions_of_found_cells_stay_single() -> None:
    cell = [[{"from": 0, "op": "sep_conv"}, {"from": 1, "op": {"conv": {"out": 16}}}]]
    body = [{"cell_stack": {"nodes": cell, "out": 16, "depth": 3}}, {"cell_stack": {"nodes": cell, "out": 32, "stride": 2}}]
    normal, reduction = (line["cell_stack"] for line in grow({"body": body}, depth=2, width=2)["body"])
    assert (normal["depth"], normal["out"], reduction.get("depth", 1), reduction["out"]) == (6, 32, 1, 64)
    assert normal["nodes"] == [[{"from": 0, "op": "sep_conv"}, {"from": 1, "op": {"conv": {"out": 32}}}]]


@pytest.mark.parametrize("space", ["digits", "mobile", "transformer", "cell", "dense", "inception"])
def test_found_networks_grow(space: str) -> None:
    """Whatever a space gives, its heads, groups and cells included, can be built larger."""
    drawn = Space(read(find_space(space)))
    for seed in range(3):
        base = drawn.draw(random_chooser(Random(seed)))[0]
        assert count(grow(base, depth=1.3, width=1.3)).params > count(base).params


@pytest.mark.parametrize("name", ["resnet20", "shufflenet_v1_g3", "shufflenet_v2_x0_5", "regnet_x_200mf", "squeezenet1_1"])
def test_documented_networks_grow(name: str) -> None:
    base = zoo.load(name)
    assert count(grow(base, width=1.5)).params > count(base).params


# ---------------------------------------------------------------- limits


def test_fit_by_a_meter_of_ones_own() -> None:
    """Any cost that can be told of an architecture bounds a family: here a latency of 1 ms for each 1e8 multiply-adds."""
    meters: dict[str, Callable[[Arch], float]] = {"latency_ms": lambda arch: macs(arch) / 1e8}
    found = fit(plain_net(), {"latency_ms": 2.5, "params": 1e9}, meters=meters)
    assert key(found) == key(fit(plain_net(), {"macs": 2.5e8}))
    with pytest.raises(UserError, match="did you mean 'latency_ms'"):
        fit(plain_net(), {"latency": 1}, meters=meters)


def test_memory_is_weights_and_maps() -> None:
    found = fit(plain_net(), {"memory": 8e6})
    cost = count(found)
    assert cost_of(found, "memory_bytes") == 4 * cost.params + cost.peak_bytes <= 8e6
    assert cost_of(fit(plain_net(), {"memory": 9e6}), "memory_bytes") > 8e6


# ---------------------------------------------------------------- the grid


def test_the_grid_is_all_that_keeps_the_rule() -> None:
    """By hand in tenths of integers: 10 <= a, b, c and 180,000 <= a b^2 c^2 <= 220,000."""
    wanted = {(a, b, c) for a, b, c in product(range(10, 23), repeat=3) if 180_000 <= a * b * b * c * c <= 220_000}
    grid = coefficient_grid(0.1)
    assert {tuple(round(10 * x) for x in point) for point in grid} == wanted and len(grid) == len(wanted) == 39


def test_candidates_are_different_networks_and_a_budget_is_real() -> None:
    tiny = {**plain_net(), "input": [3, 8, 8], "body": plain_net()["body"][:1]}
    points = candidates(tiny)
    assert len({key(p.arch) for p in points}) == len(points) < len(coefficient_grid())
    real = candidates(tiny, meter=macs)
    assert all(abs(macs(p.arch) / macs(tiny) - 2) <= 0.2 and p.cost == macs(p.arch) / macs(tiny) for p in real)
    assert any(abs(p.cost - 2) > 0.2 for p in points)  # the rule alone misses it: depths and sides are whole


def test_the_best_is_by_mean_score_then_loss() -> None:
    points = candidates(plain_net(), step=0.2)
    best = search_grid(points, lambda arch, seed: (0.5 if arch["input"][1] > 40 else 0.9 - 0.1 * seed, macs(arch)), seeds=(0, 1))
    rivals = [p for p in points if p.arch["input"][1] <= 40]
    assert len(rivals) > 1 and best is min(rivals, key=lambda p: p.macs) and best.score == pytest.approx(0.85)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"step": 0}, "grid.step: must be"), ({"step": 0.01}, "take a larger step"), ({"target": 1}, "target above 1")],
)
def test_grids_that_cannot_be(settings: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        coefficient_grid(**settings)


def test_no_candidate_within_the_budget() -> None:
    with pytest.raises(UserError, match="no coefficients cost 2 times"):
        candidates(plain_net(), meter=lambda arch: 1.0)
