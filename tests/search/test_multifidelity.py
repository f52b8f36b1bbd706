"""Trainings that pause at rungs: the best go on from their checkpoints, nothing is trained twice, and a restart changes nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import DATA, Inline, records, small_plan

from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Job, OnReport, Report, Result, Stop
from nasforge.evaluation.train import STOPS
from nasforge.networks.build import key
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.strategies.schedulers import SCHEDULERS, Halving, bracket, even_rungs, pauses, promotable, rungs, share

EPOCHS = 9


@pytest.fixture(params=["halving", "hyperband"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return small_plan(
        scheduler=request.param, trials=18, recipe={"epochs": EPOCHS, "early_stopping": None},
        final_recipe={"epochs": 1, "early_stopping": None},
    )  # fmt: skip


class Trainer:
    """Trains in numbers alone, goes on where a checkpoint says, and counts the epochs of each network."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.epochs: Counter[str] = Counter()
        self.stop_after = stop_after

    def __call__(self, job: Job, on_report: OnReport) -> Result:
        if job.test:
            return Result({"accuracy": 0.5, "loss": 1.0}, test={"accuracy": 0.5}, curve=[], seconds={"training": 0.01})
        path, out = Path(str(job.checkpoint)), job.arch["body"][0]["conv"]["out"]
        start = int(path.read_text()) if path.exists() else 0
        for epoch in range(1, EPOCHS + 1):
            row = {"epoch": epoch, "loss": 1.0, "val_loss": 1 / out, "accuracy": out / 20 * epoch / EPOCHS}
            if epoch > start:
                self.epochs[key(job.arch)] += 1
                if sum(self.epochs.values()) == self.stop_after:
                    raise KeyboardInterrupt
                path.parent.mkdir(exist_ok=True)
                path.write_text(str(epoch))
            stopped = STOPS[on_report(Report(epoch, row))]
            if stopped is not None and epoch > start:
                return Result({"accuracy": row["accuracy"], "loss": 1.0}, stopped=stopped, seconds={"training": 0.01 * epoch})
        return Result({"accuracy": out / 20, "loss": 1 / out}, seconds={"training": 0.01 * EPOCHS})


def run(plan: Plan, folder: Path, evaluate: Any) -> dict[str, Any]:
    return search(plan, folder, lambda: Inline(evaluate), lambda status: None)


def test_promotions_reuse_checkpoints_and_spend_less(plan: Plan, tmp_path: Path) -> None:
    trainer = Trainer()
    summary = run(plan, tmp_path, trainer)
    kept = [r for r in records(tmp_path) if r["kind"] in ("finished", "pruned")]
    assert len(kept) == 18 == summary["finished"] + summary["pruned"] and 1 <= summary["finished"] < 18
    assert max(trainer.epochs.values()) == EPOCHS  # none retrained
    assert {len(r["curve"]) for r in kept} <= {1, 3, 9}
    assert all([row["epoch"] for row in r["curve"]] == list(range(1, len(r["curve"]) + 1)) for r in kept)
    assert {len(r["curve"]) == EPOCHS for r in kept if r["kind"] == "finished"} == {True}
    assert sum(trainer.epochs.values()) < 18 * EPOCHS * 2 / 3  # here no network dominates another: the hardest case
    assert not list((tmp_path / "checkpoints").glob("search-*"))


@pytest.mark.parametrize("after", [5, 20, 30])
def test_a_search_cut_off_among_paused_trainings_goes_on(plan: Plan, tmp_path: Path, after: int) -> None:
    whole = Trainer()
    run(plan, tmp_path / "whole", whole)
    first, second = Trainer(stop_after=after), Trainer()
    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path / "cut", first)
    run(plan, tmp_path / "cut", second)
    spent = first.epochs + second.epochs
    assert {k: n for k, n in spent.items() if n > EPOCHS} == {} or max(spent.values()) <= EPOCHS + 1  # the epoch that was cut off
    outcome = [
        sorted((r["key"], r["kind"], len(r.get("curve", []))) for r in records(tmp_path / f) if r["kind"] in ("finished", "pruned"))
        for f in ("whole", "cut")
    ]
    assert outcome[0] == outcome[1]


