"""Models of every objective and metric of a search, kept as long as they are right: each follows from the cases alone."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasforge.errors import UserError
from nasforge.networks.cost import Cost, count
from nasforge.objectives.metrics import Known, metric_or_value
from nasforge.spaces.choosers import replay
from nasforge.strategies.base import AT_ONCE, Problem
from nasforge.strategies.predictor.cases import Case
from nasforge.strategies.predictor.encoder import REFERENCE, Columns, Encoder, Row
from nasforge.strategies.predictor.evidence import Evidence, Matrix, Target, Vector, evidence, targets
from nasforge.strategies.predictor.hints import Hints
from nasforge.strategies.predictor.models import (
    MOST_FITTED,
    Belief,
    Process,
    Ridge,
    Trees,
    Weights,
    distances,
    fit_weights,
    matern,
)

MOST_LEARNED = 300  # cases that a model learns from: the best, the latest, some others
GROWTH = 1.25  # columns and weights are fitted anew when there are so many times more cases
REFITS = 25  # trees are grown anew when there is a 25th more cases
LEAST = 3  # cases trained to the end, before there are models
FEWEST = 5  # cases that tell a metric
COUNTED = 24  # random networks whose costs are counted where fewer tell
KEPT = 12  # bases remembered
KEPT_TREES = 2  # forests remembered of each objective: of hundreds of trials one takes megabytes

Model = Callable[[Sequence[Row]], Belief]


@dataclass(frozen=True)
class Basis:
    """What models of one stage of a search share: columns, and the weights of the kernel by objective."""

    columns: Columns
    weights: Sequence[Weights]


class Learner:
    """Fits models to cases. Asked with the same ones it says the same, whatever it was asked before."""

    def __init__(self, problem: Problem, encoder: Encoder) -> None:
        self.problem, self.encoder = problem, encoder
        self._bases: dict[Any, Basis] = {}
        self._trees: list[dict[Any, Trees]] = [{} for _ in problem.objectives]

    # ------------------------------------------------------------ stages

    def basis(self, cases: Sequence[Case]) -> Basis:
        """Return the basis that holds for these cases: fitted on the first of them."""
        first = beginning(cases, stage(len(cases)))

        def make() -> Basis:
            known = evidence(first)
            columns = self.encoder.columns([*self.encoder.usual_rows, *(c.row for c in known.cases)])
            learnt = targets(known.points)
            some = chosen(learnt, MOST_FITTED, 0)
            groups = self.scaled(columns, [known.cases[i].row for i in some])
            hints = self.hint([known.cases[i].row for i in some])
            return Basis(columns, [fit_weights(groups, t.values[some], hints) for t in learnt])

        return _remembered(self._bases, tuple(c.name for c in first), make, KEPT)

    def scaled(self, columns: Columns, rows: Sequence[Row]) -> list[Matrix]:
        """Return the columns of rows by group, scaled."""
        return columns.scaled(self.encoder.dense(rows, columns.places))

    @cached_property
    def hints(self) -> Hints:
        """What other spaces say of the networks of this one."""
        return Hints(self.encoder)

    @cached_property
    def hinted(self) -> bool:
        """Whether models listen to hints: of the only objective. Beside costs they would draw most asks to the largest networks."""
        trained = [o.described.known is Known.TRAINED for o in self.problem.objectives]
        return self.problem.measures and trained == [True] and self.hints.known

    @cached_property
    def usual(self) -> Columns:
        """The columns of random networks, before any was trained."""
        return self.encoder.columns(self.encoder.usual_rows)

    @cached_property
    def counted(self) -> list[tuple[Row, Cost]]:
        """Some random networks that can be built, with their costs."""
        out: list[tuple[Row, Cost]] = []
        for choices, row in self.encoder.sample(REFERENCE, self.encoder.reference):
            with contextlib.suppress(UserError, ValueError):
                out.append((row, count(self.problem.space.draw(replay(choices))[0])))
            if len(out) == COUNTED:
                break
        return out

    def nearness(self, columns: Columns, asked: Sequence[Row], rows: Sequence[Row]) -> Vector:
        """(rows,): how much each is like the nearest of those asked for, from 0 to 1, before anything is learned."""
        squares = distances(self.scaled(columns, asked), self.scaled(columns, rows))
        return matern(squares, Weights(np.full(len(squares), -1.0), 0.0)).max(axis=0)

    # ------------------------------------------------------------ models

    def process(self, known: Evidence, objective: int, running: Sequence[Row]) -> Model:
        """A Gaussian process of a target; running trials count as what it believes of them.

        Source: Ginsbourger et al. 2010 (kriging believer).
        """
        basis, learnt = self.basis(known.cases), targets(known.points)
        some = chosen(learnt, MOST_LEARNED, MOST_LEARNED // 6)
        values, doubt = learnt[objective].values[some], known.doubt[some]
        rows = [known.cases[i].row for i in some]
        groups, hints = self.scaled(basis.columns, rows), self.hint(rows)
        model = Process(groups, values, hints, basis.weights[objective], doubt)
        if running:
            more, hint = self.scaled(basis.columns, running), self.hint(running)
            values, hints = np.concatenate([values, model.believe(more, hint).mean]), np.concatenate([hints, hint])
            groups = [np.concatenate(pair) for pair in zip(groups, more, strict=True)]
            model = Process(groups, values, hints, basis.weights[objective], np.concatenate([doubt, np.zeros(len(running))]))
        return lambda rows: model.believe(self.scaled(basis.columns, rows), self.hint(rows))

    def trees(self, cases: Sequence[Case], objective: int) -> Model:
        """Trees of a target, grown anew from time to time."""
        step = max(1, len(cases) // REFITS)
        first = beginning(cases, len(cases) // step * step)
        columns = self.basis(cases).columns

        def grow() -> Trees:
            known = evidence(first)
            learnt = targets(known.points)
            some = chosen(learnt, MOST_LEARNED, MOST_LEARNED // 6)
            rows = [known.cases[i].row for i in some]
            return Trees(self.encoder.dense(rows, columns.places), learnt[objective].values[some], self.hint(rows), 1 + len(first))

        name = (len(first), *(c.name for c in cases[: max(len(first), stage(len(cases)))]))
        forest = _remembered(self._trees[objective], name, grow, KEPT_TREES)
        return lambda rows: forest.believe(self.encoder.dense(rows, columns.places), self.hint(rows))

    def hint(self, rows: Sequence[Row]) -> Matrix:
        """(rows, hints): one of 0 where models do not listen to any."""
        return self.hints.of(rows) if self.hinted else np.zeros((len(rows), 1))

    def alike(self, cases: Sequence[Case], running: Sequence[Row], rows: Sequence[Row]) -> Vector:
        """Return how much each row is like the nearest of what is running, from 0 to 1: the correlation of the first objective's process.

        Workers that ask at the same time would otherwise crowd about one network. Source: after González et al. 2016, section 3.
        """
        basis = self.basis(cases)
        squares = distances(self.scaled(basis.columns, running), self.scaled(basis.columns, rows))
        return matern(squares, basis.weights[0]).max(axis=0)

    def metric(self, cases: Sequence[Case], metric: str, columns: Columns) -> Model | None:
        """A linear model of a metric, of a cost's logarithm; None where too few cases have it."""
        having = [(c.row, c.seen.metrics[metric]) for c in cases if c.seen.metrics.get(metric, math.nan) > 0][-MOST_LEARNED:]
        if len(having) < FEWEST and metric in AT_ONCE and self.problem.measures:
            having = [(row, float(getattr(cost, metric))) for row, cost in self.counted]
        if len(having) < FEWEST:
            return None
        values = np.array([logarithm(metric, value) for _, value in having])
        model = Ridge(self.whole(columns, [row for row, _ in having]), values)
        return lambda rows: model.believe(self.whole(columns, rows))

    def whole(self, columns: Columns, rows: Sequence[Row]) -> Matrix:
        """(rows, columns and sizes): what tells costs."""
        sizes = [self.hints.sizes(rows)] if self.problem.measures else []
        return np.hstack([*self.scaled(columns, rows), *sizes])


