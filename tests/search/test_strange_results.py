"""Evaluators that give no numbers, products that no number holds, and files of a run that are links: never a traceback."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from support import Inline, quick, small_plan

from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.evaluation.base import Job, OnReport, Report, Result
from nasforge.objectives.objective import parse_limit, parse_objectives
from nasforge.report import collect, report
from nasforge.report.page import page
from nasforge.search.session import search
from nasforge.storage.open import open_storage

STRANGE = [math.nan, math.inf, -math.inf, None, "x", [1], True]


class Sometimes:
    """An evaluator that gives `value` instead of the accuracy, for every second network of the search or for all finals."""

    def __init__(self, value: Any, where: str) -> None:
        self.value, self.where, self.jobs = value, where, 0

    def __call__(self, job: Job, on_report: OnReport) -> Result:
        self.jobs += not job.full
        wrong = job.full if self.where == "test" else self.jobs % 2 == 0 and not job.full
        result = quick(job, lambda report: on_report(self.strange(report) if wrong else report))
        if wrong and self.where == "metrics":
            result.metrics |= {"accuracy": self.value, "f1": self.value}
        if wrong and self.where == "nothing":
            result.metrics = {}
        if wrong and self.where == "test":
            result.test = {"accuracy": self.value}
        return result

    def strange(self, report: Report) -> Report:
        return Report(report.epoch, {**report.row, "accuracy": self.value}) if self.where == "curve" and report.epoch == 2 else report


@pytest.mark.parametrize("value", STRANGE)
@pytest.mark.parametrize("where", ["metrics", "curve", "nothing", "test"])
def test_an_evaluator_that_gives_no_numbers_fails_its_trial(tmp_path: Path, value: Any, where: str) -> None:
    scheduler = "asha" if where == "curve" else "none"
    summary = search(small_plan(trials=6, scheduler=scheduler), tmp_path, lambda: Inline(Sometimes(value, where)), lambda status: None)
    run = collect(tmp_path)
    messages = {r.message for r in run.search.records.values() if r.kind == "failed"}
    if where == "test":
        assert [row["errors"] for row in summary["finalists"]] == [[f"accuracy must be a finite number, got {value!r} from the evaluator"]]
    else:
        got = "'none'" if where == "nothing" else repr(value)
        assert summary["failed"] == 3
        assert messages == {f"accuracy must be a finite number, got {got} from the evaluator; lower lr, or mend it"}
    page(run)


def test_a_limit_on_what_is_no_number_is_not_kept(tmp_path: Path) -> None:
    def evaluate(job: Job, on_report: OnReport) -> Result:
        result = quick(job, on_report)
        result.metrics["macro_f1"] = math.nan
        return result

    plan = small_plan(trials=3, objectives=tuple(parse_objectives("-loss")), limits=(parse_limit("macro_f1>=0.5"),))
    summary = search(plan, tmp_path, lambda: Inline(evaluate), lambda status: None)
    assert (summary["failed"], summary["finished"]) == (3, 0)


@pytest.mark.parametrize("text", ["accuracy*(params/1e-300)^300", "accuracy*(params/1)^1e300", "accuracy*(params/1e300)^-300"])
def test_a_product_that_no_number_holds_fails_its_trials(tmp_path: Path, text: str) -> None:
    search(small_plan(trials=2, objectives=tuple(parse_objectives(text))), tmp_path, lambda: Inline(quick), lambda status: None)
    run = collect(tmp_path)
    assert {r.message for r in run.search.records.values()} == {
        f"{text} must be a finite number, got one that is none or too large; choose a target near the costs"
    }
    page(run)


def test_products_of_zero_and_below() -> None:
    product = parse_objectives("accuracy*(latency_ms/5)^-0.5")[0]
    assert math.isnan(product.value({"accuracy": 0.9, "latency_ms": 0.0}))
    assert math.isnan(product.value({"accuracy": 0.9, "latency_ms": -1.0}))


# ---------------------------------------------------------------- files of a run


def test_links_in_a_run_are_replaced_and_never_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious", encoding="utf-8")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("summary.json", "summary.json.part", "report.html", "report.html.part"):
        (run / name).symlink_to(mine)
    search(small_plan(trials=2), run, lambda: Inline(quick), lambda status: None)
    report(run)
    assert mine.read_text(encoding="utf-8") == "precious"
    assert not any((run / name).is_symlink() for name in ("summary.json", "report.html"))
    assert json.loads((run / "summary.json").read_text(encoding="utf-8"))["finished"] == 2


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run."""
    folder = tmp_path_factory.mktemp("done")
    search(small_plan(trials=3), folder, lambda: Inline(quick), lambda status: None)
    return folder


@pytest.mark.parametrize("number", ["\u00b2", "9" * 200, "-1", "99", "\u0663"])
def test_numbers_of_trials_that_there_are_not(done: Path, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", f"{done}:{number}"]) == 2
    assert capsys.readouterr().err.startswith(f"nasforge show: {done}")


def test_names_of_files_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path / "a\udc80.yaml")]) == 2
    assert "a\\udc80.yaml" in capsys.readouterr().err
    run = tmp_path / "run\udc80"
    search(small_plan(trials=2), run, lambda: Inline(quick), lambda status: None)
    assert "run\\udc80" in report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["manifest.json", "study.journal"])
def test_deep_nesting_in_a_run_is_said(done: Path, tmp_path: Path, name: str) -> None:
    for file in ("manifest.json", "study.journal", "space.yaml"):
        (tmp_path / file).write_bytes((done / file).read_bytes())
    with (tmp_path / name).open("a", encoding="utf-8") as file:
        file.write("\n" + "[" * 200_000 + "\n")
    if name == "manifest.json":
        (tmp_path / name).write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(UserError, match=name):
        collect(tmp_path)
        open_storage(tmp_path, None)


@pytest.mark.parametrize("url", ["postgresql://me:se@cret@127.0.0.1:9/db", "postgresql://me:se/cret@127.0.0.1:9/db"])
def test_a_password_that_is_not_escaped_is_not_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="PGPASSWORD or PGPASSFILE") as caught:
        open_storage(tmp_path, url)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["nosuch://me:secret@127.0.0.1/db", "postgresql://me:secret@nowhere.invalid:x/db?password=secret"])
def test_a_password_is_in_no_message(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="--storage") as caught:
        open_storage(tmp_path, url)
    assert "secret" not in str(caught.value)
