"""Spaces: what is drawn, what it is called, how many there are; choosers that draw; locate that finds back."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasforge.blocks import BLOCKS
from nasforge.errors import UserError
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import crossover, enumerate_space, mutate, random_chooser, replay
from nasforge.spaces.files import parse
from nasforge.spaces.locate import Misfit, locate
from nasforge.spaces.space import Space

SMALL = """
let: {w: {choose: [8, 16]}}
input: [1, 8, 8]
classes: 10
stem:
  - conv: {out: $w}
body:
  - stage:
      draw: each
      depth: {int: [1, 2]}
      block:
        choose:
          - residual: {body: [conv: {out: $w*2, kernel: {choose: [3, 5]}}, conv: {act: none}], act: relu}
          - conv: {out: 32}
          - []
  - {choose: [relu, {pool: {kernel: 2}}, []]}
  - stage: {block: {conv: {out: {choose: [8, 16]}}}, depth: {int: [0, 2]}, stride: 2}
head:
  - gap_head: {dropout: {choose: [0, 0.2]}}
"""


@pytest.fixture(scope="module")
def small() -> Space:
    return Space(parse(SMALL))


def test_size_equals_enumeration_and_a_hand_count(small: Space) -> None:
    # w: 2; stage: 4 draws of the block (residual with 2 kernels, conv, none) to the power of 1 or 2 repeats; 3; conv 2 x depths 3; 2
    assert small.size() == 2 * (4 + 4**2) * 3 * (2 * 3) * 2
    assert small.size() == sum(1 for _ in enumerate_space(small))


def test_enumeration_gives_different_choices(small: Space) -> None:
    seen = Counter(tuple(sorted(c.items(), key=str)) for _, c in enumerate_space(small))
    assert max(seen.values()) == 1


def test_size_of_a_let_counts_once_and_only_where_used() -> None:
    shared = Space(parse("let: {w: {choose: [1, 2, 3]}}\ninput: [1, 8, 8]\nbody: [conv: {out: $w}, conv: {out: $w}]"))
    assert shared.size() == 3
    some = Space(parse("let: {w: {choose: [1, 2, 3]}}\ninput: [1, 8, 8]\nbody: [{choose: [{conv: {out: $w}}, relu]}]"))
    assert some.size() == 4 == sum(1 for _ in enumerate_space(some))


NESTED = [
    ("body: [conv: {out: {choose: [{int: [1, 4]}, 8]}}]", 5),
    ("body: [stage: {draw: each, depth: {choose: {few: 1, many: 2}}, block: {conv: {out: {choose: [1, 2]}}}}]", 6),
    ("body: [stage: {draw: each, depth: {choose: [{int: [1, 2]}, 3]}, block: {conv: {out: {choose: [1, 2]}}}}]", 14),
]


@pytest.mark.parametrize(("body", "size"), NESTED)
def test_openings_inside_options(body: str, size: int) -> None:
    space = Space(parse(f"input: [1, 8, 8]\n{body}"))
    drawn = list(enumerate_space(space))
    assert space.size() == size == len(drawn)
    for arch, choices in drawn:
        assert space.draw(replay(choices))[0] == arch


def test_a_float_is_infinite_and_cannot_be_enumerated() -> None:
    space = Space(parse("input: [1, 8, 8]\nbody: [dropout: {p: {float: [0.1, 0.5]}}]"))
    assert space.size() == math.inf
    with pytest.raises(UserError, match=r"body\.0\.dropout\.p: a float"):
        list(enumerate_space(space))


def test_names_are_paths_in_the_file(small: Space) -> None:
    names = {o.name for o in small.domains()}
    assert {"let.w", "body.0.stage.depth", "body.0.stage.block.0", "body.0.stage.block.0.residual.body.0.conv.kernel"} <= names
    assert {"body.1", "body.2.stage.block.conv.out", "body.2.stage.depth", "head.0.gap_head.dropout"} <= names


def test_one_draw_for_all_repeats_unless_each() -> None:
    text = "input: [1, 8, 8]\nbody: [stage: {{depth: 6, block: {{conv: {{out: {{choose: [8, 16]}}}}}}{each}}}]"
    once, _ = Space(parse(text.format(each=""))).draw(random_chooser(random.Random(0)))
    each, choices = Space(parse(text.format(each=", draw: each"))).draw(random_chooser(random.Random(0)))
    assert isinstance(once["body"][0]["stage"]["block"]["conv"]["out"], int)
    assert len({b["conv"]["out"] for b in each["body"][0]["stage"]["blocks"]}) == 2 and len(choices) == 6


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_replay_gives_the_same_architecture(small: Space, seed: int) -> None:
    arch, choices = small.draw(random_chooser(random.Random(seed)))
    again, same = small.draw(replay(choices))
    assert again == arch and same == choices


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_locate_is_the_inverse_of_drawing(small: Space, seed: int) -> None:
    arch, _ = small.draw(random_chooser(random.Random(seed)))
    back, _ = small.draw(replay(locate(arch, small, BLOCKS)))
    assert key(back) == key(arch)


def test_replay_names_what_is_missing_or_wrong(small: Space) -> None:
    _, choices = small.draw(random_chooser(random.Random(1)))
    with pytest.raises(UserError, match=r"let\.w: the recorded choices lack"):
        small.draw(replay({k: v for k, v in choices.items() if k != "let.w"}))
    with pytest.raises(UserError, match=r"let\.w: must be one of 8, 16, got 9"):
        small.draw(replay({**choices, "let.w": 9}))


def test_mutation_changes_what_it_forgets_and_keeps_the_rest(small: Space) -> None:
    rng = random.Random(0)
    for _ in range(50):
        _, old = small.draw(random_chooser(rng))
        _, new = small.draw(mutate(old, rng, 1))
        changed = [k for k in old if k in new and old[k] != new[k]]
        assert len(changed) == 1


def test_crossover_takes_from_both_parents() -> None:
    space = Space(parse("input: [1, 8, 8]\nbody: [" + ", ".join(["conv: {out: {choose: [1, 2]}}"] * 20) + "]"))
    _, ones = space.draw(lambda o: 1)
    _, twos = space.draw(lambda o: 2)
    _, child = space.draw(crossover(ones, twos, random.Random(0)))
    assert set(child.values()) == {1, 2}


def test_random_draws_are_even() -> None:
    space = Space(parse("input: [1, 8, 8]\nbody: [conv: {out: {int: [1, 4]}}]"))
    rng = random.Random(0)
    seen = Counter(space.draw(random_chooser(rng))[1]["body.0.conv.out"] for _ in range(4000))
    assert set(seen) == {1, 2, 3, 4} and all(abs(n - 1000) < 150 for n in seen.values())  # 150 is over 5 standard deviations


def test_log_and_steps() -> None:
    space = Space(parse("input: [1, 8, 8]\nbody: [conv: {out: {int: [8, 30], step: 8}}, dropout: {p: {float: [1e-4, 1e-1], log: true}}]"))
    rng = random.Random(0)
    draws = [space.draw(random_chooser(rng))[1] for _ in range(600)]
    assert {d["body.0.conv.out"] for d in draws} == {8, 16, 24}
    below = sum(d["body.1.dropout.p"] < 10**-2.5 for d in draws) / len(draws)
    assert 0.4 < below < 0.6  # the middle of the logarithms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input: [1, 8, 8]\nbody: [conv: {out: {choose: []}}]", "body.0.conv.out: choose takes"),
        ("input: [1, 8, 8]\nbody: [conv: {out: {int: [4, 1]}}]", "body.0.conv.out: int takes"),
        ("input: [1, 8, 8]\nbody: [conv: {out: {int: [1, 4], stepp: 2}}]", "remove .*stepp"),
        ("input: [1, 8, 8]\nbody: [conv: {out: {float: [0, 1], log: true}}]", "log needs low > 0"),
        ("input: [1, 8, 8]\nbody: [conv: {out: {choose: [8, 8]}}]", "must differ"),
        ("input: [1, 8, 8]\nbody: [conv: {out: $width}]", r"\$width is not under `let`"),
    ],
)
def test_malformed_openings_name_path_and_rule(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Space(parse(text)).draw(random_chooser(random.Random(0)))


def test_locate_reads_other_forms_of_the_same_network(small: Space) -> None:
    arch = parse("""
