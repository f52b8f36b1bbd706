"""Headers of spaces say which documented networks are their points; `locate` proves it, network by network."""

from __future__ import annotations

from typing import Any

import pytest

from nasforge import zoo
from nasforge.blocks import BLOCKS
from nasforge.networks.build import key
from nasforge.spaces.arch import Arch
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import replay
from nasforge.spaces.files import find_space, parse, read, space_names
from nasforge.spaces.locate import Misfit, locate
from nasforge.spaces.space import Space

POINTS = "# points:"


def points(name: str) -> list[str]:
    """The networks that the header of a space names; lines `# points: a, b`, or `# points: none` with the reason behind it."""
    lines = [line.removeprefix(POINTS) for line in find_space(name).read_text(encoding="utf-8").splitlines() if line.startswith(POINTS)]
    return [word.strip() for line in lines if not line.strip().startswith("none") for word in line.split(",")]


NAMED = [(space, network) for space in space_names() for network in points(space)]
QUICK = [pair for pair in NAMED if not pair[1].startswith("small_")] + [("vgg", "small_vgg11"), ("mnasnet", "small_mobilenet_v2")]


def check_point(name: str, network: str) -> None:
    data = read(find_space(name))
    check_arch(data, BLOCKS)
    space, arch = Space(data), zoo.load(network)
    choices = locate(arch, space, BLOCKS)
    again, made = space.draw(replay(choices))
    assert made == choices
    assert key(again) == key({**arch, "input": again["input"], "classes": again["classes"]})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "network"), QUICK)
def test_a_named_network_is_a_point_of_its_space(name: str, network: str) -> None:
    check_point(name, network)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "network"), [pair for pair in NAMED if pair not in QUICK])
def test_a_small_form_is_a_point_of_its_space(name: str, network: str) -> None:
    check_point(name, network)


@pytest.mark.parametrize("name", space_names())
def test_every_space_says_which_networks_it_has_and_its_size(name: str) -> None:
    header = find_space(name).read_text(encoding="utf-8").split("\ninput:")[0]
    size = Space(read(find_space(name))).size()
    assert POINTS in header
    assert size == float("inf") or f"{size:,.0f}" in header or any(f"{size:.{n}e}" in header for n in (1, 2))


# ---------------------------------------------------------------- forms of one network


def space_and_arch(space: str, arch: str) -> tuple[Space, Arch]:
    head = "input: [3, 32, 32]\nclasses: 10\n"
    return Space(parse(head + space)), parse(head + arch)


FORMS = {
    "a stage of depth 0": (
        "body: [stage: {block: {conv: {out: {choose: [8, 16]}}}, depth: {int: [0, 2]}}, relu]",
        "body: [relu]",
        {"body.0.stage.depth": 0},
    ),
    "one stage for two lines": (
        "body: [{choose: {a: {basic: {out: 8, stride: 2}}, b: relu}}, stage: {draw: each, depth: {int: [0, 3]}, block: {basic: {out: 8}}}]",
        "body: [stage: {block: {basic: {out: 8}}, depth: 3, stride: 2}]",
        {"body.0": "a", "body.1.stage.depth": 2},
    ),
    "the width in the stage": (
        "body: [stage: {block: {conv: {out: {choose: [8, 16]}}}, depth: {int: [1, 3]}}]",
        "body: [stage: {block: conv, out: 16, depth: 2}]",
        {"body.0.stage.block.conv.out": 16, "body.0.stage.depth": 2},
    ),
    "the width in the blocks": (
        "body: [stage: {block: {conv: {kernel: {choose: [3, 5]}}}, out: {choose: [8, 16]}, depth: {int: [1, 3]}}]",
        "body: [conv: {out: 16, kernel: 5}, conv: {out: 16, kernel: 5}]",
        {"body.0.stage.out": 16, "body.0.stage.depth": 2, "body.0.stage.block.conv.kernel": 5},
    ),
    "another name for a block whose width is the stage's": (
        "body: [stage: {block: {mbconv: {act: {choose: [relu, relu6]}}}, out: {choose: [8, 16]}, depth: {int: [1, 3]}}]",
        "body: [stage: {block: inverted_residual, out: 16, depth: 2}]",
        {"body.0.stage.block.mbconv.act": "relu6", "body.0.stage.out": 16},
    ),
    "a motif for its opened form": (
        "body: [parallel: {branches: [[conv: {out: {choose: [8, 16]}, kernel: 1}],"
        " [conv: {out: 8, kernel: 1}, conv: {out: {choose: [8, 12]}}],"
        " [conv: {out: 4, kernel: 1}, conv: {out: 8, kernel: {choose: [3, 5]}}],"
        " [pool: {kernel: 3, stride: 1}, conv: {out: 8, kernel: 1}]]}]",
        "body: [inception: {b1: 16, b3: [8, 12], b5: [4, 8], pool: 8}]",
        {"body.0.parallel.branches.0.0.conv.out": 16, "body.0.parallel.branches.2.1.conv.kernel": 5},
    ),
    "names that nothing reads": (
        "body: [conv: {out: {choose: [8, 16]}}]",
        "body: [{conv: {out: 16}, as: early}, null]",
        {"body.0.conv.out": 16},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_network_is_found_in_another_form(form: str) -> None:
    text, other, expected = FORMS[form]
    space, arch = space_and_arch(text, other)
    found: dict[str, Any] = locate(arch, space, BLOCKS)
    assert {k: found[k] for k in expected} == expected
    assert key(space.draw(replay(found))[0]) == key(arch)


def test_a_name_that_is_read_counts() -> None:
    space, arch = space_and_arch("body: [conv: {out: {choose: [8, 16]}}, relu]", "body: [{conv: {out: 16}, as: early}, relu]")
    read_by_aux = {**arch, "aux": {"early": [{"gap_head": {}}]}}
    assert locate(arch, space, BLOCKS)["body.0.conv.out"] == 16
    with pytest.raises(Misfit):
        locate(read_by_aux, space, BLOCKS)


def test_a_network_of_another_family_is_refused_soon_and_by_name() -> None:
    space = Space(read(find_space("families")))
    with pytest.raises(Misfit, match=r"body|stem"):
        locate(zoo.load("densenet121"), space, BLOCKS)
