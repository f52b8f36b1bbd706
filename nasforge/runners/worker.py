"""What a worker does with a job, here or on a node: evaluate it, whatever happens."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from nasforge.errors import UserError
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Evaluator, Job, OnReport, Result, note
from nasforge.objectives.metrics import Metric
from nasforge.tasks import Task
from nasforge.train.checkpoint import read_checkpoint


class Unprepared:
    """Stands for an evaluator that could not be prepared: every job ends with the reason."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def metrics(self, task: Task) -> tuple[Metric, ...]:
        return ()

    def prepare(self, context: Context) -> None:
        pass

    def evaluate(self, job: Job, on_report: OnReport) -> Result:
        raise self.error


def started(context: Context) -> Evaluator:
    """Return the evaluator of a run, ready for jobs; where that fails, one whose results say why."""
    try:
        if context.plugins:
            from nasforge.plugins import load_carried  # brings all rooms that have tables, of which a worker needs few

            load_carried(context.plugins)
        return prepared(context)
    except Exception as error:
        return Unprepared(error)


def work(evaluator: Evaluator, job: Job, on_report: OnReport) -> Result:
    """Return the result of a job; every failure is one too, and says what it was. A checkpoint that cannot be read is set aside."""
    if job.checkpoint is not None:
        _set_aside(Path(job.checkpoint))
    try:
        return evaluator.evaluate(job, on_report)
    except (EOFError, BrokenPipeError, ConnectionError):  # the driver is gone
        raise
    except Exception as error:  # the worker lives on; the trial gets what happened
        result = Result()
        note(result, error)
        return result


def _set_aside(checkpoint: Path) -> None:
    try:
        read_checkpoint(checkpoint, {}, torch.device("cpu"))
    except UserError as error:
        checkpoint.replace(checkpoint.with_name(f"{checkpoint.name}.broken"))
        print(f"nasforge: {error}; set aside, the training begins anew", file=sys.stderr, flush=True)
