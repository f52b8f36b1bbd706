"""Searches and jobs on a Ray cluster started here."""

from __future__ import annotations

import gc
import socket
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Decision, Job, Report, Result, Stop
from nasforge.networks.build import build
from nasforge.objectives.objective import parse_objectives
from nasforge.runners import Driver
from nasforge.runners.ray_actors import RayRunner
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.files import find_space, read

ray = pytest.importorskip("ray")
# Ray leaves the log files of its processes, and these when it has killed them, to the collector.
LEFTOVERS = ("unclosed", "subprocess .* is still running")
pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(f"ignore:{text}:ResourceWarning") for text in LEFTOVERS)]

ARCH = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 4, "stride": 2}}], "head": [{"pool": {"kind": "avg"}}, "linear"]}
JOB = Job(ARCH, recipe={"epochs": 3})
CONTEXT = Context(source=Source("digits"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of two CPUs that the runners of this file join, and leave as it is."""
    with warnings.catch_warnings():  # a fixture of a module has no marks
        for text in LEFTOVERS:
            warnings.filterwarnings("ignore", text, ResourceWarning)
        owner = RayRunner(CONTEXT, "local", 2, 1)
        for worker in owner._workers:
            ray.kill(worker.actor)  # room for others
        yield
        owner.close()
        gc.collect()
    assert not ray.is_initialized()


@pytest.fixture
def runner(cluster: None) -> Iterator[RayRunner]:
    made = RayRunner(CONTEXT, "local", 2, 1)
    yield made
    made.close()
    assert ray.is_initialized()


def go_on(number: int, report: Report) -> Decision:
    return Decision.CONTINUE


class Listed:
    """A driver with a list of jobs; results by number."""

    def __init__(self, jobs: list[Job], on_report: Callable[[int, Report], Decision]) -> None:
        self.left, self.on_report, self.results = list(enumerate(jobs)), on_report, dict[int, Result]()

    def next_job(self) -> tuple[int, Job] | None:
        return self.left.pop(0) if self.left else None

    def on_end(self, number: int, result: Result) -> None:
        self.results[number] = result


def carry(runner: RayRunner, jobs: list[Job], on_report: Callable[[int, Report], Decision] = go_on) -> dict[int, Result]:
    """The results of jobs by number."""
    driver = Listed(jobs, on_report)
    runner.run(driver)
    return driver.results


def plan() -> Plan:
    """A search of six trials on the digits."""
    return Plan(
        read(find_space("digits")), CONTEXT.source, tuple(parse_objectives("accuracy,-params")), strategy="random", trials=6,
        recipe={"epochs": 2}, final_recipe={"epochs": 1}, finalists=1, final_seeds=1,
    )  # fmt: skip


def test_an_address_where_nobody_listens_is_said_at_once() -> None:
    assert not ray.is_initialized(), "this test comes before those that have a cluster"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: nobody answers"):
            RayRunner(CONTEXT, f"127.0.0.1:{port}", 1)
    with pytest.raises(UserError, match="must be HOST:PORT"):
        RayRunner(CONTEXT, "somewhere", 1)


def test_jobs_report_each_epoch_and_are_stopped_by_the_driver(runner: RayRunner) -> None:
    seen: list[tuple[int, int]] = []

    def on_report(number: int, report: Report) -> Decision:
        seen.append((number, report.epoch))
        return Decision.STOP if number == 1 and report.epoch == 2 else Decision.CONTINUE

    results = carry(runner, [JOB, JOB, JOB], on_report)
    assert {n: [e for m, e in seen if m == n] for n in range(3)} == {0: [1, 2, 3], 1: [1, 2], 2: [1, 2, 3]}
    assert [results[n].stopped for n in range(3)] == [None, Stop.PRUNED, None]
    assert results[0].metrics == results[2].metrics  # the same job gives the same network on any worker


def test_what_fails_is_a_result_and_the_worker_goes_on(runner: RayRunner) -> None:
    broken = Job({**ARCH, "body": [{"conv": {"out": 4, "kernel": 31, "pad": "valid"}}]})
    results = carry(runner, [broken, JOB])
    assert "kernel" in (results[0].error or "")
    assert results[1].error is None


def test_weights_arrive_where_the_driver_wants_them(runner: RayRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the workers stand elsewhere
    files = {"weights": "run/weights/a.safetensors", "checkpoint": "run/checkpoints/a.pt"}
    job = replace(JOB, recipe={"epochs": 1}, test=True, **files)
    (tmp_path / "run").mkdir()
    result = carry(runner, [job])[0]
    assert result.error is None and 0 < result.test["accuracy"] <= 1
    build(ARCH).load_state_dict(load_file(tmp_path / files["weights"]))
    assert (tmp_path / files["checkpoint"]).is_file()


def test_a_killed_actor_fails_its_job_and_is_replaced(runner: RayRunner) -> None:
    killed: list[int] = []

    def on_report(number: int, report: Report) -> Decision:
        if not killed:
            killed.append(number)
            ray.kill(next(w.actor for w in runner._workers if w.job is not None and w.job[0] == number))
        return Decision.CONTINUE

    results = carry(runner, [JOB] * 4, on_report)
    assert sorted(results) == [0, 1, 2, 3]
    assert [n for n, r in results.items() if r.error] == killed
    assert "worker was lost" in (results[killed[0]].error or "")


class Killing(RayRunner):
    """Kills the actor of the third trial, in the middle of its training."""

    def run(self, driver: Driver) -> None:
        def deadly(number: int, report: Report) -> Decision:
            if number == 2 and report.epoch == 1:
                ray.kill(next(w.actor for w in self._workers if w.job is not None and w.job[0] == number))
            return decide(number, report)

        decide, driver.on_report = driver.on_report, deadly  # type: ignore[method-assign]
        super().run(driver)


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "failed"), [(RayRunner, 0), (Killing, 1)])
def test_a_search_on_ray_ends_with_all_its_trials(cluster: None, tmp_path: Path, kind: type[RayRunner], failed: int) -> None:
    summary = search(plan(), tmp_path / "run", lambda: kind(CONTEXT, "local", 2, 1), lambda status: None)
    assert summary["finished"] + summary["pruned"] == 6 - failed
    assert summary["failed"] == failed
    assert summary["best"]["test_mean"] > 0.1  # better than guessing


def test_a_cluster_without_room_is_said(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasforge.runners.ray_actors.START_TIMEOUT_S", 2.0)
    runner = RayRunner(CONTEXT, "local", 1, threads=50)
    with pytest.raises(UserError, match=r"each needs 50 CPUs.*'CPU': 2.0"):
        carry(runner, [JOB])
    runner.close()


class Unreadable(Context):
    """What no worker can read."""

    def __reduce__(self) -> Any:
        return {}.__getitem__, ("nothing",)


def test_workers_that_cannot_start_are_not_tried_for_ever(cluster: None) -> None:
    runner = RayRunner(Unreadable(source=CONTEXT.source), "local", 1)
    with pytest.raises(UserError, match=r"3 workers in a row could not start .*KeyError"):
        carry(runner, [JOB])
    runner.close()
