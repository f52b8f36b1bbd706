"""A tabular benchmark as an evaluator: nothing is trained, what others trained is looked up."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Job, OnReport, Result
from nasforge.evaluation.tables import Table, read_table
from nasforge.objectives.metrics import Metric
from nasforge.tasks import TASKS, Task
from nasforge.tasks.stamps import stamp_of


class LookUp:
    """Looks up the network of `job.choices`; per cent become shares."""

    metric: Metric = TASKS["classification"].metrics[0]

    def metrics(self, task: Task) -> tuple[Metric, ...]:
        return (self.metric,)

    def prepare(self, context: Context) -> None:
        if context.table is None:
            raise UserError("--evaluator table: needs a table; give --table FILE")
        self.file, self.select, self.report = context.table
        self.table = _read(self.file, stamp_of(self.file))

    def evaluate(self, job: Job, on_report: OnReport) -> Result:
        try:
            values = [self.table.evaluate(dict(job.choices), column) for column in (self.select, self.report)]
        except UserError as error:
            return Result(error=str(error))
        if math.isnan(values[0]):
            return Result(error=f"{self.file}: does not hold this network")
        columns = (self.select, self.report)
        val, test = (v / (100 if self.table.best(c) > 1.5 else 1) for v, c in zip(values, columns, strict=True))
        return Result({self.metric.name: val}, test={self.metric.name: test} if job.test else {})


@lru_cache(maxsize=1)
def _read(file: str, stamp: str) -> Table:
    return read_table(Path(file))
