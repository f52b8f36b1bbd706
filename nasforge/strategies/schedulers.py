"""Schedulers: which trainings continue. Some stop a training for good, some pause it and take up the best again.

Optuna's own pruners refuse studies with several objectives, so these work on the curves of a study: for each trial the losses (smaller
is better, one number per objective) after each epoch. A trial is compared only with others at the same epoch.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from random import Random
from typing import Protocol

import numpy as np

from nasforge.objectives.objective import Losses
from nasforge.objectives.pareto import dominates

FACTOR = 3  # of successive halving: one of so many goes on
WARM = 4  # trials that the first decision needs
Curves = Mapping[int, Sequence[Losses]]  # by the place of a trial in the order of asks


class Decision(StrEnum):
    """What a training does after an epoch."""

    CONTINUE = "continue"
    PAUSE = "pause"  # for now: it may be promoted
    STOP = "stop"  # for good


@dataclass(frozen=True)
class InTraining:
    """A trial that is trained or paused: its place in the order of asks, its losses by epoch, the epochs at its rungs, its last epoch."""

    place: int
    curve: Sequence[Losses]
    steps: Sequence[int]
    last: int


class Scheduler(Protocol):
    """Decides after each epoch, and which of the paused trials is promoted. pauses: whether it ever answers PAUSE."""

    @property
    def pauses(self) -> bool: ...

    def on_report(self, curves: Curves, trial: InTraining) -> Decision:
        """Return how a trial goes on; `curves` are those of the trials that have ended."""
        ...

    def promote(self, curves: Curves, paused: Sequence[InTraining], drain: bool) -> int | None:
        """Return the place of the paused trial to continue, None where none has earned it. drain: no new trial will come."""
        ...


def rungs(last: int, factor: int = 3, first: int = 1) -> list[int]:
    """Return the epochs at which successive halving decides: first, first*factor, ... below `last`."""
    out = []
    epoch = first
    while epoch < last:
        out.append(epoch)
        epoch *= factor
    return out


def rank(losses: Losses, others: Sequence[Losses]) -> int:
    """Return how many of `others` dominate `losses`: with one objective, the place in the order."""
    return sum(dominates(other, losses) for other in others)


def ranks(points: Sequence[Losses]) -> list[int]:
    """Return the rank of each point among all."""
    if not points or len(points[0]) <= 2:
        return _planar(points)
    values = np.asarray(points, dtype=float)
    below = (values[:, None] <= values[None]).all(-1) & (values[:, None] < values[None]).any(-1)
    return [int(n) for n in below.sum(0)]


def _planar(points: Sequence[Losses]) -> list[int]:
    """`ranks` in a plane: from left to right, a point is dominated by those before it that are no higher."""
    found: dict[Losses, int] = {}
    heights: list[float] = []
    for point, times in sorted(Counter(points).items()):
        found[point] = bisect_right(heights, point[-1])
        for _ in range(times):
            insort(heights, point[-1])
    return [found[point] for point in points]


@dataclass(frozen=True)
class Bracket:
    """The trials of one bracket (`bracket`), by their place."""

    own: int
    steps: tuple[int, ...]
    brackets: int
    factor: int

    def __contains__(self, place: int) -> bool:
        return bracket(place, self.steps, self.brackets, self.factor) == self.own


class Ended(dict[int, Sequence[Losses]]):
    """Curves of trials that have ended, as `Curves`; how they rank at an epoch is kept up to date, so that a look costs little.

    A curve may be put in its place again, longer. It must not change in place.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rungs: dict[tuple[int, Bracket | None], _Rung] = {}

    def __setitem__(self, place: int, curve: Sequence[Losses]) -> None:
        old = self.get(place, ())
        if old and list(curve[: len(old)]) != list(old):
            self._forget(place)
        super().__setitem__(place, curve)
        for (epoch, among), rung in self._rungs.items():
            if epoch <= len(curve) and place not in rung.places and (among is None or place in among):
                rung.add(place, curve[epoch - 1])

    def __delitem__(self, place: int) -> None:
        self._forget(place)
        super().__delitem__(place)

    def _forget(self, place: int) -> None:
        """Drop what is kept of epochs that a trial is seen at."""
        self._rungs = {key: rung for key, rung in self._rungs.items() if place not in rung.places}

    def at(self, epoch: int, among: Bracket | None = None) -> _Rung:
        """Return what was seen at an epoch, of all trials or of those of a bracket."""
        if (epoch, among) not in self._rungs:
            rung = self._rungs[epoch, among] = _Rung()
            for place, curve in self.items():
                if len(curve) >= epoch and (among is None or place in among):
                    rung.add(place, curve[epoch - 1])
        return self._rungs[epoch, among]


