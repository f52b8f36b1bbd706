"""Worker processes that misbehave, for tests; each is what `LocalRunner(serve=...)` runs."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from nasforge.evaluation import EVALUATORS
from nasforge.evaluation.base import Context, Decision, Job, OnReport, Report, Result
from nasforge.evaluation.train import Train
from nasforge.runners.local import serve_jobs
from nasforge.train import fit

ONCE = "NASFORGE_TEST_ONCE"  # names a folder: what happens once leaves a file there


def _first(what: str) -> bool:
    """Whether this happens for the first time in the test."""
    try:
        (Path(os.environ[ONCE]) / what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _serve_with(change: Any, pipe: Any, context: Context, threads: int, gpu: str | None) -> None:
    fit.__kwdefaults__["checkpoint_every_s"] = 0.0  # a checkpoint after every epoch

    class Changed(Train):
        def evaluate(self, job: Job, on_report: OnReport) -> Result:
            return super().evaluate(job, change(job, on_report))

    EVALUATORS[context.evaluator] = Changed
    serve_jobs(pipe, context, threads, gpu)


def killed(pipe: Any, context: Context, threads: int, gpu: str | None) -> None:
    """Killed as the third epoch of its first training ends, once in a test."""

    def change(job: Job, on_report: OnReport) -> OnReport:
        def deadly(report: Report) -> Decision:
            if report.epoch == 3 and _first("killed"):
                os.kill(os.getpid(), signal.SIGKILL)
            return on_report(report)

        return deadly

    _serve_with(change, pipe, context, threads, gpu)


def deadly_network(pipe: Any, context: Context, threads: int, gpu: str | None) -> None:
    """Killed by every network with a first kernel of 5."""

    def change(job: Job, on_report: OnReport) -> OnReport:
        if job.arch["body"][0]["conv"]["kernel"] == 5 and not job.test:
            os.kill(os.getpid(), signal.SIGKILL)
        return on_report

    _serve_with(change, pipe, context, threads, gpu)


def hanging(pipe: Any, context: Context, threads: int, gpu: str | None) -> None:
    """Hangs in the second epoch, once in a test."""

    def change(job: Job, on_report: OnReport) -> OnReport:
        def hang(report: Report) -> Decision:
            if report.epoch == 2 and _first("hung"):
                time.sleep(3600)
            return on_report(report)

        return hang

    _serve_with(change, pipe, context, threads, gpu)


def no_room(pipe: Any, context: Context, threads: int, gpu: str | None) -> None:
    """Cannot write more than a KiB to a file, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    _serve_with(lambda job, on_report: on_report, pipe, context, threads, gpu)


def eager(pipe: Any, context: Context, threads: int, gpu: str | None) -> None:
    """Behaves, and writes a checkpoint after every epoch."""
    _serve_with(lambda job, on_report: on_report, pipe, context, threads, gpu)


def stillborn(pipe: Any, context: Context, threads: int, gpu: str | None) -> None:
    """Ends before it is ready."""
    os._exit(7)
