"""Local worker processes. Each is started once, evaluates one job at a time on its own thread(s), and may die without harm."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Decision, Job, Report, Result
from nasforge.runners.base import Driver
from nasforge.runners.failures import check_result, death, hung
from nasforge.runners.memory import free_bytes, kills_for_memory, predicted_bytes
from nasforge.runners.worker import started, work

READY = "ready"
SILENCE_S = 7200.0  # without an epoch, a worker is taken for hung
START_S = 600.0  # that a worker may take to import torch on a machine that is busy
MOST_FAILED_STARTS = 3  # in a row


@dataclass
class _Worker:
    """A process and what it works on. since: when it last spoke, or was given its job; kills: `kills_for_memory` at that time."""

    process: Any
    pipe: Connection
    ready: bool = False
    number: int | None = None
    job: Job | None = None
    bytes: float = 0.0
    since: float = field(default_factory=time.monotonic)
    kills: int = 0


class LocalRunner:
    """N worker processes on this machine, `threads` torch threads each.

    On the device `cuda` the workers are spread over the GPUs, so that small networks share one.

    Args:
        memory_bytes: of all running jobs together, by prediction; a job that would take more waits until others have ended.
        silence_s: a worker that reports nothing for longer is ended.
        serve: what a worker process runs, in place of `serve_jobs`.
    """

    def __init__(
        self, context: Context, workers: int = 1, threads: int | None = None, memory_bytes: float | None = None,
        silence_s: float = SILENCE_S, serve: Callable[..., None] | None = None,
    ) -> None:  # fmt: skip
        if workers < 1:
            raise UserError(f"--workers: must be at least 1, got {workers}")
        self.context, self.silence_s = context, silence_s
        self.threads = threads or usual_threads(workers)
        self.memory_bytes = free_bytes(context.device) if memory_bytes is None else memory_bytes
        self._gpus = _gpus() if context.device == "cuda" else []
        self._failed_starts, self._serve = 0, serve or serve_jobs
        self._held: tuple[int, Job] | None = None  # waits for memory
        self._workers = [self._start(place) for place in range(workers)]

    def _start(self, place: int) -> _Worker:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        gpu = self._gpus[place % len(self._gpus)] if self._gpus else None
        process = spawn.Process(target=self._serve, args=(theirs, self.context, self.threads, gpu), daemon=True)
        with _main_not_run_again(self.context):
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def run(self, driver: Driver) -> None:
        while True:
            while self.free() and (job := self._held or driver.next_job()) is not None:
                self._held = None if self._fits(job[1]) else job
                if self._held:
                    break
                self.submit(*job)
            if not self.busy():
                return
            for number, event in self.events():
                if isinstance(event, Report):
                    self.answer(number, driver.on_report(number, event))
                else:
                    check_result(number, event)
                    driver.on_end(number, event)

    def free(self) -> bool:
        return any(w.job is None for w in self._workers)

    def busy(self) -> bool:
        return any(w.job is not None for w in self._workers)

    def _fits(self, job: Job) -> bool:
        """Whether the memory is enough for one more job; the first one always starts."""
        return not self.busy() or self._bytes(job) + sum(w.bytes for w in self._workers) <= self.memory_bytes

    def _bytes(self, job: Job) -> float:
        if len(self._workers) == 1:  # it is never beside another
            return 0.0
        try:
            return predicted_bytes(job, self.context, self.memory_bytes / len(self._workers))
        except UserError:  # it cannot be built or has no recipe: its worker will say so
            return 0.0

    def submit(self, number: int, job: Job) -> None:
        place = next(i for i, w in enumerate(self._workers) if w.job is None)
        try:
            self._workers[place].pipe.send(job)
        except OSError:  # it died while it had nothing to do
            self._replace(place)
            self._workers[place].pipe.send(job)
        worker = self._workers[place]
        worker.number, worker.job, worker.bytes = number, job, self._bytes(job)
        worker.since, worker.kills = time.monotonic(), kills_for_memory()

    def _replace(self, place: int) -> None:
        """A new worker for one that died or is to die."""
        self._workers[place].process.kill()
        self._workers[place].process.join()
        self._workers[place].pipe.close()
        self._workers[place] = self._start(place)

    def answer(self, number: int, decision: Decision) -> None:
        for worker in self._workers:
            if worker.number == number:
                worker.since = time.monotonic()
                with contextlib.suppress(OSError):
                    worker.pipe.send(decision)

    def events(self, timeout_s: float = 0.5) -> Iterator[tuple[int, Report | Result]]:
        """Yield (job, what its worker says), as it comes; a worker that died or hangs ends its job with an error."""
        ready = wait([w.pipe for w in self._workers if w.job is not None], timeout_s)
        for place, worker in enumerate(self._workers):
            if worker.number is None:
                continue
            number, event = worker.number, None
            if worker.pipe in ready:
                event = self._received(place, worker)
            elif time.monotonic() - worker.since > (limit := self.silence_s if worker.ready else max(self.silence_s, START_S)):
                self._replace(place)
                event = hung(limit)
            if isinstance(event, Result):
                worker.number = worker.job = None
                worker.bytes = 0.0
            if event is not None:
                yield number, event

    def _received(self, place: int, worker: _Worker) -> Report | Result | None:
        """What a worker says, or what is said of one that died; None where there is nothing to pass on."""
        try:
            event = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(5)
            return self._died(place, worker)
        worker.since = time.monotonic()
        if isinstance(event, Report | Result):
            return event
        worker.ready, self._failed_starts = True, 0
        return None

    def _died(self, place: int, worker: _Worker) -> Result | None:
        code, number, job = worker.process.exitcode, worker.number, worker.job
        self._replace(place)
        if worker.ready:
            return death(code, kills_for_memory() > worker.kills)
        self._failed_starts += 1
        if self._failed_starts >= MOST_FAILED_STARTS:
            raise UserError(
                f"--workers: {self._failed_starts} worker processes in a row could not start (the last one ended with code {code}); "
                "what they said stands above"
            )
        assert number is not None and job is not None
        self._workers[place].number, self._workers[place].job = number, job
        self._workers[place].pipe.send(job)  # it was not begun
        return None

    def close(self) -> None:
        """End all workers, at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()


def usual_threads(workers: int) -> int:
    """Return how many threads of torch each of so many workers has."""
    cores = os.cpu_count() or 1
    return cores if workers == 1 and cores > 8 else 1


@contextlib.contextmanager
def _main_not_run_again(context: Context) -> Iterator[None]:
    """Start processes that do not import the program's main file, so that a script needs no `if __name__ == "__main__"`.

    Unless the data are of a class that is defined there.
    """
    main = sys.modules["__main__"]
    own = type(context.dataset).__module__ == "__main__"
    hidden = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main) and not own}
    try:
        for name in hidden:
            setattr(main, name, None)
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


def _gpus() -> list[str]:
    """The names of the GPUs that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]


def _end_with_driver() -> None:
    """End this process when the driver is gone: in a long epoch it would not notice."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


def serve_jobs(pipe: Connection, context: Context, threads: int, gpu: str | None) -> None:
    """Live as a worker: jobs come in, reports and results go out, until the driver is gone. The first word says that it is ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
    threading.Thread(target=_end_with_driver, name="end with the driver", daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA is first used
    torch.set_num_threads(threads)

    def on_report(report: Report) -> Decision:
        pipe.send(report)
        return pipe.recv()

    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        pipe.send(READY)
        evaluator = None
        while True:
            job = pipe.recv()
            evaluator = evaluator or started(context)
            pipe.send(work(evaluator, job, on_report))
    sys.exit(0)
