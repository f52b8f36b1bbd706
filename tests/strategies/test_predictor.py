"""The default strategy: features of the live graph, models, what trials teach, and proposals that follow from the history alone."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np
import pytest
from support import shared_data

from nasforge.evaluation.tables import OURS, Table, read_table
from nasforge.networks.build import opened
from nasforge.networks.cost import count
from nasforge.objectives.objective import Limit, Objective, losses, parse_objectives, scaled
from nasforge.objectives.pareto import front, hypervolume
from nasforge.search.screening import arch_key
from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.files import find_space, read
from nasforge.spaces.space import Space
from nasforge.strategies.base import History, Problem, Trial
from nasforge.strategies.predictor.acquire import improvement, scalar, scalar_improvement
from nasforge.strategies.predictor.cases import Cases
from nasforge.strategies.predictor.encoder import Encoder
from nasforge.strategies.predictor.evidence import DOUBT, evidence, targets
from nasforge.strategies.predictor.features import part
from nasforge.strategies.predictor.graph import SKIP, graph_of
from nasforge.strategies.predictor.learner import beginning, chosen, stage
from nasforge.strategies.predictor.models import (
    DOUBT_OF_SLOPE,
    SLOPE,
    Belief,
    Process,
    Ridge,
    Trees,
    Weights,
    distances,
    fit_weights,
    matern,
)
from nasforge.strategies.predictor.propose import STARTS, Predictor, predict
from nasforge.strategies.predictor.scores import Usual

ACCURACY, SMALL = Objective("accuracy", True), Objective("params", False)


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table(OURS)


def draws(space: Space, number: int, seed: int = 1) -> list[dict[str, Any]]:
    rng = Random(seed)
    return [space.draw(random_chooser(rng))[1] for _ in range(number)]


def judged(number: int, choices: Mapping[str, Any], problem: Problem, kind: str = "finished", **metrics: float) -> Trial:
    cost = count(problem.space.draw(replay(choices))[0])
    known = {"params": float(cost.params), "macs": float(cost.macs), **metrics}
    return Trial(number, kind, choices, losses(known, problem.objectives) if kind == "finished" else None, known)


def score(choices: Mapping[str, Any]) -> float:
    """An accuracy that grows with the width and is best with a kernel of 3 and a rate of 0.01."""
    width, kernel = choices["body.0.conv.out"], choices["body.0.conv.kernel"]
    return 0.9 - 0.2 * (1 - width / 64) - 0.1 * (kernel != 3) - 0.05 * abs(math.log10(choices["recipe.lr"]) + 2)


# ---------------------------------------------------------------- the graph and its features

CONV = {"conv": {"kernel": 1}}


def test_the_graph_of_a_cell_has_its_paths() -> None:
    cell = {"cell": {"graph": [[[[0, [CONV]]], [[0, []], [1, [CONV, {"pool": {}}]]]], [2]]}}
    assert graph_of([cell]).labels == ["conv kernel=1", SKIP, "conv kernel=1", "pool"]
    sums = part(cell).sums
    assert {k: v for k, v in sums.items() if k.startswith("path/")} == {"path/skip": 1, "path/conv kernel=1>conv kernel=1>pool": 1}
    assert {k: v for k, v in sums.items() if k.startswith("real/")} == {"real/": 1, "real/conv kernel=1>conv kernel=1>pool": 1}
    assert (sums["op/longest"], sums["op/shortest"], sums["op/length"], sums["op/paths"]) == (3, 0, 1.5, 2)
    assert sums["near/conv kernel=1<conv kernel=1>pool"] == 1 and sums["near/skip<in>out"] == 1


def test_branches_shortcuts_and_dense_layers_are_edges() -> None:
    branches = {"parallel": {"branches": [[CONV], [], [CONV, CONV]], "join": "add"}}
    assert graph_of([branches]).ends == [0, 1, 3]
    residual = {"residual": {"body": [CONV, CONV], "shortcut": [{"pool": {}}]}}
    assert sorted(k for k in part(residual).sums if k.startswith("path/")) == ["path/conv kernel=1>conv kernel=1", "path/pool"]
    assert graph_of([{"residual": {"body": [CONV], "shortcut": "none"}}]).ends == [0]
    assert graph_of([{"dense": {"layers": [[CONV], [CONV]]}}]).reads == [(-1,), (0,)]


def test_the_graph_of_a_recurrent_cell_has_the_step_before_in_it() -> None:
    """A gate reads all its inputs at once; what the step before left comes in as an operation, and what it leaves goes out."""
    nodes = {
        "sum": {"op": "linear", "from": ["x", "h_prev_0", "h_prev_1"]},
        "h_new_1": {"op": "tanh", "from": ["sum"]},
        "h_new_0": {"op": "mul", "from": ["h_new_1", "h_prev_1"]},
    }
    (block,) = opened({"recurrent_cell": {"nodes": nodes, "hidden": 8}})
    assert graph_of([block]).labels == ["h_prev_0", "h_prev_1", "linear", "tanh", "mul"]
    sums = part(block).sums
    assert sums["path/linear>tanh>mul"] == sums["path/h_prev_0>linear>tanh>mul"] == sums["path/h_prev_1>mul"] == 1
    assert not any(word.startswith(("op/n0", "op/h_new_")) for word in sums)  # names of gates tell nothing
    assert sums["near/linear<h_prev_0|h_prev_1|in>tanh"] == 1 and sums["near/tanh<linear>mul|out"] == 1
    renamed = {"h_new_7": nodes["h_new_1"], "a": {"op": "linear", "from": ["h_prev_7", "x", "h_prev_0"]}}
    renamed |= {"h_new_0": {"op": "mul", "from": ["h_prev_7", "h_new_7"]}, "h_new_7": {"op": "tanh", "from": ["a"]}}
    assert part(opened({"recurrent_cell": {"nodes": renamed, "hidden": 8}})[0]) == part(block)


def test_paths_without_number_are_left_out() -> None:
    nodes: list[Any] = [[[s, [CONV]] for s in range(n)] for n in range(1, 12)]  # every node reads all before it: 2^10 paths
    sums = part({"cell": {"graph": [nodes, [11]]}}).sums
    assert not any(k.startswith("path/") for k in sums) and any(k.startswith("near/") for k in sums)


@pytest.mark.parametrize("name", ["cell", "digits", "mixed", "mobile", "sequence", "transformer", "unet"])
def test_rows_have_one_name_where_networks_have_one_key(name: str) -> None:
    space = Space(read(find_space(name)))
    encoder = Encoder(space)
    pairs = set()
    for choices in draws(space, 60):
        row = encoder.row(choices)
        assert row is not None and len(row.places) == len(set(row.places.tolist()))
        pairs.add((row.name, arch_key(space.draw(replay(choices))[0])))
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)


def test_dead_operations_leave_the_graph_features_as_they_are() -> None:
    space = Space(read(find_space("cell")))
    encoder = Encoder(space)
    live = dict.fromkeys(("let.op02", "let.op12", "let.op13", "let.op23"), "none") | {"let.op03": "nor_conv_3x3", "let.op01": "none"}
    rows = [encoder.row({**live, "let.op01": op}) for op in ("none", "nor_conv_1x1")]
    assert rows[0] is not None and rows[1] is not None and rows[0].name == rows[1].name
    graph = [{encoder.words[p]: n for p, n in zip(r.places, r.numbers) if not encoder.words[p].startswith("choice/")} for r in rows if r]
    assert graph[0] == graph[1]


def test_columns_do_not_depend_on_what_was_encoded_before(space: Space) -> None:
    choices = draws(space, 30)
    forth, back = Encoder(space), Encoder(space)
    back.sample(50, "other")
    rows = [[e.row(c) for c in order] for e, order in ((forth, choices), (back, choices[::-1]))]
    columns = [e.columns([r for r in some if r]) for e, some in zip((forth, back), rows)]
    assert [forth.words[p] for p in columns[0].places] == [back.words[p] for p in columns[1].places]
    same = [forth.dense([r for r in rows[0] if r], columns[0].places), back.dense([r for r in rows[1][::-1] if r], columns[1].places)]
    assert (same[0] == same[1]).all()
    groups = columns[0].scaled(same[0])
    assert [d.mean() for d in distances(groups, groups)] == pytest.approx([1.0] * len(groups))


# ---------------------------------------------------------------- models


def test_a_process_is_the_textbook_formula() -> None:
    rng = np.random.default_rng(0)
    a, b, y = rng.normal(size=(12, 3)), rng.normal(size=(5, 3)), rng.normal(size=12)
    weights = Weights(np.array([-0.5, 0.3]), -2.0)
    split = [[x[:, :1], x[:, 1:]] for x in (a, b)]
    for hints, hint in ((np.zeros((12, 1)), np.zeros((5, 1))), (rng.normal(size=(12, 2)), rng.normal(size=(5, 2)))):
        belief = Process(split[0], y, hints, weights).believe(split[1], hint)
        within = matern(distances(split[0], split[0]), weights) + DOUBT_OF_SLOPE**2 * hints @ hints.T + (math.exp(-2) + 1e-6) * np.eye(12)
        across = matern(distances(split[0], split[1]), weights) + DOUBT_OF_SLOPE**2 * hints @ hint.T
        told = y - SLOPE * hints.mean(axis=1)
        mean = told.mean() + SLOPE * hint.mean(axis=1) + across.T @ np.linalg.solve(within, told - told.mean())
        left = 1 + DOUBT_OF_SLOPE**2 * (hint**2).sum(axis=1) - np.diag(across.T @ np.linalg.solve(within, across))
        scale = (told - told.mean()) @ np.linalg.solve(within, told - told.mean()) / 12
        assert np.allclose(belief.mean, mean) and np.allclose(belief.spread, np.sqrt(left * scale))


def test_the_weights_tell_a_group_that_matters_from_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=(60, 2)) / 2, rng.normal(size=(60, 2)) / 2]
    weights = fit_weights(groups, np.sin(3 * groups[0][:, 0]) + groups[0][:, 1], np.zeros((60, 1)))
    assert weights.groups[0] > weights.groups[1] + 2


def test_trees_and_lines_find_what_they_can() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (200, 6)).astype(float)
    y = (x[:, 0] == 1) * 2.0 + x[:, 1] * x[:, 2]
    trees = Trees(x[:150], y[:150], np.zeros((150, 1)), 0).believe(x[150:], np.zeros((50, 1)))
    assert np.corrcoef(trees.mean, y[150:])[0, 1] > 0.9 and (trees.spread > 0).all()
    line = Ridge(x[:150], x[:150] @ np.arange(6.0) + 3).believe(x[150:])
    assert np.abs(line.mean - (x[150:] @ np.arange(6.0) + 3)).max() < 0.05


# ---------------------------------------------------------------- what a candidate is worth


def test_the_expected_improvement_is_the_mean_over_the_belief() -> None:
    draw = np.random.default_rng(0).normal(size=400_000)
    belief = Belief(np.array([0.0, 1.0, -3.0]), np.array([1.0, 0.5, 2.0]))
    sampled = [np.maximum(m + s * draw - 0.7, 0).mean() for m, s in zip(belief.mean, belief.spread)]
    assert improvement(belief, 0.7) == pytest.approx(sampled, rel=0.02)


def test_of_several_objectives_the_direction_says_which_counts() -> None:
    known = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    assert scalar(known, np.array([0.9, 0.1])).argmin() == 0
    beliefs = [Belief(np.array([-0.2, 0.9]), np.full(2, 1e-3)), Belief(np.array([0.9, -0.2]), np.full(2, 1e-3))]
    for weights, better in (([0.9, 0.1], 0), ([0.1, 0.9], 1)):
        worth = scalar_improvement(beliefs, known, np.array(weights), np.random.default_rng(0))
        assert worth.argmax() == better and worth[better] > 100 * worth[1 - better]


# ---------------------------------------------------------------- what trials teach


def trained(number: int, space: Space, kind: str, *accuracies: float) -> Trial:
    curve = [{"accuracy": a, "val_loss": 1 - a} for a in accuracies]
    choices = draws(space, 1, seed=number)[0]
    return Trial(number, kind, choices, (-accuracies[-1],) if kind == "finished" else None, {}, curve)


def test_a_stopped_training_is_told_from_finished_curves(space: Space) -> None:
    problem = Problem(space, 0, 40, (ACCURACY,))
    done = [trained(i, space, "finished", 0.2 + 0.1 * i, 0.9 - 10 ** (-1 - 0.2 * i)) for i in range(5)]
    trials = [*done, trained(5, space, "pruned", 0.1), Trial(6, "failed", draws(space, 1, 6)[0]), trained(7, space, "running", 0.1)]
    known = evidence(Cases(problem, Encoder(space)).of(History(problem, trials)))
    points = known.points[:, 0]
    assert points[5] >= np.median(points[:5]) and points[6] == points[:5].max() and points[7] == points[5]
    assert known.doubt.tolist() == [0.0] * 5 + [DOUBT] * 3
    few = evidence(Cases(problem, Encoder(space)).of(History(problem, [*trials[:3], trials[5]])))
    assert len(few.cases) == 3  # nothing tells where it would have ended


def test_losses_that_are_no_numbers_count_as_the_worst(space: Space) -> None:
    problem = Problem(space, 0, 40, (Objective("loss", False),))
    trials = [Trial(i, "finished", c, (x,)) for i, (c, x) in enumerate(zip(draws(space, 4), (0.5, math.nan, 2.0, math.inf)))]
    assert evidence(Cases(problem, Encoder(space)).of(History(problem, trials))).points[:, 0].tolist() == [0.5, 2.0, 2.0, 2.0]


def test_targets_see_the_best_most_finely() -> None:
    values = targets(np.array([[1.0], [1.1], [2.0], [3.0], [50.0]]))[0].values
    assert (np.diff(values) < 0).all() and values[0] - values[1] > values[2] - values[3]
    both = targets(np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 4.0], [1000.0, 4.0]]))
    assert both[0].values[3] == both[0].at(np.array([500.0]))[0] and both[0].values.std() == pytest.approx(1.0)


def test_some_trials_stand_for_many() -> None:
    learnt = targets(np.random.default_rng(0).normal(size=(500, 1)))
    places = chosen(learnt, 100, 20)
    assert len(set(places)) == 100 and set(range(480, 500)) <= set(places)
    assert set(np.argsort(-learnt[0].values)[:50]) <= set(places)
    assert [stage(n) for n in (2, 4, 5, 100, 101)] == [2, 4, 5, stage(100), stage(100)] and 80 < stage(100) <= 100


def test_the_first_cases_hold_enough_that_finished(space: Space) -> None:
    problem = Problem(space, 0, 40, (ACCURACY,))
    kinds = ["failed"] * 6 + ["finished"] * 4
    trials = [Trial(i, k, c, (-0.5 - i / 100,) if k == "finished" else None) for i, (k, c) in enumerate(zip(kinds, draws(space, 10)))]
    assert len(beginning(Cases(problem, Encoder(space)).of(History(problem, trials)), 4)) == 9


# ---------------------------------------------------------------- proposals


def searched(problem: Problem, number: int, evaluate: Any, propose: Any = None) -> list[Trial]:
    """The trials of a search, each asked once the last has ended."""
    trials: list[Trial] = []
    propose = propose or predict(problem)
    for i in range(number):
        history = History(problem, list(trials))
        choices = propose(history, problem.rng(history.ordinal))
        trials.append(judged(i, choices, problem, **evaluate(choices)))
    return trials


@pytest.mark.slow
@pytest.mark.parametrize("objectives", ["accuracy", "accuracy,-params"])
def test_a_proposal_follows_from_the_history_alone(space: Space, objectives: str) -> None:
    problem = Problem(space, 3, 40, parse_objectives(objectives))
    old = predict(problem)
    trials = searched(problem, 20, lambda c: {"accuracy": score(c)}, old)
    waiting = [*trials[:15], Trial(15, "running", trials[15].choices), *trials[16:18]]
    for some in (waiting, trials):
        history = History(problem, some)
        assert predict(problem)(history, problem.rng(history.ordinal)) == old(history, problem.rng(history.ordinal))
    assert [predict(problem)(History(problem, trials[:n]), problem.rng(n)) for n in (0, 15)] == [dict(trials[n].choices) for n in (0, 15)]


def test_scores_are_features_asked_for_once(space: Space) -> None:
    asked: list[float] = []

    def scores(choices: Mapping[str, Any]) -> dict[str, float]:
        asked.append(score(choices))
        return {"told": -math.inf if choices["body.0.conv.kernel"] == 1 else asked[-1]}

    problem = Problem(space, 3, 40, (ACCURACY,), scores=scores)
    old = Predictor(problem)
    trials = searched(problem, 14, lambda c: {"accuracy": score(c)}, old.propose)
    history = History(problem, trials)
    proposed = old.propose(history, problem.rng(14))
    before = len(asked)
    assert old.propose(history, problem.rng(14)) == proposed and len(asked) == before > 96
    assert predict(problem)(history, problem.rng(14)) == proposed
    columns = old.learner.basis(evidence(old.cases.of(history)).cases).columns
    assert "score/told" in {old.encoder.words[p] for p in columns.places}


@pytest.mark.slow
def test_a_score_is_trusted_where_the_graph_tells_nothing(space: Space) -> None:
    def chance(choices: Mapping[str, Any]) -> float:
        return Random(repr(sorted(choices.items()))).random()

    def late(scores: Any) -> float:
        problem = Problem(space, 0, 40, (ACCURACY,), scores=scores)
        return statistics.fmean(-t.losses[0] for t in searched(problem, 24, lambda c: {"accuracy": chance(c)})[12:] if t.losses)

    assert late(None) < 0.65 and late(lambda choices: {"told": chance(choices)}) > 0.7


def test_scores_count_against_what_is_usual() -> None:
    usual = Usual([{"a": float(i), "dead": -math.inf} for i in range(9)])  # quartiles 2, 4, 6
    assert usual.features({"a": 6.0}) == {"score/a": 0.5, "score/dead": 0.0}
    assert usual.features({"a": 100.0, "dead": -math.inf}) == {"score/a": 4.0, "score/dead": -4.0}
    assert usual.features({"a": math.nan})["score/a"] == usual.features({})["score/a"] == 0.0
    assert usual.features({"a": -math.inf})["score/a"] == -4.0


def test_it_finds_the_best_of_a_simple_function(space: Space) -> None:
    problem = Problem(space, 0, 40, (ACCURACY,))
    ours = max(-t.losses[0] for t in searched(problem, 30, lambda c: {"accuracy": score(c)}) if t.losses)
    randomly = statistics.median(max(map(score, draws(space, 30, seed))) for seed in range(20))
    assert randomly < 0.895 < ours


def test_what_runs_is_not_asked_again(space: Space) -> None:
    problem = Problem(space, 0, 40, (ACCURACY,))
    trials = searched(problem, 14, lambda c: {"accuracy": score(c)})
    encoder, propose = Encoder(space), predict(problem)
    for i in range(14, 22):
        history = History(problem, list(trials))
        trials.append(Trial(i, "running", propose(history, problem.rng(i))))
    names = [row.name for t in trials if (row := encoder.row(t.choices))]
    assert len(set(names)) == 22


@pytest.mark.slow
def test_proposals_keep_limits_that_costs_tell(space: Space) -> None:
    problem = Problem(space, 0, 40, (ACCURACY,), (Limit("params", True, 1500.0),))
    trials, propose = [], predict(problem)
    for i in range(40):
        history = History(problem, list(trials))
        trial = judged(i, propose(history, problem.rng(i)), problem, "infeasible")
        within = trial.metrics["params"] <= 1500
        trials.append(judged(i, trial.choices, problem, accuracy=score(trial.choices)) if within else trial)
    late = [t.kind for t in trials[20:]]
    assert late.count("finished") >= 19 and sum(t.kind == "infeasible" for t in trials) > 0


def test_where_nothing_keeps_a_limit_yet_the_nearest_are_bred(space: Space) -> None:
    problem = Problem(space, 0, 40, (ACCURACY,), (Limit("accuracy", False, 0.8),))
    trials = [judged(i, c, problem, accuracy=score(c)) for i, c in enumerate(c for c in draws(space, 60) if score(c) < 0.7)]
    proposed = [score(Predictor(problem).propose(History(problem, trials), Random(s))) for s in range(6)]
    assert statistics.fmean(proposed) > max(score(t.choices) for t in trials)


def test_an_earlier_search_spares_the_random_start(space: Space) -> None:
    first = Problem(space, 0, 40, (ACCURACY,))
    prior = searched(first, 30, lambda c: {"accuracy": score(c)})
    best = min(prior, key=lambda t: t.losses or ())
    again = Problem(space, 1, 40, (ACCURACY,), prior=prior)
    asked = [t.choices for t in searched(again, 3, lambda c: {"accuracy": score(c)})]
    assert max(map(score, asked)) > score(best.choices) - 0.005 and all(score(c) > 0.85 for c in asked)


def test_an_exhausted_space_is_no_end() -> None:
    space = Space({"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": {"choose": [4, 8, 12, 16]}}}], "head": ["gap_head"]})
    problem = Problem(space, 0, 40, (ACCURACY,))
    trials = searched(problem, 6, lambda c: {"accuracy": c["body.0.conv.out"] / 20})
    assert Counter(t.choices["body.0.conv.out"] for t in trials[:4]) == Counter([4, 8, 12, 16])


def test_better_than_random_on_the_packaged_table(table: Table) -> None:
    regrets: dict[str, list[float]] = {"predictor": [], "random": []}
    for seed in range(1):
        problem = Problem(table.space, seed, 45, (Objective("value", True),))
        propose, trials = predict(problem), list[Trial]()
        while len(trials) < 45:
            choices = propose(History(problem, list(trials)), problem.rng(len(trials)))
            trials.append(Trial(len(trials), "finished", choices, (-table.evaluate(choices, "val"),)))
        assert len({table.key(dict(t.choices)) for t in trials}) == 45 > STARTS
        regrets["predictor"].append(table.best("val") + min(t.losses[0] for t in trials if t.losses))
        regrets["random"] += [table.best("val") - max(table.evaluate(c, "val") for c in draws(table.space, 45, s)) for s in range(30)]
    assert statistics.fmean(regrets["predictor"]) < statistics.fmean(regrets["random"]) / 2


def test_more_volume_than_random_with_two_objectives(table: Table) -> None:
    problem = Problem(table.space, 0, 45, (ACCURACY, SMALL))

    def metrics(choices: dict[str, Any]) -> dict[str, float]:
        return {"accuracy": table.evaluate(choices, "val") / 100, "params": table.evaluate(choices, "params")}

    def volume(found: list[dict[str, float]]) -> float:
        points = [scaled(m, problem.objectives) for m in found]
        return hypervolume([points[i] for i in front(points)], (-0.5, 4.2))

    propose, trials = predict(problem), list[Trial]()
    for i in range(45):
        choices = propose(History(problem, list(trials)), problem.rng(i))
        trials.append(Trial(i, "finished", choices, losses(metrics(choices), problem.objectives), metrics(choices)))
    randomly = [volume([metrics(c) for c in draws(table.space, 45, s)]) for s in range(30)]
    assert volume([dict(t.metrics) for t in trials]) > statistics.quantiles(randomly, n=4)[-1]


@pytest.mark.thorough
@pytest.mark.parametrize(("column", "at_50", "at_100"), [("c10_valid_e12", 0.15, 0.07), ("c100_valid_e12", 0.35, 0.10)])
def test_regret_on_nas_bench_201(column: str, at_50: float, at_100: float) -> None:
    of = read_table(shared_data("nas/nb201.csv.gz"))
    regrets = []
    for seed in range(10):
        problem = Problem(of.space, seed, 100, (Objective("value", True),))
        propose, trials = predict(problem), list[Trial]()
        for i in range(100):
            choices = propose(History(problem, list(trials)), problem.rng(i))
            trials.append(Trial(i, "finished", choices, (-of.evaluate(choices, column),)))
        found = [-t.losses[0] for t in trials if t.losses]
        regrets.append([of.best(column) - max(found[:50]), of.best(column) - max(found)])
    means = np.mean(regrets, axis=0)
    assert means[0] <= at_50 and means[1] <= at_100
