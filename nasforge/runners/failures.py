"""What ends a worker, in words, and which results are no fault of the network."""

from __future__ import annotations

import signal

from nasforge.errors import UserError
from nasforge.evaluation.base import Result

FULL_DISK = (
    "No space left on device",
    "File too large",
    "quota exceeded",
    "Disk quota",
    "failed writing file",
    "inline_container",
)  # the last two: of torch.save


def death(code: int | None, memory: bool) -> Result:
    """The result of a job whose process ended. memory: the system has just ended a process for want of memory."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        if name == "SIGKILL" and memory:
            return Result(error="the system ended the worker process: out of memory; use fewer --workers", stopped="out of memory")
        return Result(error=f"the worker process was ended by {name}", lost=True)
    return Result(error=f"the worker process ended with code {code}", lost=True)


def hung(seconds: float) -> Result:
    """The result of a job that told nothing for too long."""
    return Result(error=f"the worker was silent for {seconds:.0f} s and was ended; a longer --silence allows more", lost=True)


def check_disk(number: int, result: Result) -> None:
    """Raises UserError for a result that only says that the disk is full: no later job could do better."""
    if result.error and any(words in result.error for words in FULL_DISK):
        raise UserError(f"trial {number}: its files cannot be written ({result.error}); make room, then give the same command")
