"""Local workers: memory, silence, starts that fail, full disks; without whole searches."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nasforge.errors import UserError
from nasforge.evaluation.base import DataSpec, Job, Result
from nasforge.runners.failures import check_disk, death
from nasforge.runners.local import LocalRunner
from nasforge.runners.memory import free_bytes, predicted_bytes
from nasforge.runners.worker import work

ARCH = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 8}}], "head": ["gap_head"]}
JOB = Job(ARCH, DataSpec("digits", limit=100))


def wide(out: int) -> Job:
    return Job({**ARCH, "body": [{"conv": {"out": out}}]}, JOB.data)


def echo(pipe: Any, evaluator: str, threads: int, gpu: str | None) -> None:
    """A worker that tells how long it took to get a job, in epochs of no time; a width of 1 hangs, one of 2 ends the process."""
    pipe.send(("ready", None))
    while True:
        job = pipe.recv()
        out = job.arch["body"][0]["conv"]["out"]
        if out == 2:
            os._exit(3)
        time.sleep(60 if out == 1 else 0.3)
        pipe.send(("end", Result({"at": time.monotonic()})))


def stillborn(pipe: Any, evaluator: str, threads: int, gpu: str | None) -> None:
    os._exit(7)


def carry(runner: LocalRunner, jobs: list[Job]) -> dict[int, Result]:
    left, results = list(enumerate(jobs)), dict[int, Result]()
    try:
        runner.run(lambda: left.pop(0) if left else None, lambda number, row: False, results.__setitem__)
    finally:
        runner.close()
    return results


def test_predicted_bytes_are_exact_where_they_matter_and_free_where_not() -> None:
    exact = predicted_bytes(JOB)
    assert 5 * 4 * 178 < exact < predicted_bytes(wide(64)) < predicted_bytes(wide(512))
    assert predicted_bytes(JOB, enough=1e12) <= 1e12  # told from a rough bound alone
    assert predicted_bytes(JOB, enough=1.0) == exact
    assert free_bytes("cpu") > 0


@pytest.mark.slow  # starts several processes
def test_jobs_that_do_not_fit_beside_each_other_run_one_after_the_other() -> None:
    alone = predicted_bytes(wide(256))
    results = carry(LocalRunner(2, serve=echo, memory_bytes=1.5 * alone), [wide(256)] * 3)
    ends = sorted(r.metrics["at"] for r in results.values())
    assert len(ends) == 3 and all(b - a > 0.25 for a, b in pairwise(ends))


@pytest.mark.slow  # starts several processes
def test_a_job_that_fits_nowhere_still_runs_alone() -> None:
    assert len(carry(LocalRunner(2, serve=echo, memory_bytes=1.0), [wide(64)] * 2)) == 2


def test_silent_and_dead_workers_end_their_jobs_and_others_go_on() -> None:
    results = carry(LocalRunner(2, serve=echo, silence_s=3.0), [wide(1), wide(2), wide(8), wide(8)])
    assert "silent for 3 s" in (results[0].error or "") and results[0].lost
    assert "ended with code 3" in (results[1].error or "") and results[1].lost
    assert results[2].error is None and results[3].error is None


@pytest.mark.slow  # starts several processes
def test_workers_that_cannot_start_are_not_tried_for_ever() -> None:
    with pytest.raises(UserError, match=r"3 worker processes in a row could not start .*code 7"):
        carry(LocalRunner(1, serve=stillborn), [JOB])


def test_the_system_ending_a_worker_for_want_of_memory_is_not_its_death() -> None:
    assert death(-9, memory=True).stopped == "out of memory" and not death(-9, memory=True).lost
    assert death(-9, memory=False).lost and "SIGKILL" in (death(-9, memory=False).error or "")


def test_a_full_disk_is_no_fault_of_the_network() -> None:
    check_disk(3, Result(error="RuntimeError: shapes do not fit"))
    with pytest.raises(UserError, match=r"trial 3: its files cannot be written .*make room"):
        check_disk(3, Result(error="OSError: [Errno 28] No space left on device"))


def test_work_names_what_happened_and_sets_broken_checkpoints_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def breaks(job: Job, on_epoch: Any) -> Result:
        raise KeyError("something")

    def no_memory(job: Job, on_epoch: Any) -> Result:
        return Result(error="RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 360 bytes")

    checkpoint = tmp_path / "a.pt"
    checkpoint.write_bytes(b"nonsense")
    job = Job(ARCH, JOB.data, checkpoint=str(checkpoint))
    assert work(breaks, job, lambda epoch, row: False).error == "KeyError: 'something'"
    assert not checkpoint.exists() and (tmp_path / "a.pt.broken").exists() and "begins anew" in capsys.readouterr().err
    assert work(no_memory, job, lambda epoch, row: False).stopped == "out of memory"
