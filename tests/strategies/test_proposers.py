"""What strategies of our own are made of: order, moves, survivors, policies, growth."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from support import CONDITIONAL

from nasforge.errors import UserError
from nasforge.objectives.objective import Limit, Objective
from nasforge.objectives.pareto import dominates
from nasforge.spaces.choosers import replay
from nasforge.spaces.domains import Domain
from nasforge.spaces.files import find_space, read
from nasforge.spaces.space import Space
from nasforge.strategies import nsga, progressive
from nasforge.strategies.base import History, Problem, Standing, Trial
from nasforge.strategies.evolution import alive, evolve
from nasforge.strategies.grid import enumerate_all
from nasforge.strategies.local import Tried, climb, moves, open_moves, others
from nasforge.strategies.moves import Catalog, newcomer
from nasforge.strategies.ranking import crowding, fronts, leading, ranked, ranks
from nasforge.strategies.reinforce import Policy, reinforce
from nasforge.strategies.slots import SLOTS, slot_of, slots, value_in
from nasforge.strategies.surrogate import Surrogate

ACCURACY, SMALL = Objective("accuracy", True), Objective("params", False)


def seen(number: int, choices: dict, *losses: float, kind: str = "finished", metrics: dict | None = None) -> Trial:
    return Trial(number, kind, choices, losses if kind == "finished" else None, metrics or {})


def history(space: Space, trials: list[Trial], objectives: tuple = (ACCURACY,), trials_asked: int = 20, limits: tuple = ()) -> History:
    return History(Problem(space, 0, trials_asked, objectives, limits), trials)


def drawn(space: Space, count: int, objectives: int = 1) -> list[Trial]:
    rng = Random(1)
    return [seen(i, newcomer(history(space, []), rng), *(rng.uniform(-1, 0) for _ in range(objectives))) for i in range(count)]


# ---------------------------------------------------------------- order


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_fronts_hold_what_only_earlier_ones_dominate(objectives: int) -> None:
    points = np.random.default_rng(0).integers(0, 8, (60, objectives)).astype(float)
    done: list[int] = []
    for front in fronts(points):
        rest = [i for i in range(60) if i not in done and i not in front]
        assert not any(dominates(points[i], points[j]) for i in (*front, *rest) for j in front)
        assert all(any((points[j] <= points[i]).all() for j in front) for i in rest)
        done += front
    assert sorted(done) == list(range(60))


def test_crowding_is_the_perimeter_of_the_box_between_neighbours() -> None:
    points = np.array([[0.0, 4.0], [1.0, 2.0], [4.0, 0.0]])
    assert crowding(points).tolist() == [math.inf, (4 - 0) / 4 + (4 - 0) / 4, math.inf]


def test_with_several_objectives_the_front_comes_first_and_its_ends_before_its_middle(space: Space) -> None:
    trials = [
        seen(0, {}, -0.5, 200.0),
        seen(1, {}, -0.9, 1000.0),
        seen(2, {}, -0.88, 990.0),
        seen(3, {}, -0.4, 100.0),
        seen(4, {}, -0.3, 300.0),
    ]
    order = [t.number for t in ranked(trials, (ACCURACY, SMALL))]
    assert set(order[:2]) == {1, 3} and set(order[2:4]) == {0, 2} and order[4] == 4


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_the_leaders_of_a_study_give_the_order_of_all_its_trials(space: Space, objectives: int) -> None:
    rng, problem = Random(objectives), Problem(space, 0, 9, (ACCURACY, SMALL, Objective("macs", False))[:objectives])
    known, trials = Standing(), []
    for number in rng.sample(range(400), 400):  # they end in any order
        trials.append(seen(number, {}, *(rng.randrange(12) / 12 for _ in range(objectives))))
        known.finish(trials[-1])
        known.leaders(4)
        if number % 40 == 0:
            whole = sorted(trials, key=lambda t: t.number)
            assert list(leading(History(problem, whole, known))) == list(ranks(whole, problem.objectives))
    assert len(known.leaders(4).trials) < 100


# ---------------------------------------------------------------- evolution, local search, enumeration


def test_the_oldest_die_however_good_they_are(space: Space) -> None:
    trials = drawn(space, 30)
    trials[0] = seen(0, dict(trials[0].choices), -2.0)
    assert {t.number for t in alive(history(space, trials), 10)} == set(range(20, 30))
    both = [seen(t.number, dict(t.choices), *(t.losses or ()), 5.0) for t in trials]
    assert 0 in {t.number for t in alive(history(space, both, (ACCURACY, SMALL)), 10)}


def test_a_child_differs_from_its_parent_in_one_choice_and_what_that_opens(space: Space) -> None:
    trials = drawn(space, 8)
    propose = evolve(Problem(space, 0, 32, (ACCURACY,)))
    for seed in range(20):
        child = propose(history(space, trials, trials_asked=32), Random(seed))
        assert space.draw(replay(child))[1] == child
        changes = [[n for n in t.choices if n in child and child[n] != t.choices[n]] for t in trials]
        assert min(map(len, changes)) == 1


def test_neighbours_are_all_other_values_and_near_ones_of_wide_ranges(space: Space) -> None:
    centre = space.draw(replay({"body.0.conv.out": 32, "body.0.conv.kernel": 3, "body.1": "mb", "recipe.lr": 1e-3}, progressive.first))[1]
    found = list(moves(space, centre))
    assert [v for n, v in found if n == "body.0.conv.out"] == [16, 28, 36, 48]
    assert [v for n, v in found if n == "body.1"] == ["none", "stage"]
    rates = [v for n, v in found if n == "recipe.lr"]
    assert len(rates) == 4 and all(1e-4 <= v <= 1e-1 for v in rates) and rates == sorted(rates)
    assert others(Domain("x", "int", (), 2, 4), 3) == [2, 4]


def test_a_move_counts_as_tried_whatever_opened_with_it(space: Space) -> None:
    small = {"body.0.conv.out": 4, "body.0.conv.kernel": 1, "body.1": "none", "recipe.lr": 1e-3}
    staged = space.draw(replay({**small, "body.1": "stage"}, progressive.first))[1]
    trials = [seen(0, small, 0.0), seen(1, staged, 0.0, kind="failed")]
    left = open_moves(space, small, Tried(trials[0]).by(history(space, trials)))
    assert ("body.1", "stage") not in left and ("body.1", "mb") in left


def test_local_search_asks_for_every_neighbour_once_and_then_for_others() -> None:
    space = Space(read(find_space("cell")))
    problem = Problem(space, 0, 10, (ACCURACY,))
    propose, rng = climb(problem), Random(0)
    trials = [seen(i, t, 0.0) for i, t in enumerate(newcomer(history(space, []), rng) for _ in range(2))]
    trials[0] = seen(0, dict(trials[0].choices), -1.0)
    for number in range(2, 27):
        trials.append(seen(number, propose(History(problem, trials), rng), 0.0))
    distances = [sum(t.choices[n] != v for n, v in trials[0].choices.items()) for t in trials[2:]]
    assert distances[:-1] == [1] * 24 and distances[-1] > 1  # 6 edges, 4 other operations each


def test_enumeration_gives_everything_once_and_refuses_what_has_no_end(space: Space) -> None:
    with pytest.raises(UserError, match=r"recipe\.lr is a float"):
        enumerate_all(Problem(space, 0, 5, (ACCURACY,)))
    with pytest.raises(UserError, match="at most 200,000"):
        enumerate_all(Problem(Space(read(find_space("mobile"))), 0, 5, (ACCURACY,)))
    finite = Space({k: v for k, v in CONDITIONAL.items() if k != "recipe"})
    propose = enumerate_all(Problem(finite, 0, 5, (ACCURACY,)))
    trials: list[Trial] = []
    for number in range(int(finite.size())):
        trials.append(seen(number, propose(history(finite, trials), Random(0)), 0.0))
    assert len({tuple(sorted(t.choices.items())) for t in trials}) == finite.size() == 16 * 3 * (1 + 2 + 2 + 4)


def test_where_nothing_fits_the_nearest_are_changed(space: Space) -> None:
    limit = Limit("params", True, 100.0)
    near, far = {"body.0.conv.out": 4, "body.0.conv.kernel": 1, "body.1": "none", "recipe.lr": 1e-3}, drawn(space, 40)
    trials = [seen(i, dict(t.choices), kind="infeasible", metrics={"params": 10_000.0 + i}) for i, t in enumerate(far)]
    trials += [seen(40 + i, {**near, "recipe.lr": 1e-3 + i / 1e6}, kind="infeasible", metrics={"params": 101.0}) for i in range(5)]
    asked = [newcomer(history(space, trials, limits=(limit,)), Random(seed)) for seed in range(60)]
    close = sum(sum(a.get(n) != v for n, v in near.items() if n != "recipe.lr") <= 1 for a in asked)
    assert 20 <= close <= 45  # every other one; a random draw is as close once in 30


# ---------------------------------------------------------------- NSGA-III, reinforcement, growth


def test_reference_directions_are_those_of_das_and_dennis() -> None:
    assert nsga.reference_directions(3, 15).shape == (15, 3)  # 4 divisions
    assert nsga.reference_directions(2, 5).tolist() == [[0, 1], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [1, 0]]
    assert nsga.reference_directions(1, 50).tolist() == [[1]]
    assert np.allclose(nsga.reference_directions(3, 40).sum(axis=1), 1)


def test_of_a_front_too_long_one_survives_in_each_direction() -> None:
    crowd = [[0.0, 1.0], [0.01, 0.99], [0.02, 0.98], [0.03, 0.97], [0.5, 0.5], [1.0, 0.0]]
    assert set(nsga.fill(np.array(crowd), 0, 3, nsga.reference_directions(2, 3))) == {0, 4, 5}


def test_a_policy_learns_what_did_better_and_only_where_it_was_asked(space: Space) -> None:
    policy, rng = Policy(space), Random(0)
    for number in range(200):
        choices = policy.draw(rng, 1.0)
        policy.learn(seen(number, choices, float(choices["body.0.conv.kernel"] != 5) + (choices["body.1"] == "none")), True)
    late = [policy.draw(rng, 1.0) for _ in range(100)]
    assert sum(c["body.0.conv.kernel"] == 5 for c in late) > 70 and sum(c["body.1"] == "none" for c in late) < 20


def test_a_policy_is_rebuilt_from_the_trials_whatever_ended_first(space: Space) -> None:
    problem = Problem(space, 0, 30, (ACCURACY,))
    done = drawn(space, 12)
    waiting = [*done[:4], seen(4, dict(done[4].choices), kind="running"), *done[5:]]
    propose = reinforce(problem)
    propose(History(problem, waiting), Random(1))
    assert propose(History(problem, done), Random(2)) == reinforce(problem)(History(problem, done), Random(2))


def test_slots_hold_their_values() -> None:
    rng = Random(0)
    for domain in (
        Domain("a", "choose", (True, 0, "x")), Domain("b", "int", (), 2, 8, 2), Domain("c", "int", (), 1, 1000, log=True),
        Domain("d", "float", (), 1e-4, 1e-1, log=True), Domain("e", "float", (), -1, 1), Domain("f", "int", (), 8, 512, 8),
    ):  # fmt: skip
        assert slots(domain) in (domain.size(), SLOTS)
        for slot in range(slots(domain)):
            value = value_in(domain, slot, rng)
            assert domain.valid(value) and abs(slot_of(domain, value) - slot) <= (domain.kind == "int" and slots(domain) == SLOTS)


def test_the_surrogate_finds_additive_effects_and_knows_nothing_of_unseen_values() -> None:
    space = Space(read(find_space("cell")))
    trials = drawn(space, 80)
    targets = np.array([[sum(v == "nor_conv_3x3" for v in t.choices.values()), 1.0] for t in trials])
    model = Surrogate(Catalog(space), [t.choices for t in trials], targets)
    convs, none = ({o.name: op for o in space.domains()} for op in ("nor_conv_3x3", "none"))
    predicted = model.predict([convs, none])
    assert predicted[0, 0] > 5 and predicted[1, 0] < 1 and np.allclose(predicted[:, 1], 1)
    unseen = Surrogate(Catalog(space), [none, none], np.array([[1.0], [3.0]])).predict([convs])
    assert unseen[0, 0] == pytest.approx(2.0)


def test_the_smallest_network_has_the_fewest_parameters_of_all() -> None:
    assert set(progressive.smallest_choices(Space(read(find_space("macro")))).values()) == {"none"}
    mixed = Space(CONDITIONAL)
    smallest = progressive.smallest_choices(mixed)
    assert smallest == {"body.0.conv.out": 4, "body.0.conv.kernel": 1, "body.1": "none", "recipe.lr": 1e-4}


def test_progressive_search_grows_level_by_level() -> None:
    space = Space(read(find_space("macro")))
    problem = Problem(space, 0, 50, (ACCURACY, SMALL))
    propose, growth, rng = progressive.progress(problem), progressive.Growth(space), Random(0)
    trials: list[Trial] = []
    for number in range(20):
        choices = propose(History(problem, trials), rng)
        trials.append(seen(number, choices, -float(growth.complexity(choices)), 1.0 + growth.complexity(choices)))
    complexity = [growth.complexity(t.choices) for t in trials]
    assert [growth.level_of(t.choices) for t in trials[:15]] == [level for level in range(1, 6) for _ in range(3)]  # 50 / 20 each
    assert max(complexity[:3]) <= 2 and min(complexity[12:15]) >= 7
    assert len({tuple(t.choices.values()) for t in trials}) == 20
