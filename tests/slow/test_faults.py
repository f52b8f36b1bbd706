"""The fault campaign: real searches in real processes, broken in every way we could think of.

After each fault: no finished trial is lost or changed, no network is trained twice, the study ends with the asked number of trials, and
what is said names the cause. Faults of databases are in `test_postgres.py`, of clusters in `test_ray_nodes.py`.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import workers
from drivers import SPACE, TRIALS, Driver, assert_whole, finished, records, until

from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Decision, Report
from nasforge.objectives.objective import parse_objectives
from nasforge.runners import Driver as Deciding
from nasforge.runners.local import LocalRunner
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.files import parse

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where misbehaving workers note what they have done."""
    folder = tmp_path / "once"
    folder.mkdir()
    monkeypatch.setenv(workers.ONCE, str(folder))
    return folder


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts drivers that end with the test."""
    made: list[Driver] = []

    def start(*more: str, **limits: Any) -> Driver:
        made.append(Driver(tmp_path, *more, **limits))
        return made[-1]

    yield start
    for driver in made:
        driver.close()


CONTEXT = Context(source=Source("digits", limit=400))


def plan(**changes: Any) -> Plan:
    asked = Plan(
        parse(SPACE), CONTEXT.source, tuple(parse_objectives("accuracy,-params")), strategy="random", scheduler="none", trials=TRIALS,
        control=False, recipe={"epochs": 4, "early_stopping": None}, final_recipe={"epochs": 1}, finalists=1, final_seeds=1,
    )  # fmt: skip
    return replace(asked, **changes)


def run(asked: Plan, folder: Path, serve: Any = None, workers: int = 2, **settings: Any) -> dict[str, Any]:
    return search(asked, folder / "run", lambda: LocalRunner(CONTEXT, workers, serve=serve, **settings), lambda status: None)


# ---------------------------------------------------------------- workers


def test_out_of_memory_is_infeasible_and_its_size_is_a_limit(tmp_path: Path) -> None:
    huge = {"choose": {"small": ["identity"], "huge": [{"linear": {"out": 300_000}}, {"linear": {"out": 300_000}}]}}  # 360 GB of weights
    space = {**plan().space, "body": [*plan().space["body"]], "head": [{"pool": {"kind": "avg"}}, huge, "linear"]}
    summary = run(plan(space=space), tmp_path)
    assert summary["finished"] == TRIALS and summary["failed"] == 0
    infeasible = [r for r in records(tmp_path / "run") if r.get("kind") == "infeasible"]
    ran = [r for r in infeasible if "out_of_memory" in r["metrics"]]
    assert 1 <= len(ran) < len(infeasible), "of what is nowhere smaller, the next one is known to be too large"
    assert "memory" in ran[0]["message"]
    assert all("ran out of memory" in r["message"] for r in infeasible if r not in ran)
    assert_whole(tmp_path / "run", {})


def test_a_loss_that_is_no_number_fails_the_trial_with_its_epoch(tmp_path: Path) -> None:
    layers = [{"conv": {"out": {"choose": [12, 16]}, "kernel": {"choose": [3, 5]}, "norm": "none", "act": "none"}}] * 4
    recipe = {"lr": {"choose": [0.01, 100.0]}, "optimizer": "sgd", "grad_clip": None, "warmup_epochs": 0}
    space = {**plan().space, "body": layers, "recipe": recipe}
    summary = run(plan(space=space), tmp_path)
    failed = [r["message"] for r in records(tmp_path / "run") if r.get("kind") == "failed"]
    assert failed and all("in epoch " in message and "lower lr" in message for message in failed)
    assert summary["finished"] + summary["failed"] == TRIALS
    assert_whole(tmp_path / "run", {})


def test_the_trial_of_a_killed_worker_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    summary = run(plan(), tmp_path, workers_killed := workers.killed)
    assert workers_killed is workers.killed and (tmp_path / "once" / "killed").exists()
    assert summary["finished"] == TRIALS and summary["failed"] == 0
    whole = run(plan(), tmp_path / "other", workers.eager)
    assert _results(tmp_path / "run") == _results(tmp_path / "other" / "run"), "to the last bit what an undisturbed run gives"
    assert whole["finished"] == TRIALS
    assert_whole(tmp_path / "run", {})


def _results(folder: Path) -> dict[str, Any]:
    return {r["key"]: {k: r["metrics"][k] for k in ("accuracy", "loss")} for r in records(folder) if r.get("kind") == "finished"}


@pytest.mark.thorough
def test_a_network_that_kills_every_worker_fails_after_a_few_times(tmp_path: Path) -> None:
    summary = run(plan(), tmp_path, workers.deadly_network)
    failed = [r["message"] for r in records(tmp_path / "run") if r.get("kind") == "failed"]
    assert failed and all("SIGKILL" in message for message in failed)
    assert summary["finished"] == TRIALS - len(failed)
    assert_whole(tmp_path / "run", {})


@pytest.mark.thorough
def test_a_hung_worker_is_ended_and_its_trial_taken_again(tmp_path: Path) -> None:
    summary = run(plan(), tmp_path, workers.hanging, silence_s=45.0)
    assert (tmp_path / "once" / "hung").exists()
    assert summary["finished"] == TRIALS
    assert_whole(tmp_path / "run", {})


@pytest.mark.thorough
def test_workers_that_cannot_start_end_the_search_with_the_cause(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"3 worker processes in a row could not start .*code 7"):
        run(plan(), tmp_path, workers.stillborn, workers=1)
    assert run(plan(), tmp_path)["finished"] == TRIALS
    assert_whole(tmp_path / "run", {})


# ---------------------------------------------------------------- disks and files


def test_a_full_disk_at_the_workers_stops_the_search_and_no_trial_fails(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trial \d+: its files cannot be written .*make room, then give the same command"):
        run(plan(), tmp_path, workers.no_room)
    assert not [r for r in records(tmp_path / "run") if r.get("kind") == "failed"]
    assert run(plan(), tmp_path)["finished"] == TRIALS
    assert_whole(tmp_path / "run", {})


@pytest.mark.thorough
def test_a_full_disk_at_the_driver_stops_the_search_and_the_same_command_goes_on(begin: Callable[..., Driver]) -> None:
    first = begin()
    until(lambda: finished(first.run), first)
    journal = first.run / "study.journal"
    full = (journal.stat().st_size + 2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    resource.prlimit(first.process.pid, resource.RLIMIT_FSIZE, full)  # of the driver, not of its workers
    assert first.wait() == 1
    assert "study.journal" in first.said() and ("too large" in first.said() or "No space" in first.said())
    before = finished(first.run)
    assert 0 < len(before) < TRIALS
    assert begin().summary()["finished"] == TRIALS
    assert_whole(first.run, before)


def test_a_corrupt_checkpoint_is_set_aside(tmp_path: Path) -> None:
    asked = plan()
    with pytest.raises(KeyboardInterrupt):
        search(asked, tmp_path / "run", lambda: Interrupted(CONTEXT, 1, serve=workers.eager), lambda status: None)
    [checkpoint] = (tmp_path / "run" / "checkpoints").glob("*.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100] + b"nonsense")
    assert run(asked, tmp_path)["finished"] == TRIALS
    assert_whole(tmp_path / "run", {})


class Interrupted(LocalRunner):
    """Ctrl-C in the third epoch of the first training."""

    def run(self, driver: Deciding) -> None:
        def stop(number: int, report: Report) -> Decision:
            if report.epoch == 3:
                raise KeyboardInterrupt
            return decide(number, report)

        decide, driver.on_report = driver.on_report, stop  # type: ignore[method-assign]
        super().run(driver)


def test_a_truncated_journal_is_mended_and_a_damaged_one_refused(begin: Callable[..., Driver]) -> None:
    first = begin()
    until(lambda: len(finished(first.run)) >= 2, first)
    first.signal(signal.SIGKILL)
    before = finished(first.run)
    journal = first.run / "study.journal"
    good = journal.read_bytes()
    lines = good.splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"\x00garbage\n", *lines[4:]]))
    second = begin()
    assert second.wait() == 2 and "study.journal:4: the journal is damaged here" in second.said()
    journal.write_bytes(good + b'{"op_code": 8, "trial_')
    assert begin().summary()["finished"] == TRIALS
    assert_whole(first.run, before)


# ---------------------------------------------------------------- drivers


def test_a_killed_driver_is_begun_again(begin: Callable[..., Driver]) -> None:
    first = begin()
    until(lambda: len(finished(first.run)) >= 3, first)
    first.signal(signal.SIGKILL)
    before = finished(first.run)
    assert begin().summary()["finished"] == TRIALS
    assert_whole(first.run, before)


def test_ctrl_c_keeps_what_had_ended(begin: Callable[..., Driver]) -> None:
    first = begin()
    until(lambda: len(finished(first.run)) >= 2, first)
    first.signal(signal.SIGINT)
    assert first.wait() == 130 and "what had ended is kept, the same command goes on" in first.said()
    before = finished(first.run)
    assert begin().summary()["finished"] == TRIALS
    assert_whole(first.run, before)


@pytest.mark.thorough
def test_a_second_driver_in_the_same_folder_is_refused(begin: Callable[..., Driver]) -> None:
    first = begin()
    until(lambda: (first.run / "study.journal").exists(), first)
    second = begin()
    assert second.wait() == 2 and "another search is running in this folder" in second.said()
    assert first.summary()["finished"] == TRIALS
    assert_whole(first.run, {})


def test_a_killed_workers_process_alone_does_not_end_a_real_search(begin: Callable[..., Driver]) -> None:
    first = begin()
    until(lambda: finished(first.run), first)
    children = Path(f"/proc/{first.process.pid}/task/{first.process.pid}/children").read_text(encoding="ascii").split()
    victims = [c for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    import os

    os.kill(int(victims[0]), signal.SIGKILL)
    assert first.summary()["finished"] == TRIALS
    assert_whole(first.run, {})


def test_one_worker_and_one_seed_give_one_run_bit_for_bit(tmp_path: Path) -> None:
    journals = []
    for name in ("a", "b"):
        run(plan(strategy="tpe"), tmp_path / name, workers=1)
        journals.append([_timeless(line) for line in (tmp_path / name / "run" / "study.journal").read_text().splitlines()])
    assert journals[0] == journals[1]


def _timeless(line: str) -> Any:
    """A line of a journal without times, the id of the run and the names of processes."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            gone = ("worker_id", "seconds", "run", "total", "busy", "overhead", "datetime_start", "datetime_complete", "arch")
            return {k: strip(v) for k, v in value.items() if k not in gone}
        return [strip(v) for v in value] if isinstance(value, list) else value

    return strip(json.loads(line))


