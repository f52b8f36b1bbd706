"""What ends a worker, in words, and which results are no fault of the network."""

from __future__ import annotations

import signal

from nasforge.errors import OtherData, UserError
from nasforge.evaluation.base import Result, Stop


def death(code: int | None, memory: bool) -> Result:
    """Return the result of a job whose process ended. memory: the system has just ended a process for want of memory."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        if name == "SIGKILL" and memory:
            return Result(error="the system ended the worker process: out of memory; use fewer --workers", stopped=Stop.OUT_OF_MEMORY)
        return Result(error=f"the worker process was ended by {name}", stopped=Stop.LOST)
    return Result(error=f"the worker process ended with code {code}", stopped=Stop.LOST)


def hung(seconds: float) -> Result:
    """Return the result of a job that reported nothing for too long."""
    return Result(error=f"the worker was silent for {seconds:.0f} s and was ended; a longer --silence allows more", stopped=Stop.LOST)


def check_result(number: int, result: Result) -> None:
    """Raise UserError where no later job could do better: files cannot be written, or a worker has other data than the run."""
    if result.stopped is Stop.OTHER_DATA:
        raise OtherData(result.error)
    if result.stopped is Stop.DISK_FULL:
        raise UserError(f"trial {number}: its files cannot be written ({result.error}); make room, then give the same command")
