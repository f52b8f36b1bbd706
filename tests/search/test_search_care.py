"""Searches in awkward circumstances: each of these was once wrong."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from safetensors.torch import load_file, save_file
from support import DATA, Inline, Killed, quick, records, small_plan

from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Decision, Job, OnReport, Report, Result, Stop
from nasforge.networks.build import build
from nasforge.networks.cost import count
from nasforge.objectives.objective import parse_limit
from nasforge.runners.local import LocalRunner
from nasforge.search.driver import MOST_SLOW
from nasforge.search.plan import Plan
from nasforge.search.screening import arch_key
from nasforge.search.session import search
from nasforge.search.settings import _plain_names
from nasforge.spaces.files import read
from nasforge.storage.open import open_storage
from nasforge.train.checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def plan() -> Plan:
    return small_plan(trials=6, finalists=3)


def with_weights(job: Job, on_report: OnReport) -> Result:
    if job.weights:
        Path(job.weights).parent.mkdir(parents=True, exist_ok=True)
        save_file(build(job.arch).state_dict(), job.weights)
    return quick(job, on_report)


def run(plan: Plan, folder: Path, evaluate: Any = quick) -> tuple[dict[str, Any], Inline]:
    runner = Inline(evaluate)
    return search(plan, folder, lambda: runner, lambda status: None), runner


def assert_weights_fit(summary: dict[str, Any]) -> None:
    for row in (*summary["finalists"], *summary["control_finalists"], *summary["baselines"]):
        build(read(row["arch"])).load_state_dict(load_file(Path(row["arch"]).with_suffix(".safetensors")))


def test_weights_stay_with_their_networks_when_a_run_grows(plan: Plan, tmp_path: Path) -> None:
    for trials in (4, 8, 14):
        summary, _ = run(replace(plan, trials=trials, control=True, strategy="tpe"), tmp_path, with_weights)
        assert_weights_fit(summary)


def test_one_network_in_two_forms_has_weights_that_fit(plan: Plan, tmp_path: Path) -> None:
    few = {**plan.space, "body": [{"conv": {"out": {"choose": [8, 16]}}}]}
    same = {**few, "body": ["identity", {"conv": {"out": 16}}]}
    summary, _ = run(replace(plan, space=few, trials=2, baselines={"same": same}), tmp_path, with_weights)
    assert_weights_fit(summary)


def test_baselines_get_file_names_of_their_own() -> None:
    assert _plain_names(["lenet5", "a/net.yaml", "b/net.yaml", "runs/x:finalist1", "runs/x:3"]) == {
        "lenet5": "lenet5",
        "net": "a/net.yaml",
        "net_2": "b/net.yaml",
        "baseline_finalist1": "runs/x:finalist1",
        "baseline_3": "runs/x:3",
    }


def test_control_and_search_send_as_many_to_the_finals_and_draw_differently(plan: Plan, tmp_path: Path) -> None:
    summary, _ = run(replace(plan, control=True, strategy="tpe", trials=8), tmp_path)
    assert len(summary["finalists"]) == len(summary["control_finalists"]) == 3
    assert [r.get("key") for r in records(tmp_path)] != [r.get("key") for r in records(tmp_path, "control")]


def test_other_finals_are_done_anew(plan: Plan, tmp_path: Path) -> None:
    run(plan, tmp_path)
    longer, runner = run(replace(plan, final_recipe={"epochs": 9}), tmp_path)
    assert {job.recipe["epochs"] for job in runner.jobs} == {9} and len(runner.jobs) == len(longer["finalists"])


def test_failed_finals_are_tried_again(plan: Plan, tmp_path: Path) -> None:
    def fails(job: Job, on_report: OnReport) -> Result:
        return Result(error="killed") if job.test else quick(job, on_report)

    summary, _ = run(plan, tmp_path, fails)
    assert summary["best"] is None and summary["finalists"][0]["errors"] == ["killed"]
    again, _ = run(replace(plan, trials=7), tmp_path)
    assert again["best"]["test_mean"] > 0


def test_two_folders_do_not_share_a_study_unawares(plan: Plan, tmp_path: Path) -> None:
    stored = replace(plan, storage=f"sqlite:///{tmp_path / 'all.db'}", trials=2)
    run(stored, tmp_path / "a" / "run")
    with pytest.raises(UserError, match="holds a study 'run-search' of another run folder"):
        run(replace(stored, seed=1), tmp_path / "b" / "run")
    with pytest.raises(UserError, match="storage was 'sqlite', is 'journal'"):
        run(replace(stored, storage=None), tmp_path / "a" / "run")


def test_a_latency_limit_that_nothing_meets_ends_with_the_fastest_seen(plan: Plan, tmp_path: Path) -> None:
    def slow(job: Job, on_report: OnReport) -> Result:
        return Result({"latency_ms": 7.0}, stopped=Stop.TOO_SLOW)

    space = {**plan.space, "body": [{"conv": {"out": {"int": [1, 4 * MOST_SLOW]}}}]}
    with pytest.raises(UserError, match=r"networks in a row broke latency_ms<=0\.001; the nearest seen: latency_ms 7 \(.*nearest_lat"):
        run(replace(plan, space=space, limits=(parse_limit("latency_ms<=0.001"),)), tmp_path, slow)
    assert count(read(tmp_path / "nearest_latency_ms.yaml")).params > 0


def test_a_wrong_recipe_is_a_failed_trial(plan: Plan, tmp_path: Path) -> None:
    space = {**plan.space, "body": [{"conv": {"out": 8}}], "recipe": {"lr": {"choose": [0.01, 0.0]}}}
    summary, _ = run(replace(plan, space=space, trials=2), tmp_path)
    assert summary["finished"] == summary["failed"] == 1


def test_an_interrupted_baseline_comes_back_as_a_baseline(plan: Plan, tmp_path: Path) -> None:
    def stop(job: Job, on_report: OnReport) -> Result:
        raise KeyboardInterrupt

    inside = {**plan.space, "body": [{"conv": {"out": 12, "kernel": 5}}], "head": ["gap_head"]}
    with pytest.raises(KeyboardInterrupt):
        run(replace(plan, baselines={"mine": inside}), tmp_path, stop)
    run(replace(plan, baselines={"mine": inside}), tmp_path)
    assert [r.get("baseline") for r in records(tmp_path) if r.get("kind") == "finished"].count("mine") == 1


class Single:
    """A driver with one job."""

    def __init__(self, job: Job) -> None:
        self.jobs, self.ended = [(0, job)], list[Result]()

    def next_job(self) -> tuple[int, Job] | None:
        return self.jobs.pop() if self.jobs else None

    def on_report(self, number: int, report: Report) -> Decision:
        return Decision.CONTINUE

    def on_end(self, number: int, result: Result) -> None:
        self.ended.append(result)


def test_a_worker_that_dies_idle_is_replaced() -> None:
    runner = LocalRunner(Context(source=DATA), 1)
    try:
        runner._workers[0].process.kill()
        runner._workers[0].process.join()
        driver = Single(Job({"input": [1, 8, 8], "classes": 10, "body": ["nonsense"]}))
        runner.run(driver)
        assert "nonsense" in (driver.ended[0].error or "")
    finally:
        runner.close()


@pytest.mark.parametrize("strategy", ["random", "predictor", "nsga2", "grid"])
def test_a_small_space_ends_when_every_point_was_asked(strategy: str, plan: Plan, tmp_path: Path) -> None:
    few = {**plan.space, "body": [{"conv": {"out": {"choose": [8, 16, 24]}}}]}
    asked = replace(plan, space=few, trials=10, strategy=strategy, control=True)
    found, _ = run(asked, tmp_path / "a")
    assert found["finished"] == 3 and found["exhausted"] and found["duplicates"] <= 20
    assert run(replace(asked, trials=20), tmp_path / "a")[0]["finished"] == 3
    between = (parse_limit("params>=400"), parse_limit("params<=401"))  # each is kept by some network, both by none
    with pytest.raises(UserError, match="none of the 3 architectures drawn keeps params"):
        run(replace(asked, limits=between, control=False), tmp_path / "b")


def test_points_of_one_function_are_asked_once_each(plan: Plan, tmp_path: Path) -> None:
    twins = {**plan.space, "body": [{"conv": {"out": {"choose": [8, 16]}}}, {"choose": {str(i): ["identity"] for i in range(40)}}]}
    found, _ = run(replace(plan, space=twins, trials=10, strategy="random"), tmp_path)
    assert found["finished"] == 2 and found["exhausted"] and found["duplicates"] <= 160


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said(number: int, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said = rf"its file system has no locks \({os.strerror(number)}\); put --run on a local disk, or use --storage"
    with pytest.raises(UserError, match=said):
        run(plan, tmp_path / "r")
    with pytest.raises(UserError, match=said):
        optuna.create_study(storage=open_storage(tmp_path, None))
    found, _ = run(replace(plan, trials=1, storage=f"sqlite:///{tmp_path}/s.db"), tmp_path / "r")
    assert found["finished"] == 1


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_is_held_is_another_search(number: int, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match="another search is running in this folder"):
        run(replace(plan, storage=f"sqlite:///{tmp_path}/s.db"), tmp_path / "r")


@pytest.mark.parametrize(
    "baselines", [{}, {"same": {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 16}}], "head": ["gap_head"]}}]
)
def test_lost_files_of_a_finished_run_come_back(baselines: dict[str, Any], plan: Plan, tmp_path: Path) -> None:
    asked = replace(plan, control=True, strategy="evolution", baselines=baselines)
    found, _ = run(asked, tmp_path, with_weights)
    files = {
        p.relative_to(tmp_path): p.read_bytes() for p in (*tmp_path.glob("finalists/*"), *tmp_path.glob("*.json"), tmp_path / "space.yaml")
    }
    assert len(files) >= 2 * (6 + len(baselines)) + 3
    lost = {"all": [*files], "one": [Path("finalists/finalist2.safetensors")], "spec": [Path("finalists/control1.yaml")]}
    for gone in lost.values():
        for name in set(gone) - {Path("manifest.json")}:
            (tmp_path / name).unlink()
        again, runner = run(asked, tmp_path, with_weights)
        assert again == found and not runner.jobs
        assert {name: (tmp_path / name).read_bytes() for name in files} == files


@pytest.mark.parametrize("scheduler", ["none", "asha", "halving"])
@pytest.mark.parametrize("moves", [False, True])
def test_a_network_that_kills_its_driver_fails_unless_it_comes_further(scheduler: str, moves: bool, plan: Plan, tmp_path: Path) -> None:
    """Each driver dies over the second network; where a checkpoint moves on between, these are no deaths of its own."""
    seen: list[str] = []

    def deadly(job: Job, on_report: OnReport) -> Result:
        key = arch_key(job.arch)
        seen.extend([] if key in seen else [key])
        if not job.test and seen.index(key) == 1 and died[0] < (5 if moves else 99):
            died[0] += 1
            if moves:
                assert job.checkpoint is not None
                write_checkpoint(Path(job.checkpoint), {"identity": {}, "curve": [{}] * died[0]})
            raise Killed
        return quick(job, on_report)

    died, asked = [0], replace(plan, scheduler=scheduler, trials=3)
    while died[0] < (5 if moves else 3):
        with pytest.raises(Killed):
            run(asked, tmp_path, deadly)
    found, _ = run(asked, tmp_path, deadly)
    messages = [r["message"] for r in records(tmp_path) if r.get("kind") == "failed"]
    assert messages == ([] if moves else ["the driver died 3 times while this was trained"])
    assert found["finished"] + found["pruned"] == (3 if moves else 2)
