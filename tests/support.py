"""What tests share: real data beside the checkout, a small space, and runs of the real session with made-up scores."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest

from nasforge.data import Source
from nasforge.evaluation.base import Decision, Evaluator, Job, OnReport, Report, Result
from nasforge.evaluation.train import STOPS
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.objectives.objective import parse_limit, parse_objectives, validation
from nasforge.report import Run
from nasforge.report.page import page
from nasforge.runners import Driver
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.files import parse
from nasforge.storage.open import open_storage

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


MADE_UP_SPACE: dict[str, Any] = {
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


MADE_UP: dict[str, Callable[[float], float]] = {  # what a metric is where a classifier would be so accurate
    "accuracy": lambda accuracy: accuracy,
    "loss": lambda accuracy: 2.6 * (1 - accuracy),
    "mse": lambda accuracy: 40_000 * (1.03 - accuracy) ** 1.5,  # large and to be low
    "miou@mask": lambda accuracy: 0.8 * accuracy,
    "accuracy@label": lambda accuracy: accuracy,
}


class MadeUpRunner:
    """Gives each job a made-up learning curve: larger networks end higher, each seed a little elsewhere.

    fail_every: each n-th job of the search fails. end_after, end: what is raised in place of the job after so many. finds: the
    metrics that it finds out; see `MADE_UP`.
    """

    def __init__(
        self,
        fail_every: int = 0,
        end_after: int | None = None,
        end: Callable[[], BaseException] = Killed,
        spread: float = 0.004,
        finds: Sequence[str] = ("accuracy", "loss"),
    ) -> None:
        self.fail_every, self.end_after, self.end, self.spread, self.finds = fail_every, end_after, end, spread, finds
        self.jobs = 0

    def run(self, driver: Driver) -> None:
        while (todo := driver.next_job()) is not None:
            self.jobs += 1
            if self.end_after is not None and self.jobs > self.end_after:
                raise self.end()
            number, job = todo
            driver.on_end(number, self.result(job, number, lambda report, n=number: driver.on_report(n, report)))

    def result(self, job: Job, number: int, on_report: OnReport) -> Result:
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
            others = {name: value for name, value in self.scores(accuracy).items() if name != "loss"}
            row = {
                "epoch": epoch,
                "loss": 2.4 * (1 - accuracy),
                "val_loss": 2.6 * (1 - accuracy),
                **others,
                "lr": 0.003,
                "seconds": 0.01 * epoch,
            }
            result.curve.append(row)
            result.seconds = {"training": epoch * (0.05 + size.macs * 2e-8)}
            result.stopped = STOPS[on_report(Report(epoch, row))]
            if result.stopped is not None:
                break
        result.metrics = {**validation(result.curve[-1])}
        if job.test:
            result.test = self.scores(min(1.0, accuracy + chance.gauss(-0.004, 0.003)))
        return result

    def scores(self, accuracy: float) -> dict[str, float]:
        """Return the metrics of this runner where a classifier would be so accurate."""
        return {name: MADE_UP[name](accuracy) for name in self.finds}

    def close(self) -> None:
        pass


def made_up_for(arch: dict[str, Any], spec: str) -> dict[str, Any]:
    """Return an architecture or space for digits as one for other data: `diabetes`, or `digit_scenes` with a head for each target."""
    if spec == "diabetes":
        return {**arch, "input": [10, 1], "classes": 1}
    if spec == "digit_scenes":
        mask = [{"up": {"factor": 2}}, {"conv": {"out": "classes", "kernel": 1, "norm": "none", "act": "none"}}]
        heads = {"mask": mask, "label": [*arch["head"][:-1], {"linear": {"out": 4}}]}
        return {**{k: v for k, v in arch.items() if k != "head"}, "input": [3, 32, 32], "classes": 11, "heads": heads}
    return arch


def made_up_plan(data: Source | None = None, **changes: Any) -> Plan:
    """Return a plan for the made-up runner; `changes` replace its values."""
    data = data or Source("digits")
    values: dict[str, Any] = {
        "space": made_up_for(MADE_UP_SPACE, data.spec),
        "data": data,
        "objectives": tuple(parse_objectives("accuracy,-params")),
        "limits": (parse_limit("params<=20000"),),
        "trials": 24,
        "recipe": {"epochs": 6},
        "final_recipe": {"epochs": 12},
        "baselines": {"lenet": made_up_for(LENET, data.spec), "plain": made_up_for(PLAIN, data.spec)},
        "finalists": 3,
    }
    return Plan(**{**values, **changes})


def made_up_run(folder: Path, runner: MadeUpRunner | None = None, **changes: Any) -> Path:
    """The folder of a run whose scores are made up; ends with what the runner raises, if it does."""
    search(made_up_plan(**changes), folder, lambda: runner or MadeUpRunner(fail_every=9), lambda status: None)
    return folder


# ---------------------------------------------------------------- small searches

DATA = Source("digits", limit=300)
SMALL_SPACE = parse("""
input: [1, 8, 8]
classes: 10
body:
  - conv: {out: {choose: [4, 8, 12, 16]}, kernel: {choose: [1, 3, 5]}}
  - stage: {block: {conv: {out: {choose: [8, 16]}}}, depth: {int: [0, 2]}}
  - {choose: [identity, {dropout: {p: 0}}]}
