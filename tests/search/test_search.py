"""Whole searches on real digits, small: everything a run must keep, survive and refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import DATA, ROOT, Inline, going_on, quick, records, small_plan

from nasforge.blocks import BLOCKS
from nasforge.errors import UserError
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Job, OnReport, Result
from nasforge.networks.build import build, key
from nasforge.objectives.objective import parse_limit, parse_objectives
from nasforge.runners.local import LocalRunner
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.files import read
from nasforge.spaces.locate import locate
from nasforge.spaces.space import Space
from nasforge.strategies.registry import STRATEGIES


@pytest.fixture(scope="module")
def plan() -> Plan:
    return small_plan(
        scheduler="asha", recipe={"epochs": 2, "early_stopping": None}, final_recipe={"epochs": 3, "early_stopping": None}, finalists=2,
        final_seeds=2,
    )  # fmt: skip


def run_quick(plan: Plan, folder: Path, evaluate: Any = quick) -> dict[str, Any]:
    return search(plan, folder, lambda: Inline(evaluate), lambda status: None)


@pytest.mark.slow
def test_a_search_on_digits_from_space_to_finalists(plan: Plan, tmp_path: Path) -> None:
    summary = search(
        replace(plan, strategy="tpe", control=True, trials=5, scheduler="none", final_recipe={"epochs": 30}),
        tmp_path,
        lambda: LocalRunner(Context(source=DATA), 2),
        lambda status: None,
    )
    assert summary["asked"] == 5 == summary["finished"] + summary["pruned"] + summary["failed"]
    assert summary["best"]["test_mean"] > 0.2 and len(summary["best"]["test_seeds"]) == 2  # ten classes: chance is 0.1
    assert summary["control"]["test_mean"] > 0.2 and set(summary["hypervolume"]) == {"search", "control"}
    for row in summary["finalists"]:
        arch = read(row["arch"])
        assert sum(p.numel() for p in build(arch).parameters()) == row["params"]
        assert Path(row["arch"]).with_suffix(".safetensors").exists()
    assert {p.name for p in tmp_path.iterdir()} >= {"space.yaml", "manifest.json", "study.journal", "finalists"}
    assert json.dumps(summary)
    seconds = summary["seconds"]
    assert seconds["total"] >= seconds["busy"] > 0 and seconds["training"] > 0


def test_the_same_seed_asks_the_same(plan: Plan, tmp_path: Path) -> None:
    for name in STRATEGIES:
        asked = []
        for folder in ("a", "b"):
            runner = Inline(quick)
            search(replace(plan, strategy=name), tmp_path / f"{name}-{folder}", lambda r=runner: r, lambda status: None)
            asked.append([key(job.arch) for job in runner.jobs])
        assert asked[0] == asked[1], name


def test_no_network_is_trained_twice_and_duplicates_are_counted(plan: Plan, tmp_path: Path) -> None:
    runner = Inline(quick)
    big = replace(plan, trials=60)
    summary = search(big, tmp_path, lambda: runner, lambda status: None)
    trained = [key(job.arch) for job in runner.jobs if not job.test]
    assert len(trained) == len(set(trained)) == summary["finished"] + summary["pruned"]
    assert summary["duplicates"] == sum(r.get("kind") == "duplicate" for r in records(tmp_path)) > 0


def test_an_exhausted_space_ends_the_search(plan: Plan, tmp_path: Path) -> None:
    few = replace(plan, space={**plan.space, "body": [{"conv": {"out": {"choose": [4, 8, 12]}}}]}, trials=9)
    summary = run_quick(few, tmp_path)
    assert summary["finished"] == 3 and summary["asked"] == 9


def test_limits_are_kept_without_training(plan: Plan, tmp_path: Path) -> None:
    runner = Inline(quick)
    limited = replace(plan, limits=(parse_limit("params<=1500"),), scheduler="none")
    summary = search(limited, tmp_path, lambda: runner, lambda status: None)
    assert summary["infeasible"] > 0 and summary["finished"] == 8
    assert all(sum(p.numel() for p in build(job.arch).parameters()) <= 1500 for job in runner.jobs)


def test_a_strict_limit_keeps_out_networks_of_that_very_size(plan: Plan, tmp_path: Path) -> None:
    run_quick(replace(plan, trials=24), tmp_path / "free")
    largest = max(r["metrics"]["params"] for r in records(tmp_path / "free") if "params" in r.get("metrics", {}))
    for word, kept in ((f"params<{largest:.0f}", False), (f"params<={largest:.0f}", True)):
        run_quick(replace(plan, trials=24, limits=(parse_limit(word),)), tmp_path / word)
        found = [r["metrics"]["params"] for r in records(tmp_path / word) if r.get("kind") in ("finished", "pruned")]
        assert (largest in found) == kept and max(found) <= largest


def test_an_impossible_limit_names_the_nearest_network(plan: Plan, tmp_path: Path) -> None:
    between = (parse_limit("params>=1001"), parse_limit("params<=1001.5"))  # each is kept by some network, both by none
    with pytest.raises(UserError, match=r"constraints: none of .* keeps params.*; the nearest seen: params \d+"):
        run_quick(replace(plan, limits=between), tmp_path)


def test_pruned_trials_are_stopped_in_studies_with_several_objectives(plan: Plan, tmp_path: Path) -> None:
    summary = run_quick(replace(plan, trials=30), tmp_path)
    assert summary["pruned"] > 0
    assert all(len(r["curve"]) < 3 for r in records(tmp_path) if r.get("kind") == "pruned")


def test_failures_are_results_with_their_message(plan: Plan, tmp_path: Path) -> None:
    def sometimes(job: Job, on_report: OnReport) -> Result:
        return (
            Result(error="the loss became nan in epoch 1")
            if job.arch["body"][0]["conv"]["kernel"] == 5 and not job.test
            else quick(job, on_report)
        )

    summary = run_quick(plan, tmp_path, sometimes)
    failed = [r for r in records(tmp_path) if r.get("kind") == "failed"]
    assert summary["failed"] == len(failed) > 0 and failed[0]["message"] == "the loss became nan in epoch 1"
    assert summary["finished"] + summary["pruned"] + summary["failed"] == 8


def test_the_evaluator_turns_mistakes_into_results() -> None:
    arch = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 4}}, "gap_head"]}
    train = prepared(Context(source=DATA)).evaluate
    bad = train(Job(arch, recipe={"epochs": 1, "lr": 99.0, "optimizer": "sgd", "grad_clip": None}), going_on)
    assert bad.error is None or "loss" in bad.error
    unbuildable = train(Job({**arch, "body": ["linear"]}), going_on)
    assert unbuildable.error is not None and "body.0.linear" in unbuildable.error
    unknown = train(Job(arch, recipe={"epoch": 1}), going_on)
    assert unknown.error is not None and "epochs" in unknown.error


def test_a_finished_run_is_read_and_not_repeated(plan: Plan, tmp_path: Path) -> None:
    first = run_quick(plan, tmp_path)
    again = search(plan, tmp_path, lambda: pytest.fail("nothing is left to run"), lambda status: None)
    assert again == json.loads(json.dumps(first))


def test_more_trials_go_on_from_what_is_there(plan: Plan, tmp_path: Path) -> None:
    run_quick(plan, tmp_path)
    runner = Inline(quick)
    summary = search(replace(plan, trials=12), tmp_path, lambda: runner, lambda status: None)
    assert summary["asked"] == 12 == summary["finished"] + summary["pruned"] + summary["failed"]
    assert sum(not job.test for job in runner.jobs) == 4


def test_another_search_in_the_same_folder_is_refused(plan: Plan, tmp_path: Path) -> None:
    run_quick(plan, tmp_path)
    with pytest.raises(UserError, match=r"holds another search .*seed was 0, is 1.*another --run"):
        run_quick(replace(plan, seed=1), tmp_path)


def test_baselines_inside_the_space_are_evaluated_first_and_those_outside_as_yardsticks(plan: Plan, tmp_path: Path) -> None:
    inside = {**plan.space, "body": [{"conv": {"out": 12, "kernel": 5}}], "head": ["gap_head"]}
    outside = {**plan.space, "body": [{"conv": {"out": 7, "kernel": 5}}], "head": ["gap_head"]}
    assert locate(inside, Space(plan.space), BLOCKS)["body.0.conv.out"] == 12
    runner = Inline(quick)
    summary = search(replace(plan, baselines={"in": inside, "out": outside}), tmp_path, lambda: runner, lambda status: None)
    assert key(runner.jobs[0].arch) == key(inside)
    assert records(tmp_path)[0]["baseline"] == "in"
    rows = {row["name"]: row for row in summary["baselines"]}
    assert rows["in"]["test_mean"] == 0.6 and rows["out"]["test_mean"] == pytest.approx(0.35)


def test_test_data_are_read_only_in_the_finals(plan: Plan, tmp_path: Path) -> None:
    runner = Inline(quick)
    search(plan, tmp_path, lambda: runner, lambda status: None)
    search_jobs = [j for j in runner.jobs if not j.test]
    assert len(search_jobs) == 8 and runner.jobs[: len(search_jobs)] == search_jobs
    assert all(j.full for j in runner.jobs if j.test)


CHILD = """
import sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
from support import DATA, small_plan
from nasforge.evaluation.base import Context
from nasforge.runners.local import LocalRunner
from nasforge.search.session import search
if __name__ == "__main__":
    plan = small_plan(trials=10, strategy="predictor", recipe={{"epochs": 4}}, final_recipe={{"epochs": 2}})
    search(plan, Path({run!r}), lambda: LocalRunner(Context(source=DATA), 2), lambda status: print(status.done, flush=True))
