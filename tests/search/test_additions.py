"""What is added by a table is found by a whole search: a strategy is one function and one line, an evaluator and a runner one class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import SMALL_SPACE, Inline, quick, records, small_plan

from nasforge.cli import main
from nasforge.evaluation import EVALUATORS
from nasforge.evaluation.base import Context, Job, OnReport, Report, Result
from nasforge.evaluation.train import STOPS
from nasforge.objectives.metrics import METRICS, Metric
from nasforge.runners import RUNNERS, Driver
from nasforge.runners.inline import InlineRunner
from nasforge.search.session import search
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import write
from nasforge.strategies.base import History, Problem, Propose
from nasforge.strategies.registry import STRATEGIES
from nasforge.tasks import Task


def widest(problem: Problem) -> Propose:
    """Draw at random, but each time at least as wide as the best seen."""

    def propose(history: History, rng: Any) -> dict[str, Any]:
        choices = problem.space.draw(random_chooser(rng))[1]
        best = min(history.finished, key=lambda trial: trial.losses or (), default=None)
        wide = "body.0.conv.out"
        return choices if best is None else {**choices, wide: max(choices[wide], best.choices[wide])}

    return propose


def test_a_strategy_is_one_function_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(STRATEGIES, "widest", widest)
    runner = Inline(quick)
    summary = search(small_plan(strategy="widest", trials=6, control=True), tmp_path, lambda: runner, lambda status: None)
    assert summary["finished"] == 6 and summary["control"]["test_mean"] is not None
    widths = [r["metrics"]["accuracy"] for r in records(tmp_path) if r["kind"] == "finished"]
    assert widths == sorted(widths)
    assert main(["replay", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same"] and found["studies"][0]["choices"] > 0
    monkeypatch.setitem(STRATEGIES, "widest", STRATEGIES["random"])
    assert main(["replay", str(tmp_path)]) == 1  # another strategy decides otherwise


class Formula:
    """Knows the loss of a network from the width of its first layer."""

    def metrics(self, task: Task) -> tuple[Metric, ...]:
        return METRICS["accuracy"], METRICS["loss"]

    def prepare(self, context: Context) -> None:
        self.offset = len(context.source.spec)  # it gets what all jobs have in common

    def evaluate(self, job: Job, on_report: OnReport) -> Result:
        loss = 1 / (self.offset + job.arch["body"][0]["conv"]["out"])
        found = {"accuracy": 1 - loss, "loss": loss}
        row = {"epoch": 1, "val_loss": loss, **found}
        stopped = STOPS[on_report(Report(1, row))]
        return Result(found, test=dict(found) if job.test else {}, curve=[row], seconds={"training": 0.01}, stopped=stopped)


class Backwards(InlineRunner):
    """Takes in two jobs at a time and carries the second one first."""

    def __init__(self, context: Context, workers: int) -> None:
        super().__init__(context)
        self.workers = workers

    def run(self, driver: Driver) -> None:
        while True:
            asked = [job for _ in range(self.workers) if (job := driver.next_job()) is not None]
            if not asked:
                return
            for number, job in reversed(asked):
                driver.on_end(number, self.evaluator.evaluate(job, lambda report, n=number: driver.on_report(n, report)))


def test_an_evaluator_and_a_runner_are_one_class_and_one_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(EVALUATORS, "formula", Formula)
    monkeypatch.setitem(RUNNERS, "backwards", (Backwards, ("workers",)))
    write(SMALL_SPACE, tmp_path / "space.yaml")
    words = ["search", str(tmp_path / "space.yaml"), "--evaluator", "formula", "--trials", "8", "--strategy", "random", "--no-control",
             "--run", str(tmp_path / "run"), "--json", "--finalists", "2", "--final-seeds", "1"]  # fmt: skip
    assert main([*words, "--runner", "backwards", "--workers", "2"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["finished"] + summary["pruned"] == 8 and summary["best"]["name"] == "finalist1"
    told = [r for r in records(tmp_path / "run") if r["kind"] == "finished"]
    assert told and all(r["metrics"]["loss"] == pytest.approx(1 - r["metrics"]["accuracy"]) for r in told)
    assert summary["best"]["test_mean"] == max(row["val"] for row in summary["finalists"])
    assert main([*words, "--objective", "miou"]) == 2
    assert "--evaluator formula: does not find out miou; it finds out accuracy, loss, costs and latency" in capsys.readouterr().err
    assert main([*words, "--runner", "backward", "--run", str(tmp_path / "other")]) == 2
    assert "did you mean 'backwards'" in capsys.readouterr().err
