"""Trials as models see them: the row of their network and their losses on the scales of `objectives.scaled`, worked out once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasforge.networks.cost import count
from nasforge.objectives.metrics import Known, metric_or_value
from nasforge.objectives.objective import Losses, Objective
from nasforge.objectives.objective import scaled as scaled_metrics
from nasforge.spaces.choosers import replay
from nasforge.strategies.base import History, Problem, Trial, TrialKind
from nasforge.strategies.predictor.encoder import Encoder, Row


@dataclass(frozen=True)
class Case:
    """A trial. name: equal for the same trial and state; final: the losses of a finished one; rungs: those after each epoch.

    own: of this search; within: keeps the limits as far as they are known.
    """

    name: tuple[int, str]
    seen: Trial
    row: Row
    final: Losses | None
    rungs: Sequence[Losses]
    within: bool

    @property
    def own(self) -> bool:
        return self.name[0] >= 0

    @property
    def stopped(self) -> bool:
        """Whether the end of its training has to be told from its beginning."""
        return self.seen.kind in (TrialKind.PRUNED, TrialKind.RUNNING) and bool(self.rungs)

    @property
    def teaches(self) -> bool:
        """Whether it says anything about the objectives."""
        return self.seen.kind in (TrialKind.FINISHED, TrialKind.FAILED) or self.stopped


class Cases:
    """The cases of a search. What has ended is looked at once."""

    def __init__(self, problem: Problem, encoder: Encoder) -> None:
        self.problem, self.encoder = problem, encoder
        self.on_paper = {name for o in problem.objectives for name in o.reads if metric_or_value(name).known is Known.PAPER}
        self.prior = [case for i, seen in enumerate(problem.prior) if (case := self._case(-1 - i, seen, history=None)) is not None]
        self.ended: dict[int, Case | None] = {}
        self.costs: dict[int, Mapping[str, float]] = {}

    def of(self, history: History) -> list[Case]:
        """Return the trials whose network can be written down: those that have ended in order, then those that run."""
        ended, running = [], []
        for seen in history.trials:
            if seen.kind == TrialKind.RUNNING:
                running.append(self._case(seen.number, seen, history))
            else:
                if seen.number not in self.ended:
                    self.ended[seen.number] = self._case(seen.number, seen, history)
                ended.append(self.ended[seen.number])
        return [case for case in (*ended, *running) if case is not None]

    def _case(self, number: int, seen: Trial, history: History | None) -> Case | None:
        row = self.encoder.row(seen.choices)
        if row is None:
            return None
        objectives, rungs = self.problem.objectives, list[Losses]()
        if seen.curve and seen.kind in (TrialKind.FINISHED, TrialKind.PRUNED, TrialKind.RUNNING):
            if seen.kind == TrialKind.RUNNING:
                seen = Trial(number, seen.kind, seen.choices, None, self._counted(number, seen), seen.curve)
            rungs = [scaled(losses, objectives) for losses in seen.rungs(objectives)]
        final = scaled(seen.losses, objectives) if seen.kind == TrialKind.FINISHED and seen.losses else None
        name = (number, f"{seen.kind} {len(rungs)}" if seen.kind == TrialKind.RUNNING else seen.kind)
        whole = None if final is None or not all(map(math.isfinite, final)) else final
        within = history is None or history.feasible(seen)
        return Case(name, seen, row, whole, rungs, within)

    def _counted(self, number: int, seen: Trial) -> Mapping[str, float]:
        """The costs of a running trial that an objective reads: a study says them at its end."""
        if number not in self.costs:
            cost = count(self.problem.space.draw(replay(seen.choices))[0]) if self.on_paper else None
            self.costs[number] = {name: float(getattr(cost, name)) for name in self.on_paper}
        return {**self.costs[number], **seen.metrics}


def scaled(losses: Sequence[float], objectives: Sequence[Objective]) -> Losses:
    """Losses, costs and errors among them as powers of ten."""
    values = {o.metric: -x if o.maximize else x for o, x in zip(objectives, losses, strict=True)}
    return scaled_metrics(values, [Objective(o.metric, o.maximize) for o in objectives])
