"""Jobs in this process, one after the other: nothing to start, and a debugger sees everything."""

from __future__ import annotations

from nasforge.evaluation.base import Context
from nasforge.runners.base import Driver
from nasforge.runners.failures import check_result
from nasforge.runners.worker import started, work


class InlineRunner:
    """Evaluates jobs in the process of the search. A crash of a training is a crash of the search."""

    def __init__(self, context: Context) -> None:
        self.evaluator = started(context)

    def run(self, driver: Driver) -> None:
        while (asked := driver.next_job()) is not None:
            number, job = asked
            result = work(self.evaluator, job, lambda report, n=number: driver.on_report(n, report))  # type: ignore[misc]
            check_result(number, result)
            driver.on_end(number, result)

    def close(self) -> None:
        pass
