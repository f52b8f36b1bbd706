"""Searchers of Ray Tune as strategies, and the forms of a space that they take."""

from __future__ import annotations

import importlib.util
from random import Random
from typing import Any

import pytest

from nasforge.errors import UserError
from nasforge.objectives.objective import parse_limit, parse_objectives
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import find_space, parse, read, space_names
from nasforge.spaces.flat import FlatSpace
from nasforge.spaces.space import Space
from nasforge.strategies.base import History, Problem, Trial, TrialKind
from nasforge.strategies.registry import OF_TUNE, check_strategy

PACKAGES = {"hyperopt": "hyperopt", "bohb": "hpbandster", "ax": "ax", "nevergrad": "nevergrad", "bayesopt": "bayes_opt", "zoopt": "zoopt"}
LIGHT = ("hyperopt", "bohb", "optuna", "zoopt")
SPACE = """
input: [1, 8, 8]
classes: 10
let: {width: {choose: [8, 16]}}
body:
  - stage:
      depth: {int: [1, 3]}
      draw: each
      block: {choose: {plain: {conv: {out: $width}}, wide: {conv: {out: $width*2, kernel: {choose: [1, 3, 5]}}}}}
  - choose: {none: [], more: [{conv: {out: {int: [8, 32], step: 8}}}]}
head: [gap_head]
recipe: {lr: {float: [.001, .1], log: true}}
"""


def installed(name: str) -> bool:
    return importlib.util.find_spec("ray") is not None and importlib.util.find_spec(PACKAGES.get(name, name)) is not None


@pytest.mark.parametrize("name", space_names())
def test_a_flat_space_knows_when_each_domain_is_asked(name: str) -> None:
    space = Space(read(find_space(name)))
    flat = FlatSpace(space)
    for seed in range(20):
        _, choices = space.draw(random_chooser(Random(seed)))
        assert flat.choices(flat.places(choices)) == choices
        asked = {n for n, p in flat.parameters.items() if any(all(k in choices and choices[k] in v for k, v in t) for t in p.when)}
        assert asked == set(choices)


def test_repeats_are_there_up_to_the_largest_depth() -> None:
    flat = FlatSpace(Space(parse(SPACE)))
    blocks = [name for name in flat.parameters if name.endswith((".0", ".1", ".2")) and "block" in name]
    assert len(blocks) == 3 and len(flat.parameters) == 1 + 1 + 3 + 3 + 1 + 1 + 1
    assert flat.parameters["body.0.stage.depth"].always and not flat.parameters["body.0.stage.block.2"].always
    rate = flat.parameters["recipe.lr"]
    assert rate.value(rate.place(0.01)) == pytest.approx(0.01) and rate.value(-99) == 0.001
    assert [flat.parameters["body.1.more.0.conv.out"].value(place) for place in (0, 3, 99)] == [8, 32, 32]


def test_a_depth_without_end_is_refused() -> None:
    endless = SPACE.replace("{int: [1, 3]}", "{int: [1, 5000]}")
    with pytest.raises(UserError, match=r"stage.depth"):
        FlatSpace(Space(parse(endless)))


def runs(name: str, space: Space, trials: int) -> tuple[Problem, list[Trial], Any]:
    """A search of an easy function: few choices of the first option are good."""
    pytest.importorskip("ray.tune")
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    from nasforge.strategies.tune import driven

    problem = Problem(space, 0, trials, tuple(parse_objectives("-params")), (parse_limit("params<=1e9"),))
    propose, flat = driven(name, problem), FlatSpace(space)
    history: list[Trial] = []
    for number in range(trials):
        choices = propose(History(problem, tuple(history)), Random(number))
        places = flat.places(choices)
        loss = sum(float(place) for short, place in places.items() if flat.by_name[short].count) / len(places)
        history.append(Trial(number, TrialKind.FINISHED, choices, (loss,)))
    return problem, history, propose


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in LIGHT else pytest.mark.slow) for n in OF_TUNE])
def test_what_a_searcher_proposes_follows_from_the_history_alone(name: str) -> None:
    space = Space(parse(SPACE))
    problem, history, propose = runs(name, space, 8)
    for before in (0, 3, 8):
        seen = History(problem, tuple(history[:before]))
        one, two = propose(seen, Random(before)), propose(seen, Random(before))
        assert one == two
        assert space.draw(random_chooser(Random(0)))[1].keys() != one.keys() or all(
            domain.valid(one[domain.name]) for domain in space.domains() if domain.name in one
        )


@pytest.mark.parametrize("name", ["hyperopt", "bohb"])
def test_a_searcher_learns_where_it_is_good(name: str) -> None:
    _, history, _ = runs(name, Space(read(find_space("cell"))), 45)
    losses = [trial.losses[0] for trial in history if trial.losses]
    assert sum(losses[30:]) / 15 < sum(losses[:15]) / 15


def test_points_without_a_value_are_the_worst_and_points_of_two_objectives_have_one() -> None:
    pytest.importorskip("ray.tune")
    from nasforge.strategies.tune import _values

    assert _values([(1.0,), None, (3.0,)]) == [1.0, 5.0, 3.0]
    one, two, three = _values([(1.0, 1.0), (2.0, 2.0), (0.5, 3.0)])
    assert one < two and three < two
    assert _values([None]) == [1.0]


def test_each_name_has_its_searcher() -> None:
    pytest.importorskip("ray.tune")
    from nasforge.strategies.tune import SEARCHERS

    assert tuple(SEARCHERS) == OF_TUNE


def test_names_are_checked_and_the_nearest_are_told() -> None:
    check_strategy("tune:hyperopt")
    with pytest.raises(UserError, match=r"no such strategy; .*tune:hyperopt"):
        check_strategy("tune:hyperop")


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.tune")
    import nasforge.strategies.tune as tune

    def missing(*given: Any) -> Any:
        raise ImportError("No module named 'hyperopt'")

    broken = tune.Driven(missing, "hyperopt")
    monkeypatch.setitem(tune.SEARCHERS, "hyperopt", broken)
    problem = Problem(Space(parse(SPACE)), 0, 5, tuple(parse_objectives("-params")))
    with pytest.raises(UserError, match=r"--strategy tune:hyperopt: needs .*No module named.*pip install 'nasforge\[tune\]' hyperopt"):
        tune.driven("hyperopt", problem)
