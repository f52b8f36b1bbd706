"""Local workers: memory, silence, starts that fail, full disks; without whole searches."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support import going_on

from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Decision, Job, OnReport, Report, Result, Stop
from nasforge.objectives.metrics import Metric
from nasforge.runners.failures import check_result, death
from nasforge.runners.local import READY, LocalRunner
from nasforge.runners.memory import free_bytes, predicted_bytes
from nasforge.runners.worker import started, work
from nasforge.tasks import Task

ARCH = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 8}}], "head": ["gap_head"]}
JOB = Job(ARCH)
CONTEXT = Context(source=Source("digits", limit=100))


def wide(out: int) -> Job:
    return Job({**ARCH, "body": [{"conv": {"out": out}}]})


def echo(pipe: Any, context: Context, threads: int, gpu: str | None) -> None:
    """A worker that tells how long it took to get a job, in epochs of no time; a width of 1 hangs, one of 2 ends the process."""
    pipe.send(READY)
    while True:
        job = pipe.recv()
        out = job.arch["body"][0]["conv"]["out"]
        if out == 2:
            os._exit(3)
        time.sleep(60 if out == 1 else 0.3)
        pipe.send(Result({"at": time.monotonic()}))


def stillborn(pipe: Any, context: Context, threads: int, gpu: str | None) -> None:
    os._exit(7)


class Listed:
    """A driver with a list of jobs, which stops none; results by number."""

    def __init__(self, jobs: list[Job]) -> None:
        self.left, self.results = list(enumerate(jobs)), dict[int, Result]()

    def next_job(self) -> tuple[int, Job] | None:
        return self.left.pop(0) if self.left else None

    def on_report(self, number: int, report: Report) -> Decision:
        return Decision.CONTINUE

    def on_end(self, number: int, result: Result) -> None:
        self.results[number] = result


def carry(runner: LocalRunner, jobs: list[Job]) -> dict[int, Result]:
    driver = Listed(jobs)
    try:
        runner.run(driver)
    finally:
        runner.close()
    return driver.results


def test_predicted_bytes_are_exact_where_they_matter_and_free_where_not() -> None:
    exact = predicted_bytes(JOB, CONTEXT)
    assert 5 * 4 * 178 < exact < predicted_bytes(wide(64), CONTEXT) < predicted_bytes(wide(512), CONTEXT)
    assert predicted_bytes(JOB, CONTEXT, enough=1e12) <= 1e12  # told from a rough bound alone
    assert predicted_bytes(JOB, CONTEXT, enough=1.0) == exact
    assert free_bytes("cpu") > 0


@pytest.mark.slow  # starts several processes
def test_jobs_that_do_not_fit_beside_each_other_run_one_after_the_other() -> None:
    alone = predicted_bytes(wide(256), CONTEXT)
    results = carry(LocalRunner(CONTEXT, 2, serve=echo, memory_bytes=1.5 * alone), [wide(256)] * 3)
    ends = sorted(r.metrics["at"] for r in results.values())
    assert len(ends) == 3 and all(b - a > 0.25 for a, b in pairwise(ends))


@pytest.mark.slow  # starts several processes
def test_a_job_that_fits_nowhere_still_runs_alone() -> None:
    assert len(carry(LocalRunner(CONTEXT, 2, serve=echo, memory_bytes=1.0), [wide(64)] * 2)) == 2


@pytest.mark.slow
def test_silent_and_dead_workers_end_their_jobs_and_others_go_on() -> None:
    results = carry(LocalRunner(CONTEXT, 2, serve=echo, silence_s=3.0), [wide(1), wide(2), wide(8), wide(8)])
    assert "silent for 3 s" in (results[0].error or "") and results[0].stopped is Stop.LOST
    assert "ended with code 3" in (results[1].error or "") and results[1].stopped is Stop.LOST
    assert results[2].error is None and results[3].error is None


@pytest.mark.slow  # starts several processes
def test_workers_that_cannot_start_are_not_tried_for_ever() -> None:
    with pytest.raises(UserError, match=r"3 worker processes in a row could not start .*code 7"):
        carry(LocalRunner(CONTEXT, 1, serve=stillborn), [JOB])


def test_the_system_ending_a_worker_for_want_of_memory_is_not_its_death() -> None:
    assert death(-9, memory=True).stopped is Stop.OUT_OF_MEMORY
    assert death(-9, memory=False).stopped is Stop.LOST and "SIGKILL" in (death(-9, memory=False).error or "")


def test_a_full_disk_is_no_fault_of_the_network() -> None:
    check_result(3, Result(error="RuntimeError: shapes do not fit"))
    full = work(Raising(OSError(errno.ENOSPC, "No space left on device")), JOB, going_on)
    assert full.stopped is Stop.DISK_FULL
    with pytest.raises(UserError, match=r"trial 3: its files cannot be written .*No space left on device.*make room"):
        check_result(3, full)


class Raising:
    """An evaluator that fails alike each time."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def metrics(self, task: Task) -> tuple[Metric, ...]:
        return ()

    def prepare(self, context: Context) -> None:
        pass

    def evaluate(self, job: Job, on_report: OnReport) -> Result:
        raise self.error


def test_work_names_what_happened_and_sets_broken_checkpoints_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = tmp_path / "a.pt"
    checkpoint.write_bytes(b"nonsense")
    job = replace(JOB, checkpoint=str(checkpoint))
    assert work(Raising(KeyError("something")), job, going_on).error == "KeyError: 'something'"
    assert not checkpoint.exists() and (tmp_path / "a.pt.broken").exists() and "begins anew" in capsys.readouterr().err
    no_memory = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 360 bytes")
    assert work(Raising(no_memory), job, going_on).stopped is Stop.OUT_OF_MEMORY


def test_an_evaluator_that_cannot_be_prepared_is_the_error_of_each_job() -> None:
    lacks_table = started(Context("table", CONTEXT.source))
    for _ in range(2):
        assert "needs a table" in (work(lacks_table, JOB, going_on).error or "")


def test_the_driver_being_gone_is_not_a_result() -> None:
    with pytest.raises(BrokenPipeError):
        work(Raising(BrokenPipeError()), JOB, going_on)
