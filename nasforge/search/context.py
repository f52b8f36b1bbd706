"""What the parts of a running search share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasforge.data import Dataset
from nasforge.evaluation.base import check_key
from nasforge.objectives.metrics import Metric
from nasforge.objectives.objective import Objective
from nasforge.runners.base import Runner
from nasforge.search.clock import Clock
from nasforge.search.plan import Plan
from nasforge.search.progress import Status
from nasforge.search.timing import Timing
from nasforge.search.tracking import Tracking
from nasforge.storage.drivers import Drivers
from nasforge.tasks import Task, load_data
from nasforge.tasks.stamps import stamp_of

SELDOM = 20  # of the time that a look at the files takes, a twentieth is spent on it
Show = Callable[[Status], None]


class DataWatch:
    """Looks whether the files that the data of a plan came from still hold the same, no more often than it costs little."""

    def __init__(self, plan: Plan) -> None:
        self.source = plan.data if plan.dataset is None else None
        self.stamp = self._stamp()  # before they are loaded
        self.data = plan.load()
        self.again = 0.0  # not before that time

    def _stamp(self) -> str:
        return "" if self.source is None else stamp_of(self.source.spec)

    def check(self, now: bool = True) -> None:
        """Raise OtherData where the data are others than when the search began."""
        began = time.monotonic()
        if not now and began < self.again:
            return
        stamp = self._stamp()
        if self.source is not None and stamp != self.stamp:
            check_key(self.source, load_data(self.source), self.data.key)
            self.stamp = stamp
        self.again = time.monotonic() + SELDOM * (time.monotonic() - began)


@dataclass(frozen=True)
class RunContext:
    """One run of a search.

    Attributes:
        drivers: this driver among those of the storage.
        show: is given the progress after each trial.
        workers: jobs that are evaluated at once.
        watch: over files that the data came from.
        usual: the default recipes, `short` and `full`, with which the run began.
        tracking: tells those who follow it.
    """

    plan: Plan
    folder: Path
    data: Dataset
    task: Task
    runner: Runner
    timing: Timing
    drivers: Drivers
    show: Show
    clock: Clock = field(default_factory=lambda: Clock(None, Timing()))
    workers: int = 1
    watch: DataWatch | None = None
    usual: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tracking: Tracking = field(default_factory=Tracking)

    @property
    def metric(self) -> Metric:
        """The metric that tells how good a trained network is: of the first objective that training tells, else the task's main one."""
        return watched(self.plan.objectives, self.task)

    @property
    def monitor(self) -> dict[str, str]:
        """What a recipe needs so that early stopping follows this metric; nothing where it does by itself."""
        return monitor_of(self.plan.objectives, self.task)


def watched(objectives: Sequence[Objective], task: Task) -> Metric:
    """Return the metric of the first objective that training tells, else the main one of the task."""
    wanted = {m.name: m for m in task.metrics}
    return next((wanted[o.base] for o in objectives if o.base in wanted), task.main)


def monitor_of(objectives: Sequence[Objective], task: Task) -> dict[str, str]:
    """Return what a recipe needs so that early stopping follows that metric; nothing where it does by itself."""
    metric = watched(objectives, task)
    return {} if metric == task.main else {"monitor": metric.name}


def usual_recipes(manifest: Mapping[str, Any], task: Task, data: Dataset) -> Mapping[str, Mapping[str, Any]]:
    """Return the default recipes with which a run began, whatever the defaults are by now."""
    kept = manifest.get("recipes")
    if isinstance(kept, Mapping) and all(isinstance(kept.get(name), Mapping) for name in ("short", "full")):
        return kept
    return {name: task.earlier_recipe(data, full=name == "full") for name in ("short", "full")}
