"""A search, and a training, for a given time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nasforge as nf
from nasforge.api.named import space_named
from nasforge.cli import main
from nasforge.data import load
from nasforge.errors import UserError
from nasforge.evaluation.base import Context
from nasforge.report import collect
from nasforge.report.verdict import title
from nasforge.runners.inline import InlineRunner
from nasforge.search.clock import Clock, divided
from nasforge.search.progress import Status
from nasforge.search.session import search
from nasforge.search.settings import plan_of
from nasforge.search.timing import Timing
from nasforge.train import Recipe, fit
from nasforge.train.optim import lr_factor

SMALL = ["search", "digits", "--data-limit", "300", "--runner", "inline", "--strategy", "random", "--json"]
PLAIN: dict[str, Any] = {"early_stopping": None, "precision": "fp32", "channels_last": False}  # nothing is timed before


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def test_a_training_ends_with_its_minutes_and_its_learning_rate_with_it() -> None:
    data = load("digits")
    fit(network(), data, Recipe(epochs=1, **PLAIN))  # the first training of a process takes longer to begin
    fitted = fit(network(), data, Recipe(epochs=100_000, minutes=0.05, **PLAIN))
    assert fitted.seconds == pytest.approx(3.0, abs=1.0)
    assert 5 < fitted.epochs < 100_000 and fitted.stopped is None
    lrs = [row["lr"] for row in fitted.curve]
    assert lrs[-1] < 0.02 * max(lrs) and fitted.metrics["accuracy"] > 0.9


def test_epochs_that_end_before_the_minutes_are_the_schedule() -> None:
    data, plain = load("digits", limit=200), Recipe(epochs=4, early_stopping=None)
    one = fit(network(), data, plain)
    other = fit(network(), data, Recipe(epochs=4, minutes=60, early_stopping=None))
    for a, b in zip(one.curve, other.curve, strict=True):
        assert a["lr"] == pytest.approx(b["lr"], rel=0.02, abs=1e-6) and a["loss"] == pytest.approx(b["loss"], rel=0.02)
    assert lr_factor(plain, 4 * 10, 10) == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_a_killed_training_has_the_time_that_it_had(tmp_path: Path) -> None:
    data, recipe = load("digits"), Recipe(epochs=100_000, minutes=0.08, **PLAIN)

    def killed(epoch: int, row: dict[str, float]) -> None:
        if row["seconds"] > 2.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(network(), data, recipe, on_epoch=killed, checkpoint=tmp_path / "c.pt", checkpoint_every_s=0)
    fitted = fit(network(), data, recipe, checkpoint=tmp_path / "c.pt")
    assert fitted.seconds == pytest.approx(4.8, abs=1.5) and fitted.curve[0]["seconds"] < 2.0


def test_the_time_of_a_search_is_divided() -> None:
    timing = Timing()
    timing.carry({"total": 100.0})
    clock = Clock(10, timing)
    assert clock.left_s("search") == pytest.approx(0.45 * 596 - 100, abs=1) and clock.left_s("finals") == pytest.approx(496, abs=1)
    assert clock.training_minutes(4, 2) == pytest.approx((496 / 2 - 1) / 60, abs=0.1) and not clock.over("search")
    assert clock.trial_minutes(2) == pytest.approx(10 * 0.45 * 2 / 24) and Clock(None, timing).trial_minutes(2) is None
    assert Clock(1, timing).over("search") and Clock(None, timing).training_minutes(4, 2) is None and not Clock(None, timing).over("search")
    assert divided(30, True) == (
        "30 minutes: search until 10:30, control until 21:00, finals until 30:00; trainings of the search are cut at 0:26"
    )
    assert Clock(1, timing).trial_minutes(1) == pytest.approx(0.45 / 6)  # of so short a search six trainings at least
    assert Clock(2, timing).trial_minutes(1) == pytest.approx(8 / 60)  # else of eight seconds


def test_a_search_that_ended_goes_on_with_the_rest_of_its_time() -> None:
    timing = Timing()
    timing.carry({"total": 36.0})  # a search of .6 minutes that came to its end, and has 1.2 now
    rest = 72 - 4 - 36
    clock = Clock(1.2, timing, since=36.0)
    assert clock.left_s("search") == pytest.approx(0.45 * rest, abs=0.5) and clock.left_s("finals") == pytest.approx(rest, abs=0.5)
    assert Clock(1.2, timing).left_s("search") < 0 and Clock(None, timing, since=36.0).until_s("search") == float("inf")
    assert clock.told() == (pytest.approx(36, abs=0.5), 72) and Clock(None, timing).told() is None


@pytest.mark.slow
def test_a_search_keeps_to_its_minutes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--run", str(tmp_path / "run")]
    assert main([*SMALL, *run, "--minutes", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 20 < found["seconds"]["total"] < 40 and found["minutes"] == 0.5 and found["finished"] + found["pruned"] == found["asked"] >= 1
    assert 1 <= len(found["finalists"]) <= 2 and found["best"]["test_mean"] > 0.7 and found["control"]["test_mean"] is None
    assert not found["exhausted"] and not found["baselines"]
    assert (tmp_path / "run" / "report.html").is_file()
    assert main([*SMALL, *run, "--minutes", "0.5"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["best"], again["seconds"]) == (found["best"], found["seconds"]), "a finished run is not begun again"


@pytest.mark.slow
def test_trials_get_so_little_time_that_enough_are_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--run", str(tmp_path / "run"), "--minutes", "0.2", "--epochs", "5000", "--scheduler", "none"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["finished"] >= 2 and found["best"]["test_mean"] is not None  # 5,000 epochs would take a minute each


def test_no_more_is_asked_once_a_trial_is_good_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--trials", "9", "--epochs", "2", "--final-epochs", "1", "--finalists", "1", "--final-seeds", "1", "--until", "accuracy>=.2"]
    assert main([*SMALL, "--run", str(tmp_path / "run"), *words, "--seed-arch", "lenet5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 1 <= found["finished"] + found["pruned"] < 9 and not found["exhausted"]


def test_the_page_of_an_unfinished_one_counts_no_trials_that_nobody_asked_for(tmp_path: Path) -> None:
    def show(status: Status) -> None:
        if status.done >= 2:
            raise KeyboardInterrupt

    raw = space_named("digits")
    given = {"data": "digits", "data_limit": 300, "minutes": 5.0, "strategy": "random", "epochs": 1}
    plan = plan_of(raw, given, lambda name: {}, lambda note: None)
    with pytest.raises(KeyboardInterrupt):
        search(plan, tmp_path / "run", lambda: InlineRunner(Context(source=plan.data)), show)
    assert title(collect(tmp_path / "run")).startswith("Not finished: 2 trials done in a search of 5 minutes")


def test_one_wanted_value_may_be_a_word(tmp_path: Path) -> None:
    brief: dict[str, Any] = {"epochs": 2, "final_epochs": 1, "finalists": 1, "final_seeds": 1, "runner": "inline", "strategy": "random"}
    run = nf.search(
        "digits", "digits", data_limit=300, trials=9, until="accuracy>=.2", seed_arch="lenet5", run=tmp_path / "run", show=False,
        page=False, **brief,
    )  # fmt: skip
    assert 1 <= run.summary["finished"] + run.summary["pruned"] < 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "0"], "--minutes 0.0: must be a number of minutes, at least 0.1"),
        (["--until", "acuracy>=.9"], "acuracy"),
        (["--until", "accuracy=.9"], "--until 'accuracy=.9': must be METRIC<=NUMBER or METRIC>=NUMBER"),
        (["--until", "perplexity<=3"], "the task classification has no perplexity"),
    ],
)
def test_a_wrong_time_is_refused(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL[:-1], "--run", str(tmp_path / "run"), *words]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", [0, -1, "long"])
def test_a_recipe_has_no_such_time(minutes: object) -> None:
    with pytest.raises(UserError, match=r"recipe\.minutes: must be a number above 0"):
        Recipe.from_dict({"minutes": minutes})
