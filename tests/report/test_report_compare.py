"""Two spaces compared by the errors of networks drawn at random."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from support import MADE_UP_SPACE, MadeUpRunner, made_up_for, made_up_run

from nasforge.cli import main
from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.objectives.objective import parse_objectives
from nasforge.report import collect
from nasforge.report.compare import compare, told

NARROW = copy.deepcopy(MADE_UP_SPACE)
NARROW["stem"][0]["conv"]["out"] = {"choose": [2, 3, 4]}
NARROW["body"] = [{"conv": {"out": {"choose": [2, 3, 4]}, "kernel": {"choose": [1, 3]}}}]


def drawn(folder: Path, metric: str, **changes: object) -> Path:
    """A random search without early stopping; larger networks score better."""
    asked = tuple(parse_objectives({"accuracy": "accuracy", "mse": "-mse"}[metric]))
    values = {"strategy": "random", "scheduler": "none", "trials": 20, "finalists": 1, "final_seeds": 1, "control": False, "baselines": {}}
    values |= {"recipe": {"epochs": 2}, "final_recipe": {"epochs": 2}, "limits": (), "objectives": asked, **changes}
    return made_up_run(folder, MadeUpRunner(finds=[metric]), **values)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Searches of a space of wide networks, of one of narrow ones, and one that stopped early."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "wide": drawn(folder / "wide", "accuracy"),
        "narrow": drawn(folder / "narrow", "accuracy", space=NARROW),
        "cut": drawn(folder / "cut", "accuracy", scheduler="asha", recipe={"epochs": 6}),
    }


def test_the_better_space_is_the_one_whose_errors_lie_lower(runs: dict[str, Path]) -> None:
    one, other = collect(runs["narrow"]), collect(runs["wide"])
    found = compare(one, other)
    assert found["better"] == str(runs["wide"]) and found["p"] < 0.01 and found["metric"] == "accuracy"
    for run in (one, other):
        errors = [100 * (1 - r.metrics["accuracy"]) for r in run.search.finished()]
        assert found["runs"][str(run.folder)]["area"] == pytest.approx(sum(errors) / len(errors))
    assert "is the better space" in told(found) and "100 % less accuracy, in points" in told(found)


def test_a_metric_that_is_to_be_low_is_compared_as_it_is(tmp_path: Path) -> None:
    spaces = {name: made_up_for(space, "diabetes") for name, space in (("narrow", NARROW), ("wide", MADE_UP_SPACE))}
    one, other = (collect(drawn(tmp_path / name, "mse", space=s, data=Source("diabetes"))) for name, s in spaces.items())
    found = compare(one, other)
    assert found["better"] == str(other.folder)
    values = [r.metrics["mse"] for r in other.search.finished()]
    assert found["runs"][str(other.folder)]["quantiles"][0] == pytest.approx(min(values)) and min(values) > 100
    assert "error (mean squared error) on val" in told(found) and "%" not in told(found)


def test_the_command(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs["wide"]), "--against", str(runs["narrow"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["against"]["better"] == str(runs["wide"])


def test_what_cannot_be_compared_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="with another recipe"):
        compare(collect(runs["wide"]), collect(runs["cut"]))
    with pytest.raises(UserError, match="same run"):
        compare(collect(runs["wide"]), collect(runs["wide"]))
    with pytest.raises(UserError, match="stopped trainings early"):
        compare(collect(runs["cut"]), collect(runs["cut"]))
