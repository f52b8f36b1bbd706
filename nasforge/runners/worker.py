"""What a worker does with a job, here or on a node: evaluate it, whatever happens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from nasforge.errors import UserError
from nasforge.evaluation.base import Job, OnEpoch, Result
from nasforge.train.checkpoint import read_checkpoint

NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "MemoryError", "bad_alloc")


def work(evaluate: Callable[[Job, OnEpoch], Result], job: Job, on_epoch: OnEpoch) -> Result:
    """The result of a job; every failure is one too, and says what it was. A checkpoint that cannot be read is set aside."""
    if job.checkpoint is not None:
        _set_aside(Path(job.checkpoint))
    try:
        result = evaluate(job, on_epoch)
    except (EOFError, BrokenPipeError, ConnectionError):  # the driver is gone
        raise
    except Exception as error:  # the worker goes on; the trial is told what happened
        result = Result(error=f"{type(error).__name__}: {error}")
    if result.error and any(words in result.error for words in NO_MEMORY):
        result.stopped = "out of memory"
    return result


def _set_aside(checkpoint: Path) -> None:
    try:
        read_checkpoint(checkpoint, {}, torch.device("cpu"))
    except UserError as error:
        checkpoint.replace(checkpoint.with_name(f"{checkpoint.name}.broken"))
        print(f"nasforge: {error}; set aside, the training begins anew", file=sys.stderr, flush=True)
