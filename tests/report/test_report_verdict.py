"""The sentences of a report say what the test scores show, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import optuna
import pytest
from support import changed, made_up_run, text_of

from nasforge.report import Run, collect, words
from nasforge.report.format import score
from nasforge.report.verdict import by_chance, compare, verdict


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Run:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return collect(made_up_run(tmp_path_factory.mktemp("runs") / "ended"))


@pytest.mark.parametrize(
    ("best", "control", "said"),
    [
        (([0.990, 0.991, 0.992], 0.001), ([0.980, 0.981, 0.982], 0.001), "The search is ahead of random search"),
        (
            ([0.985, 0.990, 0.995], 0.005),
            ([0.983, 0.988, 0.993], 0.005),
            "random search with the same budget is as good",
        ),
        (
            ([0.983, 0.988, 0.993], 0.005),
            ([0.985, 0.990, 0.995], 0.005),
            "random search with the same budget is as good",
        ),
        (([0.980, 0.981, 0.982], 0.001), ([0.990, 0.991, 0.992], 0.001), "found a better network"),
        (([0.990], 0.0), ([0.980], 0.0), "nobody knows whether that is more than chance"),
    ],
)
def test_verdict_against_the_control(ended: Run, best: Any, control: Any, said: str) -> None:
    winner, other = ended.best(), ended.best_control()
    assert winner is not None and other is not None
    rows = {
        row["name"]: {"test_seeds": seeds, "test_mean": sum(seeds) / len(seeds), "test_std": std, "key": row["name"]}
        for row, (seeds, std) in ((winner, best), (other, control))
    }
    run = changed(ended, **rows)
    told = verdict(run)
    assert said in told[0]
    assert ("is not shown by this run" in told[0]) == (said != "The search is ahead of random search")
    assert told[0] in text_of(run) and told[0] in " ".join(words(run).replace("\n  ", " ").split("\n"))


def test_a_run_without_test_data_says_so_and_is_judged_on_validation(ended: Run) -> None:
    best = ended.best()
    assert best is not None
    none = {"test_mean": None, "test_std": None, "test_seeds": [], "tests": {}}
    run = changed(ended, **{row["name"]: {**none, "search_val": None} for row in ended.rows()})
    assert verdict(run)[0].startswith("There are no test data") and len(verdict(run)) == 1
    assert f"reaches {score(best['metric'], best['val'])} on validation; there are no test data" in words(run).replace("\n", " ")
    assert "test data were read once" not in text_of(run) and "no result" not in text_of(run)


def test_verdict_without_a_control_or_with_the_same_network(ended: Run) -> None:
    best = ended.best()
    assert best is not None and ended.summary is not None and ended.control is not None
    none = {"test_mean": None, "test_std": None}
    bare = replace(ended, control=None, summary={**ended.summary, "control": none, "control_finalists": []})
    assert "not known from this run" in verdict(bare)[0]
    assert "has no control" in verdict(replace(bare, manifest={**ended.manifest, "strategy": "random"}))[0]
    assert "gave no network" in verdict(replace(bare, control=ended.control))[0]
    same = changed(ended, **{ended.summary["control"]["name"]: {"key": best["key"]}})
    assert "found the same network" in verdict(same)[0]


@pytest.mark.parametrize(
    ("search", "control", "said"),
    [
        (0.8, 0.7, "(validation, one run of each, so without a spread)."),
        (0.7, 0.8, "random search is better."),
        (0.7, 0.7, "random search is as good."),
    ],
)
def test_verdict_on_the_fronts(ended: Run, search: float, control: float, said: str) -> None:
    assert ended.summary is not None
    run = replace(ended, summary={**ended.summary, "hypervolume": {"search": search, "control": control}})
    assert verdict(run)[1].startswith("Over all objectives together") and verdict(run)[1].endswith(said)


def test_verdict_names_better_baselines_and_broken_limits(ended: Run) -> None:
    best = ended.best()
    assert best is not None
    run = changed(ended, lenet={"test_seeds": [0.999, 1.0, 1.0], "test_mean": 0.9997, "test_std": 0.0005})
    assert any(f"{best['name']} does not reach lenet" in s for s in verdict(run))
    run = changed(ended, control1={"refused": ["latency_ms<=1: measured 1.4"]}, plain={"test_mean": None, "test_seeds": []})
    assert "control1 does not keep latency_ms<=1: measured 1.4." in verdict(run)
    assert "The baseline plain could not be trained." in verdict(run)
    assert "breaks latency_ms<=1: measured 1.4" in text_of(run) and "breaks latency_ms<=1" in words(run)


def test_compare_is_by_the_spread_of_the_difference() -> None:
    def row(mean: float, std: float, seeds: int = 3, metric: str = "accuracy") -> dict[str, Any]:
        return {"test_mean": mean, "test_std": std, "test_seeds": [mean] * seeds, "metric": metric}

    assert compare(row(0.95, 0.03), row(0.90, 0.04)) == "alike"  # sqrt(0.03^2 + 0.04^2) = 0.05
    assert compare(row(0.951, 0.03), row(0.90, 0.04)) == "better"
    assert compare(row(0.90, 0.04), row(0.951, 0.03)) == "worse"
    assert compare(row(0.9, 0.0, 1), row(0.8, 0.1)) == "unknown"
    # 13 % against 77 % of 60 samples: sqrt(.13 * .87 / 60 + .77 * .23 / 60) = .0696, three of which are .209
    assert by_chance(row(0.13, 0.0, 1), row(0.77, 0.0, 1), 60) == pytest.approx(0.2087, abs=1e-4)
    assert compare(row(0.13, 0.0, 1), row(0.77, 0.0, 1), 60) == "worse" and compare(row(0.77, 0.0, 1), row(0.13, 0.0, 1), 60) == "better"
    assert compare(row(0.57, 0.0, 1), row(0.77, 0.0, 1), 60) == "unknown"  # .235 by chance
    assert compare(row(0.77, 0.0, 1), row(0.13, 0.0, 1)) == "unknown"
    assert compare(row(0.77, 0.0, 1, "miou"), row(0.13, 0.0, 1, "miou"), 60) == "unknown"  # is no share of samples
    assert compare(row(310, 3, metric="mse"), row(290, 4, metric="mse")) == "worse"
    assert compare(row(290, 3, metric="mse"), row(310, 4, metric="mse")) == "better"
    assert compare(row(290, 3, metric="mse"), row(295, 4, metric="mse")) == "alike"


def test_a_finalist_that_is_no_better_than_the_largest_class_is_said(ended: Run) -> None:
    assert ended.summary is not None and 0.09 < ended.summary["constant"]["accuracy"] < 0.13
    assert "Answering the largest class always gives" in text_of(ended) and not any("largest class" in said for said in verdict(ended))
    rare = replace(ended, summary={**ended.summary, "constant": {"accuracy": 0.9999}})
    said = next(said for said in verdict(rare) if "largest class" in said)
    assert "finalist1 and finalist2 and finalist3 are not above it" in said and "class_weights" in said
    older = replace(ended, summary={k: v for k, v in ended.summary.items() if k != "constant"})
    assert "largest class" not in text_of(older)