class _Rung:
    """Losses seen at one epoch, each with its rank. places: where in the order of what was seen a trial is."""

    def __init__(self) -> None:
        self.count = 0
        self.places: dict[int, int] = {}
        self._points, self._ranks = np.empty((0, 0)), np.empty(0, int)

    def rank(self, point: Losses) -> int:
        """As `rank` among what was seen."""
        seen = self._points[: self.count]
        return int(((seen <= point).all(1) & (seen < point).any(1)).sum()) if self.count else 0

    def add(self, place: int, point: Losses) -> None:
        """Take in the losses of a trial by its place in the order of asks."""
        own, self.places[place] = self.rank(point), self.count
        if self.count == len(self._points):
            more = max(64, self.count)
            self._points = np.concatenate([self._points.reshape(-1, len(point)), np.empty((more, len(point)))])
            self._ranks = np.concatenate([self._ranks, np.empty(more, int)])
        seen = self._points[: self.count]
        self._ranks[: self.count] += (seen >= point).all(1) & (seen > point).any(1)
        self._points[self.count], self._ranks[self.count] = point, own
        self.count += 1

    def first(self, places: Iterable[int]) -> tuple[int, int] | None:
        """Return the lowest rank among some trials and the first of those that have it; None where none of them was taken in."""
        known = [place for place in places if place in self.places]
        if not known:
            return None
        ranks = self._ranks[[self.places[place] for place in known]]
        lowest = ranks.min()
        return int(lowest), min(known[i] for i in np.flatnonzero(ranks == lowest))

    def best(self, place: int) -> int:
        """Return the rank at a place of the order, from 0 on."""
        return int(np.partition(self._ranks[: self.count], place)[place])


# ---------------------------------------------------------------- stopping


