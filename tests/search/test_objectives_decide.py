"""What is asked for decides: finalist, winner, early stopping and limits follow it, and what can never be known is refused at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import Inline, changed, records, small_plan, text_of

from nasforge.api.named import space_named
from nasforge.cli import main
from nasforge.data import Source
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Decision, Job, OnReport, Report, Result
from nasforge.evaluation.train import STOPS
from nasforge.objectives.objective import parse_limit, parse_objectives
from nasforge.report import collect
from nasforge.search.session import search
from nasforge.search.settings import plan_of


def torn(job: Job, on_report: OnReport) -> Result:
    """The wider a network, the more accurate it is, and the higher its loss."""
    out = job.arch["body"][0]["conv"]["out"]
    found = {"accuracy": out / 20, "loss": out / 10, "macro_f1": 1 - out / 20, "balanced_accuracy": out / 20, "auc": 0.5, "top5": 1.0}
    row = {"epoch": 1, **found, "val_loss": found["loss"], "loss": 1 / out}  # of the training part: another
    stopped = STOPS[on_report(Report(1, row))]
    return Result(dict(found), test=dict(found) if job.test else {}, curve=[row], stopped=stopped, seconds={"training": 0.01})


def run(objective: str, folder: Path, evaluate: Any = torn, **changes: Any) -> tuple[dict[str, Any], list[Job]]:
    plan = small_plan(**{"objectives": tuple(parse_objectives(objective)), "trials": 12, "finalists": 2, **changes})
    runner = Inline(evaluate)
    return search(plan, folder, lambda: runner, lambda status: None), runner.jobs


@pytest.mark.parametrize(
    ("objective", "metric", "wanted"),
    [("-loss", "loss", 0.4), ("accuracy", "accuracy", 0.8), ("-loss,-params", "loss", 0.4), ("accuracy,-loss", "accuracy", 0.8)],
)
def test_finalists_and_winner_are_the_best_by_the_objective(objective: str, metric: str, wanted: float, tmp_path: Path) -> None:
    summary, _ = run(objective, tmp_path, trials=24)
    found = [r["metrics"][metric] for r in records(tmp_path) if r["kind"] == "finished"]
    assert wanted == (min if metric == "loss" else max)(found) and len(set(found)) > 2
    best = summary["best"]
    assert best["val"] == best["test_mean"] == wanted == summary["finalists"][0]["val"]
    assert {row["metric"] for row in summary["finalists"]} == {metric} == {best["metric"]}
    assert set(best["tests"]) == {"accuracy", "loss", "macro_f1", "balanced_accuracy", "auc", "top5"}
    tied = [row for row in summary["finalists"] if row["val"] == wanted]
    assert best["params"] == min(row["params"] for row in tied)


def test_a_cost_that_comes_first_decides_and_the_main_metric_breaks_ties(tmp_path: Path) -> None:
    summary, jobs = run("-params", tmp_path)
    best, rows = summary["best"], summary["finalists"]
    assert best["metric"] == "accuracy" and not any("monitor" in job.recipe for job in jobs)
    assert best["params"] == min(row["params"] for row in rows) < max(row["params"] for row in rows)
    assert best["val"] == max(row["val"] for row in rows if row["params"] == best["params"])


def test_the_smallest_finalist_that_is_accurate_enough_wins(tmp_path: Path) -> None:
    bound = parse_limit("accuracy>=.3")
    summary, _ = run("-params", tmp_path, trials=24, finalists=4, limits=(bound,), control=True, strategy="tpe")
    for group, winner in (("finalists", "best"), ("control_finalists", "control")):
        rows = summary[group]
        assert summary[winner]["params"] == min(row["params"] for row in rows)
        assert summary[winner]["val"] < max(row["val"] for row in rows)  # the most accurate one is another
    page = text_of(collect(tmp_path))
    assert "The winner is the finalist of lowest parameters among those that keep all limits" in page
    other = changed(collect(tmp_path), **{summary["control"]["name"]: {"key": "other", "objectives": {"params": 10**6}}})
    assert "By parameters, which comes first, the winner is better than that of random search" in text_of(other)


def test_a_product_decides_in_the_finals_too(tmp_path: Path) -> None:
    summary, _ = run("accuracy*(params/1000)^-3", tmp_path, trials=24, finalists=6)
    rows = {row["name"]: row["val"] * (1000 / row["params"]) ** 3 for row in summary["finalists"]}
    assert summary["best"]["name"] == max(rows, key=lambda name: rows[name])
    assert summary["best"]["val"] < max(row["val"] for row in summary["finalists"])


def test_a_finalist_that_breaks_a_limit_after_its_final_trainings_is_refused(tmp_path: Path) -> None:
    def falls(job: Job, on_report: OnReport) -> Result:
        result = torn(job, on_report)
        if job.full and job.arch["body"][0]["conv"]["out"] == 16:
            result.metrics["auc"] = 0.25 + job.seed / 10  # 0.3 on average
        return result

    for limit, refused in (("auc>=.4", {"auc>=0.4: 0.3 on val after the final trainings"}), ("auc>=.3", set())):
        folder = tmp_path / limit
        summary, _ = run("accuracy", folder, falls, trials=24, finalists=24, final_seeds=2, limits=(parse_limit(limit),))
        assert {word for row in summary["finalists"] for word in row["refused"]} == refused
        assert summary["best"]["val"] == (0.6 if refused else 0.8)
        assert not refused or f"does not keep {min(refused)}." in text_of(collect(folder))


def test_an_objective_that_begins_with_a_minus_is_read_after_a_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["--objective", "-mse"], ["--obj", "-mse,-params"], ["--objective=-mse"]):
        assert main(["search", "digits", *words]) == 2
        assert "the task classification has no mse" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["search", "digits", "--objective", "--trials", "3"])
    assert "--objective: expected one argument" in capsys.readouterr().err


def test_early_stopping_in_a_training_follows_the_objective(tmp_path: Path) -> None:
    for objective, monitor in (("-loss", "loss"), ("macro_f1,-params", "macro_f1"), ("accuracy", None), ("-params,auc", "auc")):
        _, jobs = run(objective, tmp_path / objective, trials=3, scheduler="asha")
        assert {job.recipe.get("monitor") for job in jobs} == {monitor} and {job.full for job in jobs} == {False, True}


def test_a_training_keeps_the_epoch_that_the_monitor_calls_best() -> None:
    train = prepared(Context(source=Source("digits", limit=200))).evaluate
    arch = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 6, "stride": 2}}], "head": ["gap_head"]}
    recipe = {"epochs": 8, "early_stopping": 8, "lr": 0.05}
    for monitor, column, pick in (("loss", "val_loss", min), ("accuracy", "accuracy", max), ("macro_f1", "macro_f1", max)):
        result = train(Job(arch, recipe={**recipe, "monitor": monitor}), lambda report: Decision.CONTINUE)
        assert result.error is None and result.metrics[monitor] == pick(row[column] for row in result.curve)
    wrong = train(Job(arch, recipe={**recipe, "monitor": "miou"}), lambda report: Decision.CONTINUE)
    assert "recipe.monitor: must be a metric of the task classification" in (wrong.error or "")


def test_the_scheduler_stops_what_is_worse_by_the_objective(tmp_path: Path) -> None:
    def slow(job: Job, on_report: OnReport) -> Result:
        out, curve = job.arch["body"][0]["conv"]["out"], []
        for epoch in (1, 2, 3):
            curve.append({"epoch": epoch, "accuracy": out / 20, "val_loss": float(out), "loss": 1.0})
            if (stopped := STOPS[on_report(Report(epoch, curve[-1]))]) is not None:
                break
        found = {"accuracy": out / 20, "loss": float(out)}
        return Result(found, test=dict(found), curve=curve, stopped=stopped)

    for objective, best in (("-loss", 4), ("accuracy", 16)):
        run(objective, tmp_path / objective, slow, trials=30, scheduler="asha", recipe={"epochs": 3, "early_stopping": None})
        stopped = [r["metrics"]["accuracy"] * 20 for r in records(tmp_path / objective) if r["kind"] == "pruned"]
        assert stopped and best not in [round(out) for out in stopped]


@pytest.mark.parametrize("limit", ["balanced_accuracy>=.5", "macro_f1>=.6", "auc>=.5", "top5>=.9", "loss<=1.2", "accuracy<=.5"])
def test_a_limit_on_another_metric_is_kept(limit: str, tmp_path: Path) -> None:
    bound = parse_limit(limit)
    summary, _ = run("-params" if limit.startswith("balanced") else "accuracy", tmp_path, limits=(bound,))
    kept = [r["metrics"][bound.metric] for r in records(tmp_path) if r["kind"] == "finished"]
    assert len(kept) == 12
    if bound.metric in ("balanced_accuracy", "macro_f1", "loss", "accuracy"):
        assert any(bound.excess(value) > 0 for value in kept)  # there was something to keep out
    for row in summary["finalists"]:
        assert bound.excess(row["tests"][bound.metric]) <= 0
    assert summary["best"] is not None


def test_a_limit_that_nothing_keeps_leaves_no_finalist(tmp_path: Path) -> None:
    summary, _ = run("accuracy", tmp_path, limits=(parse_limit("auc>=.9"),))
    assert summary["finalists"] == [] and summary["best"] is None


def test_real_trainings_keep_such_limits_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "search",
        "digits",
        "--data-limit",
        "300",
        "--objective=-loss,-params",
        "--constraint",
        "balanced_accuracy>=.15",
        "--epochs",
        "2",
    ]
    more = [
        "--trials",
        "4",
        "--final-epochs",
        "2",
        "--final-seeds",
        "1",
        "--finalists",
        "1",
        "--no-control",
        "--runner",
        "inline",
        "--json",
    ]
    assert main([*words, *more, "--constraint", "top5>=.2", "--run", str(tmp_path)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["best"] is None or summary["best"]["metric"] == "loss"
    trained = [r["metrics"] for r in records(tmp_path) if r["kind"] in ("finished", "pruned")]
    assert trained and all({"balanced_accuracy", "macro_f1", "auc", "top5", "loss", "accuracy"} <= set(m) for m in trained)


REFUSED = [
    (["digits", "--objective", "miou"], "the task classification has no miou; it has accuracy, loss, top5"),
    (["digits", "--objective", "accuracy,-mse"], "the task classification has no mse"),
    (["digits", "--objective", "accuracy*(perplexity/2)^-1"], "the task classification has no perplexity"),
    (["digits", "--constraint", "r2>=.5"], "the task classification has no r2"),
    (["digits", "--objective", "accuracy@mask"], "the task classification has no accuracy@mask"),
    (["digits", "--objective", "synflow"], "the task classification has no synflow"),
    (["digits", "--task", "segmentaton"], "--task segmentaton: no such task; did you mean 'segmentation'"),
    (["digits", "--task", "segmentation"], "learns a target of kind mask, digits has one of kind label; such data are for classification"),
    (["pyramid", "--data", "digits"], "heads: made for the targets mask, label, the data set digits has label"),
    (["digits", "--data", "digit_scenes"], "heads: the data set digit_scenes has the targets mask, label"),
    (["digits", "--data", "diabetes"], "input: made for [1, 8, 8], the data set diabetes has [10]"),
    (["pyramid", "--data", "digit_scenes", "--objective", "miou"], "the task heads has no miou; it has miou@mask"),
    (["digits", "--evaluator", "proxy", "--objective", "accuracy"], "does not find out accuracy"),
]


def test_a_measured_latency_is_an_objective_of_real_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "digits", "--objective", "accuracy,-latency_ms", "--data-limit", "200", "--trials", "5", "--epochs", "4", "--json",
             "--final-epochs", "1", "--finalists", "1", "--final-seeds", "1", "--seed-arch", "lenet5", "--runner", "inline"]  # fmt: skip
    assert main([*words, "--run", str(tmp_path / "run")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["failed"] == 0 and found["finished"] + found["pruned"] == 5 and found["best"]
    assert all(r["metrics"]["latency_ms"] > 0 for r in records(tmp_path / "run") if r["kind"] in ("finished", "pruned"))



@pytest.mark.parametrize(("words", "told"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_cannot_be_is_refused_before_a_folder_is_made(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["search", *words, "--run", str(tmp_path / "run")]) == 2
    captured = capsys.readouterr()
    assert told in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_an_objective_that_looks_for_what_is_worse_is_told() -> None:
    def notes(objective: str) -> list[str]:
        said: list[str] = []
        plan_of(space_named("digits"), {"data": "digits", "data_limit": 300, "objective": objective}, lambda name: {}, said.append)
        return [note for note in said if note.startswith("--objective")]

    assert notes("params") == ["--objective params: the larger the parameters, the better; -params is the other way round"]
    assert notes("-accuracy,-params") == ["--objective -accuracy: the smaller the accuracy, the better; accuracy is the other way round"]
    assert notes("accuracy,-params") == notes("-loss") == notes("accuracy*(params/9000)^-0.07") == []
