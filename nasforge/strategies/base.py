"""What a strategy is told: the search it serves (`Problem`) and what its study has seen so far (`History`), both plain data."""

from __future__ import annotations

from bisect import bisect, insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from random import Random

import numpy as np
from numpy.typing import NDArray

from nasforge.errors import UserError
from nasforge.networks.cost import count
from nasforge.objectives.metrics import Known, names
from nasforge.objectives.objective import Limit, Losses, Objective, epoch_losses
from nasforge.spaces.choosers import replay
from nasforge.spaces.domains import Scalar
from nasforge.spaces.space import Choices, Space

AT_ONCE = tuple(name for name in names(Known.PAPER) if name != "activation_bytes")  # counted without a pass of its own
Scores = Callable[[Mapping[str, Scalar]], Mapping[str, float]]  # of the network of some choices, by name
Propose = Callable[["History", Random], Choices]  # a strategy: a pure function of what was seen and of random numbers


class TrialKind(StrEnum):
    """What became of a trial. Finished, pruned and failed ones count as asked for; the others cost no training."""

    RUNNING = "running"
    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"
    DUPLICATE = "duplicate"  # computes what an earlier one does
    INFEASIBLE = "infeasible"  # breaks a limit, or cannot be built
    INTERRUPTED = "interrupted"  # its driver died; it is asked again


@dataclass(frozen=True)
class Trial:
    """One trial. losses: of a finished one (smaller is better), else None.

    metrics: what is known of it (costs at least, where a search counted them); curve: a row an epoch, of trainings that were stopped too.
    """

    number: int
    kind: TrialKind
    choices: Mapping[str, Scalar]
    losses: Losses | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[Mapping[str, float]] = ()

    def rungs(self, objectives: Sequence[Objective]) -> list[Losses]:
        """Return the losses after each epoch."""
        return [epoch_losses(dict(row), dict(self.metrics), objectives) for row in self.curve]


@dataclass(frozen=True)
class Problem:
    """The search that a strategy serves.

    trials: about how many networks will be evaluated. prior: finished and stopped trials of earlier runs on the same space.
    scores: zero-cost scores that the predictor reads. measures: whether it reads measures that every space has, and what they taught
    elsewhere; searches of before there were any go on without.
    """

    space: Space
    seed: int
    trials: int
    objectives: Sequence[Objective]
    limits: Sequence[Limit] = ()
    prior: Sequence[Trial] = ()
    scores: Scores | None = None
    measures: bool = True

    def keeps(self, choices: Mapping[str, Scalar]) -> bool:
        """Return whether the network of some choices can be built and keeps the limits on what is counted on paper."""
        limits = [limit for limit in self.limits if limit.metric in AT_ONCE]
        try:
            cost = count(self.space.draw(replay(choices))[0]) if limits else None
        except UserError:
            return False
        return all(limit.excess(float(getattr(cost, limit.metric))) <= 0 for limit in limits)

    def rng(self, ordinal: int) -> Random:
        """Return the random numbers of the ask with this place in the order: the same after a restart."""
        return Random(f"{self.seed}/{ordinal}")


