"""Workers on a Ray cluster, one here or one that is running already: plain actors, the default there; `ray_tune` has Ray Tune place them.

In a search the study owns the trials, decides what is asked and what is stopped, and stores it, so of Tune only the placing of processes
and its schedulers are left. Plain actors need neither its trial table nor its snapshots, and a trial costs a tenth of the time.

The driver asks an actor for one event after the other: `begin(job)` answers with the first report, `resume(decision)` with the next one
or the result. So epochs are judged by the driver, which alone sees all trials, and a lost actor or node is an error of that one call.

Nodes that join need the same nasforge and torch. The data set is put into the object store once. Weights travel as bytes; a checkpoint is
kept where the node sees the run folder of the driver, and left out elsewhere.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Job, Report, Result, Stop
from nasforge.runners.base import Driver
from nasforge.runners.failures import hung
from nasforge.runners.local import SILENCE_S
from nasforge.runners.ray_cluster import connect, import_ray, reason
from nasforge.runners.ray_worker import Events, portable, taken

START_TIMEOUT_S = 600.0  # an autoscaling cluster may need minutes for its first node
MOST_FAILED_STARTS = 3


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
        self._ray = import_ray()
        self._owner = not self._ray.is_initialized()
        if self._owner:
            connect(self._ray, address, workers * self.threads)
        self._data = self._ray.put(context.load())  # once, whatever the number of workers and trials
        self._make = self._ray.remote(num_cpus=self.threads, num_gpus=gpus, max_restarts=0)(Events)
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
                worker.call, worker.since = worker.actor.begin.remote(portable(worker.job[1])), time.monotonic()
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
            driver.on_end(number, taken(number, job, event))

    def _replace(self, place: int, error: Exception, driver: Driver) -> None:
        """A new worker for one that was lost; its job ends with an error. Raises UserError where workers cannot start at all."""
        lost = self._workers[place]
        if lost.job is None:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise UserError(f"--ray: {self._failed_starts} workers in a row could not start ({reason(error)}); "
                                "install the same nasforge and torch on all nodes")  # fmt: skip
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(lost.actor)  # a node that is only cut off must not go on with it
        self._workers[place] = self._start()
        if lost.job is not None:
            driver.on_end(lost.job[0], Result(error=f"the Ray worker was lost: {reason(error)}", stopped=Stop.LOST))

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