"""


@pytest.mark.thorough
@pytest.mark.slow
def test_kill_9_loses_and_repeats_nothing(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD.format(tests=str(ROOT / "tests"), run=str(tmp_path / "run")), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", str(script)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert first.stdout is not None
    for line in first.stdout:
        if int(line) >= 3:
            break
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()
    time.sleep(0.2)
    before = {i: r for i, r in enumerate(records(tmp_path / "run")) if r.get("kind") == "finished"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = records(tmp_path / "run")
    assert len(before) >= 3 and all(after[i] == r for i, r in before.items())
    finished = [r for r in after if r.get("kind") == "finished"]
    assert len(finished) == 10 and len({r["key"] for r in finished}) == 10


def test_an_earlier_run_on_the_space_is_what_a_strategy_begins_with(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_quick(plan, tmp_path / "a")
    told: list[Any] = []

    def listen(problem: Any) -> Any:
        told.append(problem)
        return random(problem)

    random = STRATEGIES["random"]
    monkeypatch.setitem(STRATEGIES, "random", listen)
    run_quick(replace(plan, seed=3, prior=(str(tmp_path / "a"),)), tmp_path / "b")
    kept = [r for r in records(tmp_path / "a") if r["kind"] in ("finished", "pruned")]
    assert [dict(s.metrics) for s in told[0].prior] == [r["metrics"] for r in kept]
    assert all(s.losses == (-s.metrics["accuracy"], s.metrics["params"]) for s in told[0].prior if s.kind == "finished")
    other = replace(plan, space={**plan.space, "head": [{"gap_head": {}}, "identity"]}, prior=(str(tmp_path / "a"),))
    with pytest.raises(UserError, match="another space"):
        run_quick(other, tmp_path / "c")
    with pytest.raises(UserError, match="did not measure latency_ms"):
        run_quick(replace(plan, objectives=tuple(parse_objectives("-latency_ms")), prior=(str(tmp_path / "a"),)), tmp_path / "d")


def test_a_training_may_begin_with_the_weights_of_the_nearest_network(plan: Plan, tmp_path: Path) -> None:
    runner = Inline(prepared(Context(source=DATA)))
    search(replace(plan, trials=5, inherit="copy"), tmp_path, lambda: runner, lambda status: None)
    jobs = [job for job in runner.jobs if not job.test]
    assert jobs[0].parent is None and all(job.parent and Path(job.parent).exists() for job in jobs[1:])
    assert not any(job.parent for job in runner.jobs if job.test)
    shares = [r["metrics"]["inherited"] for r in records(tmp_path)[1:] if r["kind"] in ("finished", "pruned")]
    assert shares and all(0 < share <= 1 for share in shares)