class Leaders:
    """Finished trials that fewer than `size` others are better than: by fronts, the first `size` are among these.

    Better is no worse in any objective, of equal ones the earlier. A trial that so many are better than will never lead.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.trials: list[Trial] = []  # in order of their numbers
        self.points = np.empty((0, 0))  # their losses
        self._better = np.empty(0, int)  # how many trials are better than each

    def add(self, trial: Trial) -> None:
        point = np.array([trial.losses], dtype=float)
        points = self.points.reshape(-1, point.shape[1])
        place = bisect(self.trials, trial.number, key=lambda t: t.number)
        earlier = np.arange(len(points)) < place
        no_worse, no_better = (points <= point).all(1), (points >= point).all(1)
        self._better += no_better & ~(no_worse & earlier)
        own = (no_worse & ~(no_better & ~earlier)).sum()
        self.trials.insert(place, trial)
        self.points, self._better = np.insert(points, place, point, axis=0), np.insert(self._better, place, own)
        if self._better.max() >= self.size:
            kept = np.flatnonzero(self._better < self.size)
            self.trials = [self.trials[i] for i in kept]
            self.points, self._better = self.points[kept], self._better[kept]


@dataclass
class Standing:
    """What a reader of a study keeps up to date, so that an ask need not look at all trials: of the ended ones ...

    ended: in the order in which they did, without interrupted ones. finished: as `History.finished`. kinds: how many of each.
    choices: of each, as sets of pairs.
    """

    ended: list[Trial] = field(default_factory=list)
    finished: list[Trial] = field(default_factory=list)
    kinds: Counter[TrialKind] = field(default_factory=Counter)
    choices: set[frozenset[tuple[str, Scalar]]] = field(default_factory=set)
    running: list[Trial] = field(default_factory=list)
    _leaders: dict[int, Leaders] = field(default_factory=dict)

    def finish(self, trial: Trial) -> None:
        """Put a finished trial in its place."""
        insort(self.finished, trial, key=lambda t: t.number)
        for leaders in self._leaders.values():
            leaders.add(trial)

    def leaders(self, size: int) -> Leaders:
        """Return those of the finished trials, kept up to date from now on."""
        if size not in self._leaders:
            found = self._leaders[size] = Leaders(size)
            for trial in self.finished:
                found.add(trial)
        return self._leaders[size]


@dataclass(frozen=True)
class History:
    """The trials of a study before an ask, in order of their numbers, without interrupted ones (they are asked again).

    known: what follows from them, where a reader has it ready.
    """

    problem: Problem
    trials: Sequence[Trial]
    known: Standing | None = field(default=None, compare=False)

    @property
    def ordinal(self) -> int:
        """The place of the ask in the order of asks."""
        return len(self.trials)

    @cached_property
    def finished(self) -> list[Trial]:
        """Evaluated to the end, within the limits, each network once."""
        if self.known is not None:
            return self.known.finished.copy()
        return [t for t in self.trials if t.kind == TrialKind.FINISHED and self.feasible(t)]

    @property
    def ended(self) -> Sequence[Trial]:
        """Those that do not run, in any order; where a reader has them ready, in that in which they ended."""
        return self.known.ended if self.known is not None else [t for t in self.trials if t.kind != TrialKind.RUNNING]

    def leaders(self, size: int) -> tuple[Sequence[Trial], NDArray[np.float64]]:
        """Return the finished trials among which are the first `size` by fronts, and their losses (trials, objectives)."""
        if self.known is not None:
            found = self.known.leaders(size)
            return found.trials, found.points.reshape(-1, len(self.problem.objectives))
        losses = np.array([t.losses for t in self.finished], dtype=float)
        return self.finished, losses.reshape(-1, len(self.problem.objectives))

    @cached_property
    def running(self) -> list[Trial]:
        if self.known is not None:
            return self.known.running
        return [t for t in self.trials if t.kind == TrialKind.RUNNING]

    def count(self, *kinds: TrialKind) -> int:
        """Return how many trials are of these kinds."""
        if self.known is None:
            return sum(t.kind in kinds for t in self.trials)
        return sum(self.known.kinds[kind] for kind in kinds) + (len(self.running) if TrialKind.RUNNING in kinds else 0)

    def has(self, choices: Mapping[str, Scalar]) -> bool:
        """Return whether a trial was asked for with these choices."""
        if self.known is None:
            return any(t.choices == choices for t in self.trials)
        return frozenset(choices.items()) in self.known.choices or any(t.choices == choices for t in self.known.running)

    def feasible(self, trial: Trial) -> bool:
        """Return whether no limit on a known metric is broken."""
        return all(limit.excess(trial.metrics[limit.metric]) <= 0 for limit in self.problem.limits if limit.metric in trial.metrics)


class News:
    """Gives each ended trial of a study once, for what follows from them and is kept up to date."""

    def __init__(self) -> None:
        self._ended: Sequence[Trial] = ()
        self._read = 0

    def of(self, history: History) -> tuple[bool, Sequence[Trial]]:
        """Return whether this is another study than the last one, and what has ended since."""
        ended = history.ended
        other = ended is not self._ended
        new = ended[0 if other else self._read :]
        self._ended, self._read = ended, len(ended)
        return other, new
