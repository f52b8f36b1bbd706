"""What the parts of a running search share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nasforge.data import Dataset
from nasforge.objectives.metrics import Metric
from nasforge.runners.base import Runner
from nasforge.search.clock import Clock
from nasforge.search.plan import Plan
from nasforge.search.progress import Status
from nasforge.search.timing import Timing
from nasforge.storage.drivers import Drivers
from nasforge.tasks import Task

Show = Callable[[Status], None]


@dataclass(frozen=True)
class RunContext:
    """One run of a search.

    Attributes:
        drivers: this driver among those of the storage.
        show: is given the progress after each trial.
        workers: jobs that are evaluated at once.
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

    @property
    def metric(self) -> Metric:
        """The metric that tells how good a trained network is: of the first objective that training tells, else the task's main one."""
        wanted = {m.name: m for m in self.task.metrics}
        return next((wanted[o.base] for o in self.plan.objectives if o.base in wanted), self.task.main)

    @property
    def monitor(self) -> dict[str, str]:
        """What a recipe needs so that early stopping follows this metric; nothing where it does by itself."""
        return {} if self.metric == self.task.main else {"monitor": self.metric.name}
