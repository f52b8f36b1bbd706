"""What tests share: real data beside the checkout, a small space, and runs of the real session with made-up scores."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nasforge.evaluation.base import DataSpec, Job, Result
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.objectives.metrics import metric_or_value
from nasforge.objectives.objective import parse_limit, parse_objectives, validation
from nasforge.report import Run
from nasforge.report.page import page
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.files import parse

ROOT = Path(__file__).resolve().parent.parent

CONDITIONAL = parse("""
input: [1, 8, 8]
classes: 10
body:
  - conv: {out: {int: [4, 64], step: 4}, kernel: {choose: [1, 3, 5]}}
  - choose:
      none: []
      mb: {mbconv: {out: 8, expand: {choose: [2, 3]}}}
      stage: {stage: {draw: each, depth: {int: [1, 2]}, block: {conv: {out: {choose: [4, 8]}}}}}
head: [gap_head]
recipe: {lr: {float: [1.0e-4, 1.0e-1], log: true}}
""")


def shared_data(name: str) -> Path:
    """The path of a real data set beside the checkout; skips the test where it is absent."""
    path = ROOT.parent / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"real data {name} is not on this machine")
    return path


SPACE: dict[str, Any] = {
    "input": [1, 8, 8],
    "classes": 10,
    "stem": [{"conv": {"out": {"choose": [8, 12, 16, 24]}, "kernel": {"choose": [3, 5]}}}],
    "body": [
        {
            "stage": {
                "depth": {"int": [1, 2]},
                "block": {
                    "choose": {
                        "conv": {"conv": {"out": {"choose": [8, 12, 16, 24]}}},
                        "residual": {"residual": {"body": ["conv", {"conv": {"act": "none"}}], "act": "relu"}},
                    }
                },
            }
        },
        {
            "stage": {
                "depth": {"int": [1, 2]},
                "stride": 2,
                "block": {"conv": {"out": {"choose": [16, 24, 32]}, "kernel": {"choose": [3, 5]}}},
            }
        },
    ],
    "head": [{"pool": {"kind": {"choose": ["avg", "max"]}}}, "linear"],
}
LENET = {
    "input": [1, 8, 8],
    "classes": 10,
    "body": [
        {"conv": {"out": 6, "norm": "none", "act": "tanh"}},
        {"pool": {"kind": "avg", "kernel": 2}},
        {"conv": {"out": 16, "norm": "none", "act": "tanh"}},
    ],
    "head": ["flatten", {"linear": {"out": 84, "act": "tanh"}}, "linear"],
}
PLAIN = {
    "input": [1, 8, 8],
    "classes": 10,
    "stem": [{"conv": {"out": 12}}],
    "body": [{"conv": {"out": 16}}, {"conv": {"out": 32, "stride": 2}}],
    "head": [{"pool": {"kind": "avg"}}, "linear"],
}


class Killed(BaseException):
    """Stands for a driver that is gone at once."""


MADE_UP: dict[str, Callable[[float], float]] = {
    "mse": lambda accuracy: 40_000 * (1.03 - accuracy) ** 1.5,  # large and to be low
    "miou@mask": lambda accuracy: 0.8 * accuracy,
}


class MadeUpRunner:
    """Gives each job a made-up learning curve: larger networks end higher, each seed a little elsewhere.

    fail_every: each n-th job of the search fails. end_after, end: what is raised in place of the job after so many. metric: what the
    scores are of, besides accuracy and loss; see `MADE_UP`.
    """

    def __init__(
        self,
        fail_every: int = 0,
        end_after: int | None = None,
        end: Callable[[], BaseException] = Killed,
        spread: float = 0.004,
        metric: str = "accuracy",
    ) -> None:
        self.metric = metric
        self.fail_every, self.end_after, self.end, self.spread = fail_every, end_after, end, spread
        self.jobs = 0

    def run(self, next_job: Any, on_epoch: Any, on_end: Any) -> None:
        while (todo := next_job()) is not None:
            self.jobs += 1
            if self.end_after is not None and self.jobs > self.end_after:
                raise self.end()
            number, job = todo
            on_end(number, self.result(job, number, on_epoch))

    def result(self, job: Job, number: int, on_epoch: Any) -> Result:
        if self.fail_every and self.jobs % self.fail_every == 0 and not job.full:
            return Result(
                error=f"TrainingFailed: the loss became nan in epoch {1 + self.jobs % 3}; lower lr",
                seconds={"training": 0.2},
            )
        chance = random.Random(f"{key(job.arch)}-{job.seed}-{job.full}")
        size = count(job.arch)
        top = 0.99 - 0.35 * math.exp(-((size.params / 900) ** 0.6)) + chance.gauss(0, self.spread)
        epochs, result = job.recipe["epochs"], Result()
        for epoch in range(1, epochs + 1):
            accuracy = min(1.0, top - (top - 0.1) * math.exp(-2.2 * epoch**0.7) + chance.gauss(0, 0.003))
            row = {
                "epoch": epoch,
                "loss": 2.4 * (1 - accuracy),
                "val_loss": 2.6 * (1 - accuracy),
                "accuracy": accuracy,
                **self.scores(accuracy),
                "lr": 0.003,
                "seconds": 0.01 * epoch,
            }
            result.curve.append(row)
            result.seconds = {"training": epoch * (0.05 + size.macs * 2e-8)}
            if on_epoch(number, row):
                result.stopped = "pruned"
                break
        result.metrics = {**validation(result.curve[-1])}
        if job.test:
            accuracy = min(1.0, result.curve[-1]["accuracy"] + chance.gauss(-0.004, 0.003))
            result.test = {"accuracy": accuracy, "loss": 2.6 * (1 - accuracy), **self.scores(accuracy)}
        return result

    def scores(self, accuracy: float) -> dict[str, float]:
        """Return the metric of this runner where a classifier would be so accurate."""
        return {self.metric: MADE_UP[self.metric](accuracy)} if self.metric in MADE_UP else {}

    def close(self) -> None:
        pass


def made_up_plan(**changes: Any) -> Plan:
    """A plan for the made-up runner; `changes` replace its values."""
    values: dict[str, Any] = {
        "space": SPACE,
        "data": DataSpec("digits"),
        "objectives": tuple(parse_objectives("accuracy,-params")),
        "limits": (parse_limit("params<=20000"),),
        "trials": 24,
        "recipe": {"epochs": 6},
        "final_recipe": {"epochs": 12},
        "baselines": {"lenet": LENET, "plain": PLAIN},
        "finalists": 3,
    }
    return Plan(**{**values, **changes})


def made_up_run(folder: Path, runner: MadeUpRunner | None = None, **changes: Any) -> Path:
    """The folder of a run whose scores are made up; ends with what the runner raises, if it does."""
    search(made_up_plan(**changes), folder, lambda: runner or MadeUpRunner(fail_every=9), lambda status: None)
    return folder


def judged_by(run: Run, metric: str, others: Sequence[str] = ()) -> Run:
    """Return the run with a summary whose winners were chosen by a metric; `others` are known of test too."""
    summary, sign = json.loads(json.dumps(run.summary)), 1 if metric_or_value(metric).maximize else -1
    for row in (*summary["finalists"], *summary["control_finalists"], *summary["baselines"]):
        results = list(run.finals[row["key"]].values())
        seeds = [r["test"][metric] for r in results]
        seen = run.search.by_key.get(row["key"])
        row |= {
            "metric": metric, "test_seeds": seeds, "test_mean": statistics.fmean(seeds),
            "test_std": statistics.stdev(seeds) if len(seeds) > 1 else 0.0,
            "val": statistics.fmean(r["metrics"][metric] for r in results),
            "search_val": None if seen is None else run.search.records[seen].metrics.get(metric),
            "tests": {name: statistics.fmean(r["test"][name] for r in results) for name in (metric, *others)},
        }  # fmt: skip
    for place, rows in (("best", summary["finalists"]), ("control", summary["control_finalists"])):
        summary[place] = max(rows, key=lambda r: sign * r["val"], default={"test_mean": None, "test_std": None})
    return replace(run, summary=summary)


# ---------------------------------------------------------------- reading the page

VOID = {"meta", "link", "wbr", "br"}


class Balanced(HTMLParser):
    """Fails where an element is not closed in order; keeps the text and the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data


def text_of(run: Run) -> str:
    """The text of the page, with plain spaces."""
    return " ".join(Balanced(page(run)).words.replace("\u00a0", " ").split())


def changed(run: Run, **rows: dict[str, Any]) -> Run:
    """The run with other values in the rows of its summary, by name."""
    summary = json.loads(json.dumps(run.summary))
    for group in ("finalists", "control_finalists", "baselines"):
        for row in summary[group]:
            row.update(rows.get(row["name"], {}))
    for group in ("best", "control"):
        summary[group].update(rows.get(summary[group]["name"], {}))
    return replace(run, summary=summary)
