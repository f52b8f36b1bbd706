"""Local worker processes. Each is started once, evaluates one job at a time on its own thread(s), and may die without harm."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from nasforge.evaluate import EVALUATORS, Job, Result

OnEpoch = Callable[[int, dict[str, float]], bool]
OnEnd = Callable[[int, Result], None]
NextJob = Callable[[], tuple[int, Job] | None]


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: int | None = None


class LocalRunner:
    """N worker processes on this machine, `threads` torch threads each."""

    def __init__(self, workers: int = 1, threads: int | None = None, evaluator: str = "train") -> None:
        cores = os.cpu_count() or 1
        self.evaluator = evaluator
        self.threads = threads or max(1, cores // workers if workers == 1 and cores > 8 else 1)
        self._workers = [self._start() for _ in range(workers)]

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.evaluator, self.threads), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def run(self, next_job: NextJob, on_epoch: OnEpoch, on_end: OnEnd) -> None:
        """Work until `next_job` gives None and all jobs have ended; `on_epoch` true stops that job."""
        while True:
            while self.free() and (job := next_job()) is not None:
                self.submit(*job)
            if not self.busy():
                return
            for number, kind, payload in self.events():
                if kind == "epoch":
                    self.answer(number, on_epoch(number, payload))
                else:
                    on_end(number, payload)

    def free(self) -> bool:
        return any(w.job is None for w in self._workers)

    def busy(self) -> bool:
        return any(w.job is not None for w in self._workers)

    def submit(self, number: int, job: Job) -> None:
        place = next(i for i, w in enumerate(self._workers) if w.job is None)
        try:
            self._workers[place].pipe.send(job)
        except OSError:  # it died while it had nothing to do
            self._replace(place)
            self._workers[place].pipe.send(job)
        self._workers[place].job = number

    def _replace(self, place: int) -> None:
        """A new worker for one that died."""
        self._workers[place].process.kill()
        self._workers[place].pipe.close()
        self._workers[place] = self._start()

    def answer(self, number: int, stop: bool) -> None:
        for worker in self._workers:
            if worker.job == number:
                with contextlib.suppress(OSError):
                    worker.pipe.send(stop)

    def events(self, timeout_s: float = 0.5) -> Iterator[tuple[int, str, Any]]:
        """(job, 'epoch', row) or (job, 'end', result), as they come; a worker that died ends its job with an error."""
        ready = wait([w.pipe for w in self._workers if w.job is not None], timeout_s)
        for place, worker in enumerate(self._workers):
            if worker.pipe not in ready or worker.job is None:
                continue
            number = worker.job
            try:
                kind, payload = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join(5)
                kind, payload = "end", Result(error=_death(worker.process.exitcode), lost=True)
                self._replace(place)
            if kind == "end":
                worker.job = None
            yield number, kind, payload

    def close(self) -> None:
        """End all workers, at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "; the system may have run out of memory: use fewer --workers or limit peak_bytes" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended with code {code}"


def _serve(pipe: Connection, evaluator: str, threads: int) -> None:
    """The life of a worker: jobs in, epochs and results out, until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
    torch.set_num_threads(threads)
    evaluate = EVALUATORS[evaluator]

    def on_epoch(epoch: int, row: dict[str, float]) -> bool:
        pipe.send(("epoch", {**row, "epoch": epoch}))
        return bool(pipe.recv())

    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            pipe.send(("end", evaluate(pipe.recv(), on_epoch)))
    sys.exit(0)
