"""Workers on a Ray cluster, one here or one that is running already. The only file that imports Ray.

Plain actors, not Ray Tune: in a search Optuna owns the trials, decides what is asked and what is stopped, and stores it, so of Tune only
the placing of processes would be left, and that is Ray's core. What Tune would add (its own trial table, snapshots on disk, a fresh set
of actors for each of search, control and finals, its own handling of Ctrl-C) would have to be kept in step with the study.

The driver asks an actor for one event after the other: `begin(job)` answers with the first report, `resume(decision)` with the next one
or the result. So epochs are judged by the driver, which alone sees all trials, and a lost actor or node is an error of that one call.

Nodes that join need the same nasforge and torch. The data set is put into the object store once. Weights travel as bytes; a checkpoint is
kept where the node sees the run folder of the driver, and left out elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from nasforge.data import Dataset
from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Decision, Job, Report, Result, Stop
from nasforge.evaluation.train import examples_file
from nasforge.runners.base import Driver
from nasforge.runners.failures import check_result, hung
from nasforge.runners.local import SILENCE_S
from nasforge.runners.worker import started, work

CONNECT_TIMEOUT_S = 5.0
START_TIMEOUT_S = 600.0  # an autoscaling cluster may need minutes for its first node
MOST_FAILED_STARTS = 3
OBJECT_STORE_BYTES = 256 * 2**20  # of a cluster started here: only jobs, rows and weights pass through it


@dataclass
class _Worker:
    """One actor, its unanswered call (none: it is idle) and the job it works on."""

    actor: Any
    call: Any
    job: tuple[int, Job] | None = None
    since: float = field(default_factory=time.monotonic)  # when it was asked


class RayRunner:
    """`workers` actors with `threads` CPUs (and `gpus` GPUs) each.

    address: `local` starts a cluster on this machine and ends it with the runner; otherwise HOST:PORT, ray://HOST:PORT or auto. In a
    process that has joined a cluster already, that one is used and stays.
    Raises UserError where Ray is not installed or the cluster cannot be reached.
    """

    def __init__(
        self, context: Context, address: str = "local", workers: int = 1, threads: int | None = None, gpus: float = 0.0,
        silence_s: float = SILENCE_S,
    ) -> None:  # fmt: skip
        if workers < 1:
            raise UserError(f"--workers: must be at least 1, got {workers}")
        self.context, self.threads, self.gpus, self.silence_s = replace(context, dataset=None), threads or 1, gpus, silence_s
        self._ray = _import_ray()
        self._owner = not self._ray.is_initialized()
        if self._owner:
            _connect(self._ray, address, workers * self.threads)
        self._data = self._ray.put(context.load())  # once, whatever the number of workers and trials
        self._make = self._ray.remote(num_cpus=self.threads, num_gpus=gpus, max_restarts=0)(_Actor)
        self._failed_starts, self._waiting_since = 0, time.monotonic()
        self._workers = [self._start() for _ in range(workers)]

    def _start(self) -> _Worker:
        actor = self._make.remote(self.context, self.threads, self._data)
        return _Worker(actor, actor.ready.remote())

    def run(self, driver: Driver) -> None:
        self._waiting_since = time.monotonic()
        while self._hand_out(driver) or any(w.job for w in self._workers):
            for place, worker in self._answered():
                try:
                    event = self._ray.get(worker.call)
                except self._ray.exceptions.RayError as error:
                    self._replace(place, error, driver)
                    continue
                self._take(worker, event, driver)
            for place, worker in enumerate(self._workers):
                if worker.job and time.monotonic() - worker.since > self.silence_s:
                    self._replace(place, TimeoutError(hung(self.silence_s).error), driver)

    def _hand_out(self, driver: Driver) -> bool:
        """Give every idle worker a job; false where there are no more."""
        for worker in self._workers:
            if worker.call is None:
                worker.job = driver.next_job()
                if worker.job is None:
                    return False
                worker.call, worker.since = worker.actor.begin.remote(_portable(worker.job[1])), time.monotonic()
        return True

    def _answered(self) -> Iterator[tuple[int, _Worker]]:
        """The workers whose call has an answer. Raises UserError where for long not one worker could start."""
        calls = [w.call for w in self._workers if w.call is not None]
        done, _ = self._ray.wait(calls, num_returns=1, timeout=1.0)
        if not done and len(calls) == len(self._workers) and not any(w.job for w in self._workers):
            self._check_patience()
        for place, worker in enumerate(self._workers):
            if worker.call in done:
                yield place, worker

    def _take(self, worker: _Worker, event: Any, driver: Driver) -> None:
        if worker.job is None:  # it has just started
            worker.call, self._failed_starts = None, 0
        elif isinstance(event, Report):
            decision = driver.on_report(worker.job[0], event)
            worker.call, worker.since = worker.actor.resume.remote(decision), time.monotonic()
        else:
            (number, job), worker.job, worker.call = worker.job, None, None
            result, weights, examples = event
            for content, file in ((weights, job.weights), (examples, job.weights and examples_file(job.weights))):
                if content is not None and file:
                    Path(file).parent.mkdir(parents=True, exist_ok=True)
                    Path(file).write_bytes(content)
            check_result(number, result)
            driver.on_end(number, result)

    def _replace(self, place: int, error: Exception, driver: Driver) -> None:
        """A new worker for one that was lost; its job ends with an error. Raises UserError where workers cannot start at all."""
        lost = self._workers[place]
        if lost.job is None:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise UserError(f"--ray: {self._failed_starts} workers in a row could not start ({_reason(error)}); "
                                "install the same nasforge and torch on all nodes")  # fmt: skip
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(lost.actor)  # a node that is only cut off must not go on with it
        self._workers[place] = self._start()
        if lost.job is not None:
            driver.on_end(lost.job[0], Result(error=f"the Ray worker was lost: {_reason(error)}", stopped=Stop.LOST))

    def _check_patience(self) -> None:
        waited = time.monotonic() - self._waiting_since
        if waited > START_TIMEOUT_S:
            have = {k: v for k, v in self._ray.cluster_resources().items() if k in ("CPU", "GPU")}
            raise UserError(f"--ray: no worker could be placed for {waited:.0f} s; each needs {self.threads} CPUs and {self.gpus:g} GPUs, "
                            f"the cluster has {have}; lower --threads or free the cluster")  # fmt: skip

    def close(self) -> None:
        """End all workers, at once, and the cluster if it was started here."""
        for worker in self._workers:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(worker.actor)
        self._workers = []
        if self._owner:
            self._ray.shutdown()


# ---------------------------------------------------------------- on the node


class _Actor:
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


# ---------------------------------------------------------------- the cluster


def _import_ray() -> Any:
    """The Ray package, imported after its switches are set: it reads them only then."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to Ray's makers
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # its notes on dead workers would go to stdout; they come as errors of jobs
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # as later versions do; without it, a warning
    try:
        import ray
    except ImportError:
        raise UserError("--ray: needs Ray, which is not installed; pip install 'nasforge[ray]'") from None
    return ray