head: [gap_head]
""")


class Inline:
    """A runner in this process, with an evaluator or a function `(job, on_report) -> result` of the test's choosing; keeps the jobs."""

    def __init__(self, evaluate: Evaluator | Callable[[Job, OnReport], Result]) -> None:
        self.evaluate = evaluate if callable(evaluate) else evaluate.evaluate
        self.jobs: list[Job] = []

    def run(self, driver: Driver) -> None:
        while (asked := driver.next_job()) is not None:
            number, job = asked
            self.jobs.append(job)
            driver.on_end(number, self.evaluate(job, lambda report, n=number: driver.on_report(n, report)))

    def close(self) -> None:
        pass


def quick(job: Job, on_report: OnReport) -> Result:
    """An evaluator that scores by the architecture alone: for what does not depend on training."""
    out = job.arch["body"][0]["conv"]["out"]
    curve = []
    for epoch in (1, 2, 3):
        row = {"loss": 1.0, "val_loss": 1 / out, "accuracy": out / 20 * epoch / 3, "epoch": epoch}
        curve.append(row)
        stopped = STOPS[on_report(Report(epoch, row))]
        if stopped is not None:
            return Result({"accuracy": row["accuracy"], "loss": 1.0}, curve=curve, stopped=stopped)
    return Result({"accuracy": out / 20, "loss": 1 / out}, test={"accuracy": out / 20}, curve=curve, seconds={"training": 0.01})


def going_on(report: Report) -> Decision:
    """Let a training go on, whatever it reports."""
    return Decision.CONTINUE


def small_plan(**changes: Any) -> Plan:
    """Return a plan of a few trials on digits: random, never stopped early, without a control; `changes` replace its values."""
    asked = Plan(
        SMALL_SPACE, DATA, tuple(parse_objectives("accuracy,-params")), strategy="random", scheduler="none", trials=8, finalists=1,
        final_seeds=1, control=False,
    )  # fmt: skip
    return replace(asked, **changes)


def records(folder: Path, name: str = "search") -> list[dict[str, Any]]:
    """Return the records of the trials of a run, by number."""
    study = optuna.load_study(study_name=name, storage=open_storage(folder, None, write=False))
    return [t.user_attrs.get("record", {}) for t in study.trials]


# ---------------------------------------------------------------- plugins

RANKS_SPACE = """
input: [3, 1]
classes: 4
body: [flatten, {wavy: {out: {choose: [4, 8, 16]}}}, {wave: {pace: {choose: [1.0, 2.0]}}}]
head: [linear]
"""


def ranks_example(folder: Path) -> Path:
    """Write the example of docs/plugins.md into a folder, with a space and data for it; return the plugin."""
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    parts = {kind: body for kind, body in reversed(re.findall(r"^```(python|yaml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE))}
    lines = [f"{i % 7} {i % 11} {i % 13} | {(i % 7 + i % 11) // 5}" for i in range(300)]
    files = {"ranks.py": parts["python"], "ranks.yaml": parts["yaml"], "space.yaml": RANKS_SPACE, "set.ranks": "\n".join(lines)}
    for name, body in files.items():
        (folder / name).write_text(body, encoding="utf-8")
    return folder / "ranks.py"


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
        summary[group].update(rows.get(summary[group].get("name", ""), {}))
    return replace(run, summary=summary)
