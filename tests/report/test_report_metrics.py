"""Page and words follow the metric: its name, its unit and its direction, for shares and for what is to be low."""

from __future__ import annotations

import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from support import ROOT, MadeUpRunner, changed, made_up_run, text_of

from nasforge.data import Source
from nasforge.objectives.objective import parse_objectives
from nasforge.report import Run, collect, report, words
from nasforge.report.format import value
from nasforge.report.history import best_so_far
from nasforge.report.page import page
from nasforge.report.plot_scatter import final_plot
from nasforge.report.progress import line
from nasforge.report.verdict import title, verdict
from nasforge.search.progress import Status

pytestmark = pytest.mark.slow

OBJECTIVES = {"accuracy": "accuracy,-params", "loss": "-loss,-params", "mse": "-mse,-params", "miou@mask": "miou@mask,-params"}
DATA = {"accuracy": "digits", "loss": "digits", "mse": "diabetes", "miou@mask": "digit_scenes"}
FINDS = {"digits": ("accuracy", "loss"), "diabetes": ("mse",), "digit_scenes": ("miou@mask", "accuracy@label", "loss")}
TITLES = {"accuracy": "accuracy", "loss": "loss", "mse": "mean squared error", "miou@mask": "mean IoU of mask"}
LOW = ("loss", "mse")


