"""The page of single trainings: every curve and score is in it, the best first, and nothing of it becomes markup."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.report.trainings import trainings, write_trainings


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


def scores(folder: Path, test: dict[str, float], **more: object) -> None:
    """A result with these scores, the same after each epoch."""
    folder.mkdir(parents=True)
    row = {("val_loss" if name == "loss" else name): number for name, number in test.items()}
    curve = [{"epoch": i, "loss": 9.0, **row} for i in (1, 2)]
    found = {"arch": folder.name, "data": "made up", "params": 1200, "macs": 3400, "test": test, "curve": curve, "seconds": {}, **more}
    (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")


def test_the_lowest_error_comes_first(tmp_path: Path) -> None:
    for name, error in (("high", 2914.0), ("low", 310.0), ("middle", 900.0)):
        scores(tmp_path / name, {"loss": 0.1, "mse": error})
    found = trainings(tmp_path)
    assert [one["name"] for one in found] == ["low", "middle", "high"] and found[0]["metric"] == "mse"
    assert found[2]["curve"] == [2914.0, 2914.0]
    page = write_trainings(tmp_path, found).read_text(encoding="utf-8")
    assert "test mean squared error, lower is better" in page and "2,910" in page and "\u00a0%" not in page
    assert "mean squared error (validation), lower is better" in page and page.index("<td>low") < page.index("<td>high")


@pytest.mark.parametrize(
    ("test", "named", "metric"),
    [
        ({"loss": 0.3, "miou@mask": 0.6}, None, "miou@mask"),
        ({"loss": 0.3, "accuracy": 0.6}, "loss", "loss"),
        ({"loss": 0.3, "accuracy": 0.6}, None, "accuracy"),
        ({"loss": 0.3}, None, "loss"),
    ],
)
def test_main_metric(tmp_path: Path, test: dict[str, float], named: str | None, metric: str) -> None:
    scores(tmp_path / "one", test, **({"metric": named} if named else {}))
    (one,) = trainings(tmp_path)
    assert one["metric"] == metric and one["test"] == test[metric] and one["curve"] == [test[metric]] * 2


def test_metrics_are_not_mixed(tmp_path: Path) -> None:
    scores(tmp_path / "a", {"mse": 12.0})
    scores(tmp_path / "b", {"accuracy": 0.5})
    found = trainings(tmp_path)
    page = write_trainings(tmp_path, found).read_text(encoding="utf-8")
    assert [one["name"] for one in found] == ["b", "a"]
    assert "50.0\u00a0% accuracy" in page and "mean squared error 12.0" in page and "winner" not in page.split("<table")[1]
