"""One run of a strategy on a table: the study of a search, with a look into the table in place of a training.

As in a search, a network that computes what an earlier one did costs no evaluation; its strategy is told the earlier one's value. A
training that failed costs one, and the strategy is told that it failed.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from random import Random

from nasforge.errors import UserError
from nasforge.evaluation.tables import Table
from nasforge.objectives.objective import Objective
from nasforge.search.screening import MOST_MISSES, SAME_AGAIN, STUCK
from nasforge.search.study import Trial, end, in_memory
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Choices
from nasforge.strategies.base import Problem, Scores, TrialKind
from nasforge.strategies.optuna import trial_chooser
from nasforge.strategies.registry import sampler

SPREAD = 0.5  # of the logarithm of a simulated duration: two of three lie within a factor of 1.65


@dataclass
class Trace:
    """What a run saw: after each evaluation the best of the selected column, and the reported one of the same network."""

    best: list[float] = field(default_factory=list)
    reported: list[float] = field(default_factory=list)
    duplicates: int = 0
    absent: int = 0

    def at(self, evals: int) -> int:
        """Return the place of the last evaluation that a budget allows; a space may be exhausted before."""
        return min(evals, len(self.best)) - 1


@dataclass(frozen=True, order=True)
class Running:
    """A network that a simulated worker is at."""

    end: float
    number: int
    choices: Choices = field(compare=False)
    key: str = field(compare=False)
    value: float = field(compare=False)


def simulate(
    table: Table, name: str, seed: int, evals: int, select: str, report: str, workers: int = 1, scores: Scores | None = None
) -> Trace:
    """One run until so many different networks are evaluated, or nothing new comes any more.

    workers: so many networks are asked for before the first of them is told; they end in the order of simulated durations.
    scores: zero-cost scores that the strategy may read.
    """
    return _Simulation(table, name, seed, evals, select, report, scores).run(workers)


class _Simulation:
    """The state of one run."""

    def __init__(self, table: Table, name: str, seed: int, evals: int, select: str, report: str, scores: Scores | None) -> None:
        self.table, self.seed, self.evals, self.select, self.report = table, seed, evals, select, report
        problem = Problem(table.space, seed, evals, (Objective("value", not table.minimize),), scores=scores)
        self.study = in_memory(sampler(name, problem), problem.objectives[0])
        self.durations = Random(f"durations/{seed}")
        self.trace = Trace()
        self.seen: dict[str, float] = {}  # by key: NaN while it runs, and where it failed
        self.repeats = 0

    def run(self, workers: int) -> Trace:
        now, running = 0.0, list[Running]()
        exhausted = False
        while True:
            while not exhausted and len(running) < min(workers, self.evals - len(self.trace.best)):
                started = self.start(now)
                exhausted = started is None
                if started is not None:
                    heapq.heappush(running, started)
            if not running:
                break
            ended = heapq.heappop(running)
            now = ended.end
            self.end(ended)
        if not self.trace.best:
            raise UserError(f"{self.table.name}: none of {self.trace.absent} networks drawn is in the table; is it of another space?")
        return self.trace

    def start(self, now: float) -> Running | None:
        """Return the next network that the table holds and that was not seen before; None where nothing new comes any more."""
        for _ in range(MOST_MISSES):
            trial = self.study.ask()
            _, choices = self.table.space.draw(trial_chooser(trial))
            key = self.table.key(choices)
            value = self.seen.get(key, self.table.evaluate(choices, self.select))
            if key in self.seen:
                self.repeat(trial, value)
                if self.repeats >= SAME_AGAIN:
                    break
                continue
            self.repeats = 0
            if math.isnan(value):  # as an infeasible network: it costs nothing
                self.trace.absent += 1
                end(self.study, trial, TrialKind.INFEASIBLE)
                continue
            self.seen[key] = math.nan
            if math.isinf(value):
                trial.set_user_attr("record", {"kind": TrialKind.FAILED})
            return Running(now + self.durations.lognormvariate(0, SPREAD), trial.number, choices, key, value)
        return None

    def repeat(self, trial: Trial, value: float) -> None:
        """Tell what is known of a duplicate; after many in a row a random draw comes next, as in a search."""
        self.trace.duplicates += 1
        self.repeats += 1
        trial.set_user_attr("record", {"kind": TrialKind.DUPLICATE})
        if math.isnan(value):
            end(self.study, trial, TrialKind.INFEASIBLE)
        else:
            end(self.study, trial, TrialKind.FINISHED, [value])
        if self.repeats >= STUCK:
            self.study.enqueue_trial(self.table.space.draw(random_chooser(Random(f"{self.repeats}/{trial.number}")))[1])

    def end(self, ended: Running) -> None:
        """Tell what a network scored. Until one is trained, the worst of the table stands for the best found."""
        best, reported = self.trace.best, self.trace.reported
        found = (best[-1], reported[-1]) if best else (self.table.worst(self.select), self.table.worst(self.report))
        if math.isinf(ended.value):
            end(self.study, ended.number, TrialKind.FAILED)
        else:
            end(self.study, ended.number, TrialKind.FINISHED, [ended.value])
            self.seen[ended.key] = ended.value
            if not best or (ended.value < found[0] if self.table.minimize else ended.value > found[0]):
                found = (ended.value, self.table.evaluate(ended.choices, self.report))
        best.append(found[0])
        reported.append(found[1])
