"""What a report works out of a run, against counts and sums by hand."""

from __future__ import annotations

import random
from pathlib import Path

import optuna
import pytest
from support import MadeUpRunner, made_up_run

from nasforge.evaluation.base import Job, OnReport, Result
from nasforge.objectives.objective import parse_objectives
from nasforge.report import Run, collect, words
from nasforge.report.budget import counts, savings
from nasforge.report.history import best_so_far, counted, volume_so_far
from nasforge.report.insights import choice_shares, good, importances, operator_shares, operators, trained
from nasforge.report.page import page


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Run:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return collect(made_up_run(tmp_path_factory.mktemp("runs") / "ended"))


def test_history_ends_where_the_summary_does(ended: Run) -> None:
    assert ended.summary is not None
    volumes = volume_so_far(ended)
    for name, ledger in ended.ledgers.items():
        shares = [share for _, share in volumes[name]]
        assert shares == sorted(shares) and len(shares) == len(counted(ledger)) == ended.trained(ledger)
        assert shares[-1] == pytest.approx(ended.summary["hypervolume"][name], abs=1e-4)  # stored with four digits
        best = best_so_far(ended, ledger)
        assert best[-1] == (ended.trained(ledger), max(r.metrics["accuracy"] for r in ledger.finished()))
        assert [v for _, v in best] == sorted(v for _, v in best)


def test_savings_by_hand(ended: Run) -> None:
    records = [r for ledger in ended.ledgers.values() for r in ledger.records.values()]
    whole_trainings = [r.seconds["training"] for r in records if r.kind == "finished"]
    mean = sum(whole_trainings) / len(whole_trainings)
    duplicates, infeasible, pruned = savings(ended)
    for kind, saved in (("duplicate", duplicates), ("infeasible", infeasible)):
        number = sum(r.kind == kind for r in records)
        assert number and saved[1] == number and saved[2] == pytest.approx(number * mean)
    cut = [r for r in records if r.kind == "pruned"]
    left = sum(r.seconds["training"] * (6 - len(r.curve)) / len(r.curve) for r in cut)  # the plan has 6 epochs
    assert cut and pruned[1] == len(cut) and pruned[2] == pytest.approx(left)


def test_counts_are_those_of_the_ledger(ended: Run) -> None:
    assert ended.summary is not None
    numbers = dict(counts(ended))["search"]
    assert numbers["duplicate"] == ended.summary["duplicates"]
    assert all(numbers[kind] == ended.summary[kind] for kind in ("finished", "pruned", "failed", "infeasible"))


class OnlyPool(MadeUpRunner):
    """The accuracy depends on the pooling of the head alone."""

    def result(self, job: Job, number: int, on_report: OnReport) -> Result:
        chance = random.Random(number)
        score = (0.9 if {"pool": {"kind": "avg"}} in job.arch["head"] else 0.5) + chance.random() * 0.01
        row = {"epoch": 1, "loss": 1 - score, "val_loss": 1 - score, "accuracy": score, "lr": 0.1, "seconds": 0.1}
        test = {"accuracy": score, "loss": 1 - score} if job.test else {}
        return Result({"accuracy": score, "loss": 1 - score}, test, [row], {"training": 0.1})


def test_what_mattered_is_found(tmp_path: Path) -> None:
    objectives = tuple(parse_objectives("accuracy"))
    run = collect(
        made_up_run(tmp_path / "run", OnlyPool(), objectives=objectives, trials=40, strategy="random", scheduler="none", limits=(), seed=2)
    )
    found, why_not = importances(run)
    assert why_not == "" and found[0].name == "head.0.pool.kind"
    assert found[0].share > 2 * found[1].share
    assert sum(i.share for i in found) == pytest.approx(1)
    conditional = next(i for i in found if i.name == "body.0.stage.block.conv.out")  # asked of plain blocks only
    assert 0 < conditional.drawn < conditional.finished == run.search.count("finished")
    assert "depth" not in found[0].name and "head.0.pool.kind" in words(run)
    common = {s.name: s for s in operator_shares(run)}
    best, which = good(run)
    assert which == "with the best accuracy" and len(best) == 10
    assert common["avg pool"].good == 1 and common["max pool"].good == 0
    drawn = [r.choices["head.0.pool.kind"] == "avg" for r in trained(run)]
    assert common["avg pool"].all == pytest.approx(sum(drawn) / len(drawn))
    assert choice_shares(run)[0].name == "head.0.pool.kind = avg"


def test_few_trials_are_not_overread(tmp_path: Path) -> None:
    run = collect(made_up_run(tmp_path / "run", MadeUpRunner(), trials=4, baselines={}, control=False))
    assert importances(run) == ([], f"needs at least 10 finished trials, there are {run.search.count('finished')}")
    assert "What mattered" not in page(run) and "what mattered" not in words(run)


def test_operators_by_hand() -> None:
    inside = {"basic": {"out": 16}}
    arch = {
        "input": [3, 8, 8],
        "stem": [{"conv": {"out": 8, "kernel": 5}}],
        "body": [{"stage": {"block": inside, "depth": 2}}, {"depthwise": {"kernel": 3}}],
        "head": [{"pool": {"kind": "avg"}}, "linear"],
    }
    found = list(operators(arch))
    assert found.count("conv 3×3") == 4 and found.count("shortcut") == 2  # two basic blocks of two convolutions each
    assert found.count("conv 5×5") == 1 and found.count("depthwise conv 3×3") == 1
    assert found[-2:] == ["avg pool", "linear"]
    assert list(operators({"input": [16, 4], "body": [{"conv": {"kernel": 3}}]})) == ["conv 3"]  # a sequence has one axis