def run_of(metric: str, folder: Path) -> Run:
    """A finished run that is judged by a metric."""
    runner = MadeUpRunner(fail_every=9, finds=FINDS[DATA[metric]])
    made_up_run(folder, runner, data=Source(DATA[metric]), objectives=tuple(parse_objectives(OBJECTIVES[metric])))
    return collect(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = tmp_path_factory.mktemp("runs")
    return {metric: run_of(metric, folder / metric) for metric in OBJECTIVES}


def said(run: Run) -> str:
    return " ".join(words(run).split())


@pytest.mark.parametrize("metric", OBJECTIVES)
def test_title_and_scores(runs: dict[str, Run], metric: str) -> None:
    run = runs[metric]
    best = run.best()
    assert best is not None and run.score == metric
    name = TITLES[metric]
    wanted = rf"[\d.]+ ± [\d.]+ % {name} on test;" if metric not in LOW else rf"{name} [\d.,]+ ± [\d.,]+ on test, lower is better;"
    assert re.search(f"reaches {wanted}", title(run))
    assert re.search(f"reaches {wanted}", said(run)) and re.search(f"reaches {wanted}", text_of(run))
    pick = min if metric in LOW else max
    assert best["val"] == pick(r["val"] for r in run.rows("finalist"))
    extreme = "lowest" if metric in LOW else "highest"
    assert f"The winner is the finalist whose {name} on validation is the {extreme} on average" in text_of(run)
    assert f"{'low' if metric in LOW else 'high'} {name}, low parameters" in text_of(run)
    assert "more accurate" not in text_of(run)
    assert (f"The lower the {name}, the better the network" in text_of(run)) == (metric in LOW)


def test_no_per_cent_after_an_error(runs: dict[str, Run]) -> None:
    run = runs["mse"]
    for row in run.rows():
        for shown in (value("mse", row["val"]), value("mse", row["test_mean"])):
            assert "%" not in shown and float(shown.replace(",", "")) == pytest.approx(row["val"], rel=0.5)
    assert not re.search(r"error [\d.,± ]+%", said(run) + text_of(run))
    table = [s for s in words(run).splitlines() if re.match(r"(finalist|control)\d ", s)]
    assert table and all("%" not in s and "±" in s for s in table)
    assert "accuracy" not in said(run) and "accuracy" not in text_of(run)


@pytest.mark.parametrize("metric", OBJECTIVES)
def test_verdict_words_both_ways(runs: dict[str, Run], metric: str) -> None:
    run = runs[metric]
    best, control = run.best(), run.best_control()
    assert best is not None and control is not None
    good, bad = (0.2, 0.3) if metric in LOW else (0.8, 0.7)
    gap = r"0\.100" if metric in LOW else r"10\.0 points"
    for ours, theirs, sentence in (
        (good, bad, f"The search is ahead of random search with the same budget by {gap} in {TITLES[metric]} on test"),
        (bad, good, f"Random search with the same budget found a better network: {gap} ahead in {TITLES[metric]} on test"),
    ):
        rows = {r["name"]: scored(r["name"], mean) for r, mean in ((best, ours), (control, theirs))}
        judged = changed(run, **rows, lenet=scored("lenet", theirs), plain=scored("plain", ours))
        told = verdict(judged)
        assert re.match(sentence, told[0]) and re.match(sentence, next(s[2:] for s in said_lines(judged) if s.startswith("- ")))
        relation = "is better than" if ours == good else "does not reach"
        assert any(f"{best['name']} {relation} lenet" in s for s in told)
        assert any(f"{best['name']} is, within the spread, as good as plain" in s for s in told)


def scored(key: str, mean: float) -> dict[str, Any]:
    return {"key": key, "test_mean": mean, "test_std": 0.01, "test_seeds": [mean - 0.01, mean, mean + 0.01]}


def said_lines(run: Run) -> list[str]:
    return words(run).replace("\n  ", " ").splitlines()


@pytest.mark.parametrize("metric", OBJECTIVES)
def test_plots(runs: dict[str, Run], metric: str) -> None:
    run = runs[metric]
    drawing = final_plot(run, "params", 580)
    assert f"{TITLES[metric]} (test, mean ± standard deviation" in drawing
    ticks = re.findall(r'text-anchor="end" class="tick">([^<]*)<', drawing)
    assert len(ticks) > 1 and all(t.endswith(" %") == (metric not in LOW) for t in ticks)
    numbers = [float(t.removesuffix(" %").replace(",", "")) for t in ticks]
    assert numbers == sorted(numbers)
    text = page(run)
    assert (f"{TITLES[metric]} (validation), lower is better" in text) == (metric in LOW)
    assert f"{TITLES[metric]} (validation)" in text and text.count('class="curve bold') >= 8  # learning curves have their column
    best = [v for _, v in best_so_far(run, run.search)]
    assert best == sorted(best, reverse=metric in LOW)
    volumes = re.search(r"hypervolume: share of the box.*?</svg>", text, re.DOTALL)
    assert volumes and " %<" in volumes[0]
    note = {"accuracy": "costs and errors", "miou@mask": "costs and errors", "loss": "costs", "mse": "costs"}[metric]
    assert f"best values seen; {note} count as powers of ten" in text_of(run)


def test_other_metrics_on_test(runs: dict[str, Run]) -> None:
    text = text_of(runs["miou@mask"])
    assert "Also on testnetworkaccuracy of labelloss, lower is betterfinalist1" in text
    assert re.search(r"also on test: [\d.]+ % accuracy of label, loss [\d.]+", said(runs["miou@mask"]))
    assert re.search(r"also on test: loss [\d.]+", said(runs["accuracy"]))
    assert "lso on test" not in text_of(runs["mse"]) + said(runs["mse"])  # the table has the only one already


def test_before_the_end(runs: dict[str, Run]) -> None:
    run = replace(runs["mse"], summary=None)
    leader = run.leader()
    assert leader is not None and leader.metrics["mse"] == min(r.metrics["mse"] for r in run.search.finished())
    wanted = f"best so far is trial {leader.number}: mean squared error {value('mse', leader.metrics['mse'])} (lower is better), parameters"
    assert wanted in said(run) and wanted in text_of(run) and "%" not in title(run)


def test_what_the_live_display_says() -> None:
    status = Status("search", 3, 9, best={"miou@mask": 0.61234, "mse": 2914.0, "latency_ms": 3.21987}, front=2)
    assert "best mean IoU of mask 61.2 %, mean squared error 2,910, latency 3.22 ms, front 2" in line(status)


# ---------------------------------------------------------------- runs of version 0.1


def test_runs_of_version_0_1_have_a_report(tmp_path: Path) -> None:
    with tarfile.open(ROOT / "tests" / "fixtures" / "runs_0_1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    whole, old = collect(tmp_path / "whole"), collect(tmp_path / "old")
    assert "finalist1, 1,582 parameters, reaches 16.3 ± 0.6 % accuracy on test" in title(whole)
    assert title(whole).split(";")[0] in said(whole) and "lso on test" not in text_of(whole)
    assert report(whole.folder).read_text(encoding="utf-8") == page(whole)
    assert old.summary is None and "Not finished" in said(old) and "Not finished" in text_of(old)
