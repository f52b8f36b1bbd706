"""The page of single trainings: every curve and score is in it, the best first, and nothing of it becomes markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.report.trainings import trainings


def result(folder: Path, arch: str, score: float, epochs: int = 3) -> None:
    folder.mkdir(parents=True)
    curve = [{"epoch": i, "accuracy": score * i / epochs, "val_loss": 1.0} for i in range(1, epochs + 1)]
    found = {
        "arch": arch,
        "data": "digits",
        "params": 1200,
        "macs": 3400,
        "test": {"accuracy": score},
        "curve": curve,
        "seconds": {"training": 2.5},
    }
    (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")


def test_curves_and_scores_stand_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, score in (("plain", 0.8), ("b<i>g", 0.9)):
        result(tmp_path / name, name, score)
    assert main(["report", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["trainings"]] == ["b<i>g", "plain"]
    page = Path(told["report"]).read_text(encoding="utf-8")
    assert page.count("curve bold") >= 4 and "90" in page and "1,200" in page and "<i>g" not in page  # two networks, wide and narrow


def test_the_folder_of_one_training_has_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(tmp_path / "one", "lenet5", 0.7)
    assert main(["report", str(tmp_path / "one")]) == 0
    assert "lenet5" in capsys.readouterr().out


def test_a_broken_result_is_named(tmp_path: Path) -> None:
    result(tmp_path / "one", "lenet5", 0.7)
    (tmp_path / "one" / "result.json").write_text('{"arch": 1}', encoding="utf-8")
    with pytest.raises(UserError, match=r"result.json: is no result of .nasforge train."):
        trainings(tmp_path)
