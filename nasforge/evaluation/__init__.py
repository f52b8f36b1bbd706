"""From a job to a result: evaluators by name."""

from __future__ import annotations

from collections.abc import Callable

from nasforge.evaluation.base import Context, Evaluator
from nasforge.evaluation.table import LookUp
from nasforge.evaluation.train import Train
from nasforge.evaluation.zero_cost import ZeroCost

__all__ = ["EVALUATORS", "prepared"]

EVALUATORS: dict[str, Callable[[], Evaluator]] = {"train": Train, "proxy": ZeroCost, "table": LookUp}


def prepared(context: Context) -> Evaluator:
    """Return the evaluator of a run, ready for jobs."""
    evaluator = EVALUATORS[context.evaluator]()
    evaluator.prepare(context)
    return evaluator