def logarithm(metric: str, value: float) -> float:
    """Return the value, a cost as a power of ten."""
    return math.log10(max(value, 1e-9)) if metric_or_value(metric).is_cost else value


def chosen(learnt: Sequence[Target], most: int, latest: int) -> NDArray[np.int64]:
    """Return the places of so many cases to learn from, in order: half the best, the latest, some of the others."""
    worth: Vector = np.sum([t.values for t in learnt], axis=0)
    count = len(worth)
    if count <= most:
        return np.arange(count)
    kept = {*np.argsort(-worth, kind="stable")[: most // 2].tolist(), *range(count - latest, count)}
    rest = [i for i in range(count) if i not in kept]
    return np.array(sorted({*kept, *Random(count // 50).sample(rest, most - len(kept))}), dtype=np.int64)


def beginning(cases: Sequence[Case], count: int) -> Sequence[Case]:
    """So many of the first cases; more where fewer than LEAST of these were trained to the end."""
    ends = [i for i, c in enumerate(cases) if c.final is not None]
    return cases[: max(count, ends[min(LEAST, len(ends)) - 1] + 1)]


def stage(count: int) -> int:
    """Return the largest of some growing numbers that is not above `count`."""
    size = 4
    while (larger := max(size + 1, int(size * GROWTH))) <= count:
        size = larger
    return min(size, count)


def _remembered(memory: dict[Any, Any], name: Any, make: Callable[[], Any], most: int) -> Any:
    """What is remembered under the name, or made now; the last few are kept."""
    if name not in memory:
        memory[name] = make()
        if len(memory) > most:
            del memory[next(iter(memory))]
    return memory[name]
