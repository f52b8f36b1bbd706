"""Two spaces compared by the errors of networks drawn at random."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_search import DATA, SPACE, Inline, quick

from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.evaluation.base import data_of, fit_to_data
from nasforge.objectives.objective import parse_objectives
from nasforge.report import collect
from nasforge.report.compare import compare, told
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.spaces.files import parse


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Random searches of a space of wide networks, of one of narrow ones (`quick` scores by width), and one that stopped early."""
    folder = tmp_path_factory.mktemp("runs")
    plan = Plan(
        fit_to_data(parse(SPACE.replace("[4, 8, 12, 16]", "[12, 14, 16, 18]")), data_of(DATA)), DATA, tuple(parse_objectives("accuracy")),
        strategy="random", trials=30, pruner="none", finalists=1, final_seeds=1, control=False,
    )  # fmt: skip
    narrow = fit_to_data(parse(SPACE.replace("[4, 8, 12, 16]", "[2, 4, 6, 8]")), data_of(DATA))
    for name, changed in (("wide", plan), ("narrow", replace(plan, space=narrow)), ("cut", replace(plan, pruner="asha"))):
        search(changed, folder / name, lambda: Inline(quick), lambda status: None)
    return folder / "wide", folder / "narrow", folder / "cut"


def test_the_better_space_is_the_one_whose_errors_lie_lower(runs: tuple[Path, Path, Path]) -> None:
    found = compare(collect(runs[1]), collect(runs[0]))
    assert found["better"] == str(runs[0]) and found["p"] < 0.01
    areas = [found["runs"][str(run)]["area"] for run in runs[:2]]
    assert 10 <= areas[0] <= 40 < 60 <= areas[1] <= 90  # accuracy is width / 20
    assert "is the better space" in told(found)


def test_the_command(runs: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(runs[0]), "--against", str(runs[1]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["against"]["better"] == str(runs[0])


def test_what_cannot_be_compared_is_refused(runs: tuple[Path, Path, Path]) -> None:
    with pytest.raises(UserError, match="stopped trainings early"):
        compare(collect(runs[0]), collect(runs[2]))
    with pytest.raises(UserError, match="same run"):
        compare(collect(runs[0]), collect(runs[0]))
