"""The contract between what decides (a driver) and what carries jobs to where they are evaluated (a runner)."""

from __future__ import annotations

from typing import Protocol

from nasforge.evaluation.base import Decision, Job, Report, Result


class Driver(Protocol):
    """Decides what is evaluated, and how long."""

    def next_job(self) -> tuple[int, Job] | None:
        """Return a number and a job; None where there is none for now, and for good when nothing runs."""
        ...

    def on_report(self, number: int, report: Report) -> Decision:
        """Return how a job goes on after an epoch."""
        ...

    def on_end(self, number: int, result: Result) -> None:
        """Take in what came of a job."""
        ...


class Runner(Protocol):
    """Carries jobs. It asks for as many as it can evaluate at once, and knows nothing of what decides."""

    def run(self, driver: Driver) -> None:
        """Work until the driver has no more jobs and all have ended.

        Raises:
            UserError: workers cannot start, or nothing can be written any more.
        """
        ...

    def close(self) -> None:
        """End all workers, at once."""
        ...
