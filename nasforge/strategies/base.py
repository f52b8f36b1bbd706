"""What a strategy is told: the search it serves (`Problem`) and what its study has seen so far (`History`), both plain data."""

from __future__ import annotations

from bisect import insort
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


@dataclass
class Standing:
    """What a reader of a study keeps up to date, so that an ask need not look at all trials: of the ended ones ...

    finished: as `History.finished`. kinds: how many of each. choices: of each, as sets of pairs.
    """

    finished: list[Trial] = field(default_factory=list)
    kinds: Counter[TrialKind] = field(default_factory=Counter)
    choices: set[frozenset[tuple[str, Scalar]]] = field(default_factory=set)
    running: list[Trial] = field(default_factory=list)
    _losses: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    _filled: int = 0

    def finish(self, trial: Trial) -> None:
        """Put a finished trial in its place."""
        insort(self.finished, trial, key=lambda t: t.number)
        if self.finished[-1] is not trial:
            self._filled = 0

    def points(self) -> NDArray[np.float64]:
        """Return the losses of the finished trials (trials, objectives); what was put there before stays."""
        fresh = [t.losses for t in self.finished[self._filled :]]
        if fresh:
            new, old = np.array(fresh, dtype=float), self._losses[: self._filled]
            if self._filled + len(new) > len(self._losses):
                room = np.empty((self._filled + len(new) + 64, new.shape[1]))
                self._losses = np.concatenate([old.reshape(-1, new.shape[1]), new, room])
            else:
                self._losses[self._filled : self._filled + len(new)] = new
            self._filled += len(new)
        return self._losses[: self._filled]


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

    def points(self) -> NDArray[np.float64]:
        """Return the losses of the finished trials (trials, objectives)."""
        if self.known is not None:
            return self.known.points()
        return np.array([t.losses for t in self.finished], dtype=float).reshape(len(self.finished), len(self.problem.objectives))

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
