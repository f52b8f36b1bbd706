"""Models of every objective and limit of a search, kept as long as they are right: each follows from the trials alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasforge.search.history import Brief, Seen
from nasforge.search.objectives import COSTS, MEASURED, Limit
from nasforge.search.predictor.encoder import Columns, Encoder, Row
from nasforge.search.predictor.evidence import Evidence, Matrix, Vector, evidence, known_before, standard, warped
from nasforge.search.predictor.models import MOST_FITTED, Belief, Process, Ridge, Trees, Weights, fit_weights

REFERENCE = 96  # random networks that tell, with the trials, what is usual in the space
MOST_LEARNED = 300  # trials that a model learns from: the best, the latest, some others
GROWTH = 1.25  # columns and weights are fitted anew when there are so many times more trials
REFITS = 25  # trees are grown anew when there is a 25th more trials
KEPT = 12  # things remembered of each kind


class Memory:
    """The last few results of a function by a name that tells all that they depend on."""

    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}

    def get(self, name: Any, make: Callable[[], Any]) -> Any:
        """What is remembered under the name, or made now."""
        if name not in self.kept:
            self.kept[name] = make()
            if len(self.kept) > KEPT:
                del self.kept[next(iter(self.kept))]
        return self.kept[name]


@dataclass(frozen=True)
class Basis:
    """What models of one stage of a search share: columns, and the weights of the kernel by objective."""

    columns: Columns
    weights: Sequence[Weights]


class Learner:
    """Fits models to the trials of a search. Ask it with the same trials and it says the same, whatever it was asked before."""

    def __init__(self, brief: Brief, encoder: Encoder) -> None:
        self.brief, self.encoder = brief, encoder
        self.memory = Memory()
        self.trees_memory = Memory()

    # ------------------------------------------------------------ what is learned from

    def evidence(self, trials: Sequence[Seen]) -> Evidence:
        """The evidence in trials whose networks can be encoded."""
        return evidence([t for t in trials if self.encoder.row(t.choices) is not None], self.brief)

    def rows(self, trials: Sequence[Seen]) -> list[Row]:
        """The rows of trials that can be encoded."""
        return [row for t in trials if (row := self.encoder.row(t.choices)) is not None]

    def targets(self, points: Matrix) -> Matrix:
        """(trials, objectives): what models learn, larger is better; a single objective is warped."""
        if points.shape[1] == 1:
            return warped(points[:, 0])[:, None]
        return np.stack([-standard(_without_outliers(column)) for column in points.T], axis=1)

    def chosen(self, points: Matrix) -> NDArray[np.int64]:
        """The places of the trials to learn from, in order."""
        count = len(points)
        if count <= MOST_LEARNED:
            return np.arange(count)
        worth = self.targets(points).sum(axis=1)
        best = np.argsort(-worth, kind="stable")[: MOST_LEARNED // 2].tolist()
        latest = range(count - MOST_LEARNED // 6, count)
        rest = sorted(set(range(count)) - {*best, *latest})
        some = Random(f"{self.brief.seed}/{count // 50}").sample(rest, min(len(rest), MOST_LEARNED - len({*best, *latest})))
        return np.array(sorted({*best, *latest, *some}), dtype=np.int64)

    # ------------------------------------------------------------ stages

    def basis(self, trials: Sequence[Seen]) -> Basis:
        """The basis that holds for these trials: fitted on the first of them."""
        count = stage(len(trials))
        name = ("basis", *((t.number, t.kind) for t in trials[:count]))
        return self.memory.get(name, lambda: self._basis(trials[:count]))

    def _basis(self, trials: Sequence[Seen]) -> Basis:
        known = self.evidence(trials)
        rows = self.rows(known.trials)
        reference = [row for _, row in self.encoder.sample(REFERENCE, f"{self.brief.seed}/reference")]
        columns = self.encoder.columns([*reference, *rows])
        targets = self.targets(known.points)
        some = np.arange(len(rows))
        if len(rows) > MOST_FITTED:
            best = np.argsort(-targets.sum(axis=1), kind="stable")[: MOST_FITTED // 2].tolist()
            rest = sorted(set(range(len(rows))) - set(best))
            some = np.array(sorted([*best, *Random(len(rows)).sample(rest, MOST_FITTED - len(best))]))
        groups = columns.scaled(self.encoder.dense([rows[i] for i in some], columns.places))
        return Basis(columns, [fit_weights(groups, column) for column in targets[some].T])

    # ------------------------------------------------------------ models

    def process(self, trials: Sequence[Seen], running: Sequence[Row], objective: int) -> Callable[[Matrix], Belief]:
        """The belief of a Gaussian process about a target; running trials count as what it believes of them. Source: Ginsbourger 2010."""
        basis, known = self.basis(trials), self.evidence(trials)
        some = self.chosen(known.points)
        target, doubt = self.targets(known.points)[some, objective], known.doubt[some]
        rows = self.rows([known.trials[i] for i in some])
        weights = basis.weights[objective]

        def scaled(rows_: Sequence[Row]) -> list[Matrix]:
            return basis.columns.scaled(self.encoder.dense(rows_, basis.columns.places))

        groups = scaled(rows)
        model = Process(groups, target, weights, doubt)
        if running:
            target = np.concatenate([target, model.believe(scaled(running)).mean])
            model = Process(scaled([*rows, *running]), target, weights, np.concatenate([doubt, np.zeros(len(running))]))
        return lambda numbers: model.believe(basis.columns.scaled(numbers))

    def trees(self, trials: Sequence[Seen], objective: int) -> Callable[[Matrix], Belief]:
        """The belief of trees about a target."""
        step = max(1, len(trials) // REFITS)
        first = trials[: len(trials) // step * step]
        basis = self.basis(trials)
        name = (objective, id(basis), *((t.number, t.kind) for t in first))

        def grow() -> Trees:
            known = self.evidence(first)
            some = self.chosen(known.points)
            numbers = self.encoder.dense(self.rows([known.trials[i] for i in some]), basis.columns.places)
            return Trees(numbers, self.targets(known.points)[some, objective], seed=1 + len(first))

        return self.trees_memory.get(name, grow).believe

    def metric(self, trials: Sequence[Seen], metric: str, columns: Columns) -> Callable[[Matrix], Belief] | None:
        """The belief about a metric, costs as logarithms; None where too few trials have it."""
        known = [t for t in trials if t.metrics.get(metric, math.nan) > 0][-MOST_LEARNED:]
        rows = self.rows(known)
        if len(rows) < 5:
            return None
        values = np.array([logarithm(metric, t.metrics[metric]) for t in known if self.encoder.row(t.choices) is not None])
        model = Ridge(np.hstack(columns.scaled(self.encoder.dense(rows, columns.places))), values)
        return lambda numbers: model.believe(np.hstack(columns.scaled(numbers)))


def logarithm(metric: str, value: float) -> float:
    """The value, a cost as a power of ten."""
    return math.log10(max(value, 1e-9)) if metric in (*COSTS, *MEASURED) else value


def bound(limit: Limit) -> float:
    """The bound of a limit in the units of `Learner.metric`."""
    return logarithm(limit.metric, limit.bound)


def stage(count: int) -> int:
    """The largest of some growing numbers that is not above `count`."""
    size = 4
    while (larger := max(size + 1, int(size * GROWTH))) <= count:
        size = larger
    return min(size, count)


def _without_outliers(values: Vector) -> Vector:
    """The values, those far worse than usual brought near."""
    middle, best = float(np.median(values)), float(values.min())
    return np.minimum(values, middle + 2 * max(middle - best, 1e-9))


__all__ = ["Basis", "Learner", "bound", "known_before", "logarithm", "stage"]
