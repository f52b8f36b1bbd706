"""What is chance among finalists: a smaller network as good as the winner, and finalists that did worse than in the search."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from support import changed, made_up_run, text_of

from nasforge.report import Run, collect, words
from nasforge.report.columns import amount, asked_for, shown
from nasforge.report.next_steps import go_on
from nasforge.report.noise import as_good, final_recipe, standard_error, worse_than_in_search
from nasforge.report.verdict import verdict


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Run:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    changes: dict[str, Any] = {"trials": 12, "control": False, "baselines": {}}
    return collect(made_up_run(tmp_path_factory.mktemp("runs") / "ended", **changes))


def scored(run: Run, samples: int = 0, **vals: tuple[int, list[float]]) -> Run:
    """The run with other parameters and scores on val of its finalists, by name; the first is the winner."""
    keys = {row["name"]: row["key"] for row in run.rows("finalist")}
    mean = {name: sum(scores) / len(scores) for name, (_, scores) in vals.items()}
    out = changed(run, **{n: {"params": p, "val": mean[n], "search_val": None} for n, (p, _) in vals.items()})
    assert out.summary is not None
    best = next(row for row in out.rows("finalist") if row["name"] == next(iter(vals)))
    trainings = len(next(iter(vals.values()))[1])
    answers = {"val": {"label": {"total": [samples * trainings]}}} if samples else {}
    finals = {keys[n]: {s: {"metrics": {"accuracy": v}, "error": None} for s, v in enumerate(vs)} for n, (_, vs) in vals.items()}
    rows = [row for row in out.rows("finalist") if row["name"] in vals]
    return replace(out, summary={**out.summary, "best": best, "answers": answers, "finalists": rows}, finals=finals)


def test_the_standard_error_by_hand(ended: Run) -> None:
    run = scored(ended, finalist1=(50_000, [0.97, 0.98, 0.99]))
    best = run.best()
    assert best is not None and standard_error(run, best) == pytest.approx(0.01 / math.sqrt(3))
    run = scored(ended, 400, finalist1=(50_000, [0.97, 0.98, 0.99]))
    best = run.best()
    assert best is not None and standard_error(run, best) == pytest.approx(math.hypot(0.01 / math.sqrt(3), math.sqrt(0.98 * 0.02 / 400)))
    alone = scored(ended, 100, finalist1=(50_000, [0.9]))
    best = alone.best()
    assert best is not None and standard_error(alone, best) == pytest.approx(0.03)
    assert standard_error(scored(ended, finalist1=(50_000, [0.9])), best) is None


def test_the_smallest_within_one_standard_error_is_named_and_the_winner_stays(ended: Run) -> None:
    run = scored(
        ended, finalist1=(50_000, [0.97, 0.98, 0.99]), finalist2=(1_000, [0.975, 0.975, 0.975]), finalist3=(20, [0.97, 0.97, 0.97])
    )  # the standard error is .0058: .975 is within it, .97 is not
    found, best = as_good(run), run.best()
    assert found is not None and best is not None and best["name"] == "finalist1"
    assert found.row["name"] == "finalist2" and found.ratio == 50
    said = next(text for text in verdict(run) if "within the noise" in text)
    assert said == (
        "finalist2 is as good within the noise, and 50 times smaller: 97.5 % against 98.0 % accuracy on validation (one standard error: "
        f"0.6 points), 1,000 against 50,000 parameters. To take it away: nasforge export {run.folder}:finalist2 --to python."
    )
    assert said in text_of(run) and "as good within the noise" in words(run)
    assert any(f"{run.folder}:finalist2 --to python" in line for _, line in go_on(run))


def test_nothing_is_named_that_is_no_smaller_breaks_a_limit_or_is_worse(ended: Run) -> None:
    winner = (1_100, [0.97, 0.98, 0.99])
    assert as_good(scored(ended, finalist1=winner, finalist2=(1_000, [0.98, 0.98, 0.98]))) is None  # about as large
    assert as_good(scored(ended, finalist1=winner, finalist2=(10, [0.9, 0.9, 0.9]))) is None
    run = scored(ended, finalist1=winner, finalist2=(10, [0.98, 0.98, 0.98]))
    assert as_good(run) is not None and as_good(changed(run, finalist2={"refused": ["latency_ms<=5"]})) is None


def test_finalists_that_are_worse_than_in_the_search_are_told_with_the_recipe(ended: Run) -> None:
    run = scored(ended, finalist1=(50_000, [0.94, 0.95, 0.96]), finalist2=(1_000, [0.9, 0.9, 0.9]))
    worse = changed(run, finalist1={"search_val": 0.97}, finalist2={"search_val": 0.9})
    (said,) = worse_than_in_search(worse)
    assert "finalist1 95.0 % after 97.0 %." in said and "finalist2" not in said
    assert "the recipe of the finals differs: epochs 12 (search: 6), batch_size 64 (search: 32)" in said
    assert said in verdict(worse) and worse_than_in_search(run) == []
    assert final_recipe(worse) in " ".join(words(worse).split()) and final_recipe(worse) in text_of(worse)
    same = replace(worse, manifest={**worse.manifest, "recipes": {}, "recipe": {}, "final_recipe": {}})
    assert "the recipe is the same" in worse_than_in_search(same)[0]


def test_whatever_is_limited_or_wished_for_is_a_column(tmp_path: Path) -> None:
    from nasforge.objectives.objective import parse_limit, parse_objectives

    changes = {"limits": (parse_limit("size<=80kB"),), "objectives": tuple(parse_objectives("accuracy,-peak_bytes"))}
    run = collect(made_up_run(tmp_path / "sized", trials=8, control=False, **changes))
    assert asked_for(run) == ["accuracy", "peak_bytes", "weight_bytes"]
    assert shown(run, run.score) == ["params", "macs", "peak_bytes", "weight_bytes"]
    for row in run.rows():
        assert amount(run, row, "weight_bytes") == 4 * row["params"] or row["role"] == "baseline"
        assert amount(run, row, "weight_bytes") is not None
    for said in (words(run), text_of(run)):
        assert "bytes of weights" in said and "peak bytes of feature maps" in said and " kB" in said