@pytest.mark.parametrize("group", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_sigterm_ends_driver_and_workers_and_the_same_command_goes_on(begin: Callable[..., Driver], group: bool) -> None:
    first = begin()
    until(lambda: len(finished(first.run)) >= 2, first)
    (first.signal if group else first.process.send_signal)(signal.SIGTERM)
    assert first.wait(60) == 143, first.said()
    assert (first.run / "report.html").is_file() and json.loads((first.run / "summary.json").read_text())["unfinished"]
    assert gone(first)
    before = finished(first.run)
    again = begin()
    assert again.wait() == 0, again.said()
    assert_whole(again.run, before)


def test_workers_end_with_a_driver_that_is_killed(begin: Callable[..., Driver]) -> None:
    driver = begin("--epochs", "100000")
    until(lambda: len(alive(driver)) >= 3, driver)
    driver.process.kill()
    driver.process.wait()
    assert gone(driver)


def gone(driver: Driver) -> bool:
    """Whether a driver and its workers have ended, within some seconds."""
    end = time.monotonic() + 15
    while alive(driver) and time.monotonic() < end:
        time.sleep(0.1)
    return not alive(driver)


def alive(driver: Driver) -> list[int]:
    """The processes of a driver and its workers that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == driver.process.pid and state != "Z":
                found.append(int(stat.parent.name))
    return found