def _connect(ray: Any, address: str, cpus: int) -> None:
    """Join the cluster, or start one: without a dashboard, its ports guarded by a token (Ray's default since 2.59)."""
    wanted: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    failure, hint = "joined there", "start one with `ray start --head`, or give no address to start one here"
    if address == "local":
        wanted |= {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        failure, hint = "started here", "is there memory and disk for one? its logs lie in the folder `ray` of the temporary folder"
    elif address != "auto":
        _check_reachable(address)
    told_to_end = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, **wanted)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise UserError(f"--ray {address}: no cluster can be {failure} ({_reason(error)}); {hint}") from None
    finally:
        if threading.current_thread() is threading.main_thread():  # Ray has its own answer, which writes nothing down
            signal.signal(signal.SIGTERM, told_to_end)


def _check_reachable(address: str) -> None:
    """Raises UserError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"--ray {address}: must be HOST:PORT, ray://HOST:PORT, auto, or nothing for a cluster here")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray {address}: nobody answers there ({error}); is the cluster up, and the port open?") from None


def _portable(job: Job) -> Job:
    """The job with paths that do not depend on the folder a worker stands in."""
    return replace(job, weights=_absolute(job.weights), checkpoint=_absolute(job.checkpoint))


def _absolute(path: Any) -> Any:
    return None if path is None else str(Path(path).resolve())


def _reason(error: Exception) -> str:
    """The telling line of Ray's long messages: why an actor is dead, the last line of a traceback, or the first one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    dead = [line for line in lines if line.startswith("The actor is dead because")]
    traced = len(lines) > 1 and "error raised in its creation task" in lines[0]
    return (dead or (lines[-1:] if traced else lines))[0][:300]