def test_real_trainings_go_on_from_their_checkpoints(plan: Plan, tmp_path: Path) -> None:
    short = replace(plan, trials=4, recipe={"epochs": 3, "early_stopping": None})
    run(short, tmp_path, prepared(Context(source=DATA)))
    kept = [r for r in records(tmp_path) if r["kind"] in ("finished", "pruned")]
    assert len(kept) == 4 and {len(r["curve"]) for r in kept} == {1, 3}
    for r in kept:
        seconds = [row["seconds"] for row in r["curve"]]
        assert seconds == sorted(seconds) and r["seconds"]["training"] >= seconds[-1]


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", ["data", "resolution"])
def test_the_data_or_the_images_may_grow_from_rung_to_rung(plan: Plan, tmp_path: Path, fidelity: str) -> None:
    jobs: list[Job] = []
    train = prepared(Context(source=DATA)).evaluate

    def watch(job: Job, on_report: OnReport) -> Result:
        jobs.append(job)
        return train(job, on_report)

    run(replace(plan, trials=4, fidelity=fidelity, recipe={"epochs": 5, "early_stopping": None}), tmp_path, watch)
    kept = [r for r in records(tmp_path) if r["kind"] in ("finished", "pruned")]
    assert len(kept) == 4 and {len(r["curve"]) for r in kept} >= {5} and not any(r.get("message") for r in kept)
    name = "data_fraction" if fidelity == "data" else "resolution"
    shares = [job.recipe[name] for job in jobs if not job.test]
    assert min(shares) < 0.6 and max(shares) == 1.0


def test_a_training_whose_worker_died_is_taken_again(plan: Plan, tmp_path: Path) -> None:
    trainer, deaths = Trainer(), Counter[str]()

    def dies(job: Job, on_report: OnReport) -> Result:
        name = key(job.arch)
        deaths[name] += 1
        fatal = job.arch["body"][0]["conv"]["kernel"] == 5
        if not job.test and (fatal or deaths[name] == 1):
            return Result(error="the worker process was ended by SIGKILL", stopped=Stop.LOST)
        return trainer(job, on_report)

    summary = run(plan, tmp_path, dies)
    failed = [r for r in records(tmp_path) if r["kind"] == "failed"]
    assert summary["failed"] == len(failed) > 0 and summary["failed"] + summary["pruned"] + summary["finished"] == 18
    assert all("SIGKILL" in r["message"] and deaths[r["key"]] == 3 for r in failed)


def test_a_size_that_ran_out_of_memory_is_not_tried_again(plan: Plan, tmp_path: Path) -> None:
    def small(job: Job, on_report: OnReport) -> Result:
        if not job.test and job.arch["body"][0]["conv"]["out"] >= 12:
            return Result(error="training: out of memory", stopped=Stop.OUT_OF_MEMORY)
        return Trainer()(job, on_report)

    run(plan, tmp_path, small)
    kinds = Counter(("out_of_memory" in r.get("metrics", {}), r["kind"]) for r in records(tmp_path))
    assert kinds[True, "infeasible"] > 0 and kinds[True, "failed"] == 0
    assert any("ran out of memory" in r.get("message", "") and "no larger" in r["message"] for r in records(tmp_path))


def test_rungs_and_brackets() -> None:
    assert rungs(27) == [1, 3, 9] and rungs(1) == even_rungs(1) == []
    assert even_rungs(27) == [7, 14, 21] and [round(share(e, [7, 14, 21]) ** -1) for e in (0, 7, 14, 21)] == [27, 9, 3, 1]
    assert [e for e in range(1, 28) if pauses(0, e, rungs(27), 1)] == [1, 3, 9]
    shares = Counter(bracket(n, rungs(27), 3) for n in range(3000))
    assert shares[0] > shares[1] > shares[2] > 0
    assert [scheduler.pauses for scheduler in SCHEDULERS.values()] == [False, False, True, True, False]
    assert isinstance(SCHEDULERS["hyperband"], Halving) and SCHEDULERS["hyperband"].brackets(3) == 3


def test_the_best_third_of_a_rung_goes_on_and_a_last_one_when_none_comes() -> None:
    curves: dict[int, list[tuple[float, ...]]] = {n: [(float(n),)] for n in range(6)}
    paused = dict.fromkeys(curves, rungs(9))
    assert promotable(curves, paused, 1, drain=False) == 0
    curves[0] = [(0.0,), (0.0,), (0.0,)]  # it is at the next rung now
    assert promotable(curves, paused, 1, drain=False) == 1
    curves[1] = curves[0]
    assert promotable(curves, paused, 1, drain=False) is None
    assert promotable(curves, paused, 1, drain=True) == 0


def test_of_several_objectives_what_nothing_dominates_goes_on_first() -> None:
    curves = {0: [(1.0, 5.0)], 1: [(2.0, 6.0)], 2: [(0.5, 7.0)], 3: [(3.0, 8.0)], 4: [(4.0, 9.0)], 5: [(5.0, 9.5)]}
    paused = dict.fromkeys(curves, rungs(3))
    assert promotable(curves, dict.fromkeys((1, 3, 4, 5), rungs(3)), 1, drain=False) is None
    assert promotable(curves, paused, 1, drain=False) in (0, 2)
