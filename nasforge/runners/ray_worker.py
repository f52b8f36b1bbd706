"""What stands on a node of a Ray cluster: an evaluator that gives the events of one job at a time, as they are asked for."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from nasforge.data import Dataset
from nasforge.evaluation.base import Context, Decision, Job, Report, Result
from nasforge.evaluation.train import examples_file
from nasforge.runners.failures import check_result
from nasforge.runners.worker import started, work


class Events:
    """Evaluates one job at a time in a thread of its own and hands out its events one by one."""

    def __init__(self, context: Context, threads: int, data: Dataset) -> None:
        self.evaluator, self.threads = started(context.with_data(data)), threads
        self.events: SimpleQueue[Any] = SimpleQueue()
        self.answers: SimpleQueue[Decision] = SimpleQueue()

    def ready(self) -> str:
        return "ready"

    def begin(self, job: Job) -> Any:
        """Return the first event of a job: a report, or at its end the result, and what it wrote beside: weights, some answers."""
        threading.Thread(target=self._work, args=(job,), daemon=True).start()
        return self.events.get()

    def resume(self, decision: Decision) -> Any:
        """Return the next event, after the decision on the report before."""
        self.answers.put(decision)
        return self.events.get()

    def _work(self, job: Job) -> None:
        torch.set_num_threads(self.threads)
        with tempfile.TemporaryDirectory(prefix="nasforge-") as scratch:
            weights = Path(scratch) / "weights"
            shared = job.checkpoint is not None and Path(job.checkpoint).parent.parent.is_dir()
            here = replace(job, weights=str(weights) if job.weights else None, checkpoint=job.checkpoint if shared else None)
            result = work(self.evaluator, here, self._on_report)
            self.events.put((result, *(file.read_bytes() if file.exists() else None for file in (weights, examples_file(weights)))))

    def _on_report(self, report: Report) -> Decision:
        self.events.put(report)
        return self.answers.get()


def portable(job: Job) -> Job:
    """The job with paths that do not depend on the folder a worker stands in."""
    return replace(job, weights=_absolute(job.weights), checkpoint=_absolute(job.checkpoint))


def _absolute(path: Any) -> Any:
    return None if path is None else str(Path(path).resolve())


def taken(number: int, job: Job, event: tuple[Result, bytes | None, bytes | None]) -> Result:
    """Return the result of a job, after what was written beside it is put where the job wants it. Raises as `check_result`."""
    result, weights, examples = event
    for content, file in ((weights, job.weights), (examples, job.weights and examples_file(job.weights))):
        if content is not None and file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_bytes(content)
    check_result(number, result)
    return result