input: [3, 32, 32]
classes: 100
body:
  - conv: {out: 8}
  - residual: {body: [conv: {out: 16, kernel: 5}, conv: {act: none}], act: relu}
  - pool: {kernel: 2}
  - conv: {out: 8, stride: 2}
  - conv: {out: 8}
head: [pool: {kind: avg}, linear: {}]
""")
    choices = locate(arch, small, BLOCKS)
    assert choices["let.w"] == 8 and choices["body.2.stage.depth"] == 2 and choices["body.1"] == "pool"


def test_locate_names_the_first_path_that_does_not_fit(small: Space) -> None:
    arch, _ = small.draw(random_chooser(random.Random(3)))
    arch = {**arch, "stem": [{"conv": {"out": 9}}]}
    with pytest.raises(Misfit, match=r"let\.w: must be one of 8, 16, the architecture has 9"):
        locate(arch, small, BLOCKS)


NESTED = "input: [1, 8, 8]\nclasses: 10\nbody: [%s]\nhead: [gap_head]"
STAGE = "{stage: {%s, block: {stage: {%s, block: {stage: {%s, block: {conv: {out: {choose: [4, 8]}}}}}}}}}"


def test_stages_in_stages_are_bounded() -> None:
    each = Space(parse(NESTED % STAGE.replace("%s", "draw: each, depth: {int: [1000, 1001]}")))
    assert math.isinf(each.size())
    with pytest.raises(UserError, match="at most 10,000 repeats"):
        each.draw(random_chooser(random.Random(0)))
    arch, _ = Space(parse(NESTED % STAGE.replace("%s", "depth: 1000"))).draw(random_chooser(random.Random(0)))
    with pytest.raises(UserError, match=r"body\.0: a network must have at most 100,000 blocks, got 1,000,000,000"):
        count(arch)
    with pytest.raises(UserError, match="at most 100,000 blocks"):
        key(arch)


def test_the_size_of_stages_of_many_depths_is_exact() -> None:
    space = Space(parse(NESTED % "{stage: {draw: each, depth: {int: [1, 3]}, block: {conv: {out: {choose: [4, 8]}}}}}"))
    assert space.size() == 2 + 4 + 8


def test_choose_has_a_bound() -> None:
    with pytest.raises(UserError, match="choose takes at most 10,000 options, got 10,001; write int or float"):
        Space({"input": [1, 8, 8], "body": [{"conv": {"out": {"choose": list(range(10_001))}}}]})


@pytest.mark.parametrize(
    "node", [{"lstm": {"hidden": 4, "layers": 10**9}}, {"sk": {"branches": 10**9}}, {"spatial_pyramid": {"levels": [1, 10**9]}}]
)
def test_repeats_within_a_block_are_bounded(node: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="must be at most 2,000, got"):
        check_arch({"input": [1, 8, 8], "classes": 10, "body": [node]}, BLOCKS)
