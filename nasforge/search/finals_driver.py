"""The final trainings while a runner works on them: one a network and seed, none twice, each written down as it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Generic, Protocol, TypeVar

from nasforge.errors import UserError
from nasforge.evaluation.base import Decision, Job, Report, Result, is_number, numbers
from nasforge.evaluation.train import recipe_of
from nasforge.objectives.objective import validation
from nasforge.search.context import RunContext
from nasforge.search.progress import OFTEN_S, Ended, Pace, Running, Status, steps_of
from nasforge.search.study import Study
from nasforge.spaces.arch import Arch


class Named(Protocol):
    """A network of the finals."""

    name: str
    arch: Arch


E = TypeVar("E", bound=Named)


def final_name(key: str, seed: int) -> str:
    """Return the name under which a study has what came of a final training."""
    return f"final/{key}/{seed}"


class FinalsDriver(Generic[E]):
    """One training a network and seed.

    Args:
        wanted: the networks by key and seed.
        stored: what came of those that are done already, by `final_name`; gets the others.
        settings: a digest of what decides their results.
        job_of: the training of a network with a seed where so many are left to begin.
    """

    def __init__(
        self, run: RunContext, study: Study, wanted: Mapping[tuple[str, int], E], stored: dict[str, Any], settings: str,
        job_of: Callable[[E, int, int], Job],
    ) -> None:  # fmt: skip
        self.run, self.study, self.wanted, self.stored, self.settings, self.job_of = run, study, wanted, stored, settings, job_of
        self.todo = [pair for pair in wanted if final_name(*pair) not in stored]
        self.begun, self.done = 0, len(wanted) - len(self.todo)
        self.had, self.pace, self.shown = self.done, Pace(), -math.inf
        self.running: dict[int, Running] = {}

    def next_job(self) -> tuple[int, Job] | None:
        if self.begun == len(self.todo):
            return None
        number, pair = self.begun, self.todo[self.begun]
        self.begun += 1
        self.run.timing.started(("final", number))
        job = self.job_of(self.wanted[pair], pair[1], len(self.todo) - number)
        self.running[number] = Running(f"{self.wanted[pair].name}, seed {pair[1]}", 0, self._epochs(job))
        self._show_often()
        return number, job

    def _epochs(self, job: Job) -> int:
        try:
            return recipe_of(job, self.run.data, self.run.task).epochs
        except UserError:  # its training will say so
            return 1

    def on_report(self, number: int, report: Report) -> Decision:
        name, known = self.run.metric.name, validation(report.row)
        score = {name: known[name]} if name in known else {}
        self.running[number] = replace(self.running[number], epoch=report.epoch, score=score)
        self._show_often()
        return Decision.CONTINUE

    def _show_often(self) -> None:
        if time.monotonic() - self.shown >= OFTEN_S:
            self.show()

    def show(self, ended: Ended | None = None) -> None:
        """Tell the state to whoever watches."""
        self.shown = time.monotonic()
        running = [one for _, one in sorted(self.running.items())]
        done = self.done - self.had + sum(one.share for one in running)
        left = self.pace.left_s(self.shown, done, len(self.todo))
        if self.run.plan.minutes is not None:
            left = max(0.0, self.run.clock.left_s("finals"))
        self.run.show(Status(
            "finals", self.done, len(self.wanted), seconds_left=left, last=self.done == len(self.wanted), steps=steps_of(self.run.plan),
            running=running, ended=ended, time=self.run.clock.told(),
        ))  # fmt: skip

    def on_end(self, number: int, result: Result) -> None:
        if self.run.watch is not None:
            self.run.watch.check(now=False)
        self.done += 1
        main = self.run.metric.name
        for found in (result.metrics, *([result.test] if result.test else [])):
            if result.error is None and not is_number(found.get(main)):
                result.error = f"{main} must be a finite number, got {found.get(main, 'none')!r:.40} from the evaluator"
        result.metrics, result.test, result.curve = numbers(result.metrics), numbers(result.test), [numbers(row) for row in result.curve]
        study, timing, pair = self.study, self.run.timing, self.todo[number]
        timing.ended(("final", number), result.seconds)
        self.stored[final_name(*pair)] = {**asdict(result), "settings": self.settings, "arch": self.wanted[pair].arch}
        study.set_user_attr(final_name(*pair), self.stored[final_name(*pair)])
        study.set_user_attr("seconds", timing.totals())
        was = self.running.pop(number)
        kind = "failed" if result.error else "finished"
        told = {main: result.metrics[main]} if main in result.metrics else {}
        self.show(Ended(was.name, kind, told, len(result.curve), sum(result.seconds.values()), result.error or ""))