def asha(others: Sequence[Sequence[Losses]], own: Sequence[Losses], last: int, factor: int = FACTOR, warm: int = WARM) -> bool:
    """Return whether to stop: at a rung unless the trial is among the best 1/factor seen there (never the first `warm` ones).

    Source: Li et al. 2020, algorithm 2, in its stopping form; with several objectives the order is by how many dominate.
    """
    epoch = len(own)
    if epoch not in rungs(last, factor):
        return False
    seen = [curve[epoch - 1] for curve in others if len(curve) >= epoch]
    if len(seen) < warm:
        return False
    return rank(own[-1], seen) > sorted(ranks(seen))[max(0, len(seen) // factor - 1)]


def median(others: Sequence[Sequence[Losses]], own: Sequence[Losses], last: int, warm: int = WARM) -> bool:
    """Stop when more than half of the others dominate the trial at this epoch. Source: Golovin et al. 2017, section 3.2.1."""
    epoch = len(own)
    seen = [curve[epoch - 1] for curve in others if len(curve) >= epoch]
    return epoch < last and len(seen) >= warm and rank(own[-1], seen) > len(seen) / 2


def never(others: Sequence[Sequence[Losses]], own: Sequence[Losses], last: int) -> bool:
    """No early stopping."""
    return False


# ---------------------------------------------------------------- pausing and promoting


def even_rungs(last: int, factor: int = 3) -> list[int]:
    """As many epochs as `rungs`, evenly spaced: where it is not the epochs that grow by `factor` from rung to rung."""
    count = len(rungs(last, factor))
    return sorted({math.ceil(last * (k + 1) / (count + 1)) for k in range(count)} - {last})


def share(epoch: int, steps: Sequence[int], factor: int = 3) -> float:
    """Return the share of the full fidelity with which a training goes on after this epoch: 1 above the last rung."""
    return float(factor) ** -sum(step > epoch for step in steps)


FIDELITIES: dict[str, Callable[[int], list[int]]] = {"epochs": rungs, "data": even_rungs, "resolution": even_rungs}


def bracket(number: int, steps: Sequence[int], brackets: int, factor: int = 3) -> int:
    """Return the rung at which a trial pauses first: each bracket gets as many epochs in all as the others.

    Source: Li et al. 2018 (Hyperband), algorithm 1: a bracket that starts `factor` times later has about `factor` times fewer trials.
    """
    count = max(1, min(brackets, len(steps)))
    return _drawn(number, count, factor) if count > 1 else 0


@lru_cache(maxsize=100_000)
def _drawn(number: int, count: int, factor: int) -> int:
    weights = [factor ** (count - 1 - b) / (count - b) for b in range(count)]
    return Random(f"bracket {number}").choices(range(count), weights)[0]


def pauses(number: int, epoch: int, steps: Sequence[int], brackets: int, factor: int = 3) -> bool:
    """Return whether a training pauses after this epoch."""
    return epoch in steps[bracket(number, steps, brackets, factor) :]


def promotable(curves: Curves, paused: Mapping[int, Sequence[int]], brackets: int, drain: bool, factor: int = 3) -> int | None:
    """Return the paused trial to go on with, the one at the highest rung first; None where none has earned it yet.

    A trial goes on when it is among the best 1/factor of its bracket that reached its rung, or as good as the last of these: with several
    objectives all that nothing dominates go on. drain: no new trial will come, so that at least one of each rung goes on.

    Args:
        curves: losses by epoch, of all trials that were trained. paused: the epochs of its rungs, by paused trial.

    Source: Li et al. 2020, algorithm 2 (asynchronous successive halving).
    """
    if not isinstance(curves, Ended):
        given, curves = curves, Ended()
        for place, curve in given.items():
            curves[place] = curve
    groups, waiting = set[tuple[int, int, tuple[int, ...]]](), dict[int, list[int]]()
    for number, own_steps in paused.items():
        epoch = len(curves[number])
        waiting.setdefault(epoch, []).append(number)
        groups.add((epoch, bracket(number, own_steps, brackets, factor), tuple(own_steps)))
    for epoch, own, steps in sorted(groups, reverse=True):
        rung = curves.at(epoch, Bracket(own, steps, brackets, factor))
        enough = max(rung.count // factor, 1 if drain else 0)
        found = rung.first(waiting[epoch]) if enough else None
        if found is not None and found[0] <= rung.best(enough - 1):
            return found[1]
    return None


# ---------------------------------------------------------------- by name


@dataclass(frozen=True)
class Stopping:
    """Stops a training for good by a rule: (curves of others, own curve, last epoch) -> whether."""

    rule: Callable[[Sequence[Sequence[Losses]], Sequence[Losses], int], bool]
    pauses: bool = False

    def on_report(self, curves: Curves, trial: InTraining) -> Decision:
        return Decision.STOP if self.rule(list(curves.values()), trial.curve, trial.last) else Decision.CONTINUE

    def promote(self, curves: Curves, paused: Sequence[InTraining], drain: bool) -> int | None:
        return None


@dataclass(frozen=True)
class Ranking(Stopping):
    """As its rule, of a cost that hardly grows with the number of trials.

    asks: whether the rule may stop at an epoch. late: whether it does, from what was seen there and the own rank.
    """

    asks: Callable[[int, int], bool] = lambda epoch, last: True
    late: Callable[[_Rung, int], bool] = lambda rung, rank: False

    def on_report(self, curves: Curves, trial: InTraining) -> Decision:
        epoch = len(trial.curve)
        if not self.asks(epoch, trial.last):
            return Decision.CONTINUE
        if not isinstance(curves, Ended):
            return super().on_report(curves, trial)
        rung = curves.at(epoch)
        late = rung.count >= WARM and self.late(rung, rung.rank(trial.curve[-1]))
        return Decision.STOP if late else Decision.CONTINUE


@dataclass(frozen=True)
class Halving:
    """Pauses at rungs and continues the best third. brackets: how many of them for so many rungs; one is successive halving."""

    brackets: Callable[[int], int]
    pauses: bool = True

    def on_report(self, curves: Curves, trial: InTraining) -> Decision:
        waits = pauses(trial.place, len(trial.curve), trial.steps, self.brackets(len(trial.steps)))
        return Decision.PAUSE if waits else Decision.CONTINUE

    def promote(self, curves: Curves, paused: Sequence[InTraining], drain: bool) -> int | None:
        return promotable(curves, {t.place: t.steps for t in paused}, self.brackets(len(paused[0].steps)), drain)


SCHEDULERS: dict[str, Scheduler] = {
    "asha": Ranking(asha, asks=lambda epoch, last: epoch in rungs(last),
                    late=lambda rung, rank: rank > rung.best(max(0, rung.count // FACTOR - 1))),
    "median": Ranking(median, asks=lambda epoch, last: epoch < last, late=lambda rung, rank: rank > rung.count / 2),
    "halving": Halving(lambda rungs: 1),
    "hyperband": Halving(lambda rungs: rungs),
    "none": Ranking(never, asks=lambda epoch, last: False),
}  # fmt: skip
OF_TUNE = ("asha", "hyperband", "bohb", "median", "pbt")  # of Ray Tune, as `tune:NAME`: they decide in its runner


def scheduler_names() -> tuple[str, ...]:
    """Return what `--scheduler` takes."""
    return (*SCHEDULERS, *(f"tune:{name}" for name in OF_TUNE))


def scheduler_of(name: str) -> Scheduler:
    """Return the scheduler of that name; one of Ray Tune's leaves the decisions to the runner."""
    return SCHEDULERS["none" if name.startswith("tune:") else name]
