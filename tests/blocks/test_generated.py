"""Networks generated from numbers: the widths of RegNets as published, random graphs by their definitions."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nasforge.blocks.compose.random_wiring import connected, preferential, random_graph, randwire, small_world, uniform
from nasforge.blocks.vision.regnet import regnet, regnet_stages
from nasforge.errors import UserError
from nasforge.networks.build import probe

# Source: Radosavovic et al. 2020, figures 16 and 17: depth, w_0, w_a, w_m, group width -> widths, depths
PUBLISHED = [
    ((13, 24, 36.44, 2.49, 8), [24, 56, 152, 368], [1, 1, 4, 7]),
    ((22, 24, 24.48, 2.54, 16), [32, 64, 160, 384], [1, 2, 7, 12]),
    ((25, 88, 26.31, 2.25, 48), [96, 192, 432, 1008], [2, 6, 15, 2]),
    ((16, 48, 27.89, 2.09, 8), [48, 104, 208, 440], [1, 3, 6, 6]),
    ((17, 192, 76.82, 2.19, 56), [168, 448, 896, 2016], [2, 4, 10, 1]),
    ((20, 232, 115.89, 2.53, 232), [232, 696, 1392, 3712], [2, 5, 12, 1]),
]


@pytest.mark.parametrize(("numbers", "widths", "depths"), PUBLISHED)
def test_regnet_stages_are_the_published_ones(numbers: tuple[Any, ...], widths: list[int], depths: list[int]) -> None:
    stages = regnet_stages(*numbers, halves="even")
    assert ([s.width for s in stages], [s.depth for s in stages]) == (widths, depths)


def test_a_flat_slope_is_one_stage_and_groups_are_never_wider_than_it() -> None:
    assert regnet_stages(5, 16, 0, 2, 64) == [(16, 5, 16)]


def test_halves_go_up_or_to_the_even_multiple() -> None:
    assert [[s.width for s in regnet_stages(22, 24, 24.48, 2.54, 16, halves=halves)][-1] for halves in ("up", "even")] == [400, 384]


@pytest.mark.parametrize("bad", [{"w_m": 1.0}, {"w_a": -1}, {"depth": 0}, {"group_width": 0}])
def test_numbers_of_no_regnet_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="a RegNet needs a depth from 1 on"):
        probe({"regnet": {"depth": 4, "w_0": 8, "w_a": 8, "w_m": 2, "group_width": 4, **bad}}, ((3, 32, 32),), 5)


def test_regnet_block_by_formula() -> None:
    """1x1, 3x3 in groups of 4, SE of a quarter of the input's maps, 1x1, and a projection where the shape changes."""
    convs = 12 * 8 + 9 * 8 * 4 + 8 * 8 + 12 * 8
    se = 8 * 3 + 3 + 3 * 8 + 8
    found = probe({"regnet_block": {"out": 8, "stride": 2, "group_width": 4, "se": 0.25}}, ((12, 6, 6),), 5)
    assert (found.shapes, found.params) == (((8, 3, 3),), convs + se + 4 * 2 * 8)


def test_regnet_writes_out_its_stages() -> None:
    assert regnet(3, 8, 8, 2.0, 8, se=0.25, first_stride=1) == [
        {"stage": {"block": {"regnet_block": {"group_width": 8, "se": 0.25}}, "out": 8, "depth": 1, "stride": 1}},
        {"stage": {"block": {"regnet_block": {"group_width": 8, "se": 0.25}}, "out": 16, "depth": 1, "stride": 2}},
        {"stage": {"block": {"regnet_block": {"group_width": 8, "se": 0.25}}, "out": 32, "depth": 1, "stride": 2}},
    ]


# ---------------------------------------------------------------- random graphs


@pytest.mark.parametrize("seed", range(3))
def test_small_worlds_keep_their_number_of_links(seed: int) -> None:
    ring = {(v, v + 1) for v in range(9)} | {(0, 9)}
    assert small_world(10, 2, 0.0, random.Random(seed)) == ring
    links = small_world(32, 4, 0.75, random.Random(seed))
    assert len(links) == 64 and all(0 <= low < high < 32 for low, high in links)


def test_preferential_graphs_link_every_new_node_and_favour_the_linked() -> None:
    degrees = [0] * 40
    for seed in range(20):
        links = preferential(40, 3, random.Random(seed))
        assert len(links) == 37 * 3
        assert all(sum(high == v for _, high in links) == 3 for v in range(3, 40))
        for low, high in links:
            degrees[low] += 1
            degrees[high] += 1
    assert sum(degrees[:10]) > 2 * sum(degrees[30:])


def test_uniform_graphs_reach_from_nothing_to_everything() -> None:
    assert uniform(6, 0.0, random.Random(0)) == set()
    assert len(uniform(6, 1.0, random.Random(0))) == 15
    assert 150 < len(uniform(40, 0.25, random.Random(0))) < 240


@pytest.mark.parametrize("kind", ["ws", "ba", "er"])
def test_a_seed_is_one_connected_graph(kind: str) -> None:
    graphs = [random_graph(kind, 16, 4, 0.4, seed) for seed in (5, 5, 6)]
    assert graphs[0] == graphs[1] != graphs[2]
    assert all(connected(16, graph) for graph in graphs)
    assert not connected(3, {(0, 1)})


@pytest.mark.parametrize(
    ("args", "text"), [({"k": 3}, "even for ws"), ({"graph": "er", "p": 0.0}, "none of 100 er graphs"), ({"nodes": 1}, "2 to 500")]
)
def test_graphs_that_cannot_be_drawn_are_named(args: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        probe({"randwire": {"out": 4, "nodes": 8, **args}}, ((3, 8, 8),), 5)


def test_randwire_by_formula() -> None:
    """16 nodes, of which those without an input read 3 maps and the others 6; one weight for each link into a node of several."""
    (block,) = randwire(6, nodes=16, seed=2)
    links = random_graph("ws", 16, 4, 0.75, 2)
    into = [sum(high == v for _, high in links) for v in range(16)]
    first = into.count(0)
    found = probe(block, ((3, 8, 8),), 5)
    assert found.shapes == ((6, 4, 4),)
    assert found.params == first * (3 * 9 + 3 * 6) + (16 - first) * (6 * 9 + 6 * 6) + 16 * 12 + sum(n for n in into if n > 1)
    ends = 16 - len({low for low, _ in links})
    assert ends >= 1 and block["cell"]["output"] == "mean"
