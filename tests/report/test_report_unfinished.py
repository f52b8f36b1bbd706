"""Reports of runs without finals: stopped after some trials, all of which were ended early or failed, or had one epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import Balanced, Killed, MadeUpRunner, made_up_run, text_of

from nasforge.evaluation.base import Job, OnReport, Result, Stop
from nasforge.objectives.objective import parse_objectives
from nasforge.report import Run, collect, report, words
from nasforge.report.next_steps import go_on
from nasforge.report.several import side_by_side, write_several
from nasforge.report.several import words as words_of_several
from nasforge.report.trials import rows_of


class Ends(MadeUpRunner):
    """Whose trials all end in one way: finished, pruned after two epochs at most, or failed."""

    def __init__(self, kind: str, end_after: int | None = None) -> None:
        super().__init__(end_after=end_after, finds=("accuracy", "loss"))
        self.kind = kind

    def result(self, job: Job, number: int, on_report: OnReport) -> Result:
        if job.full or self.kind == "finished":
            return super().result(job, number, on_report)
        if self.kind == "failed":
            return Result(error="TrainingFailed: the loss became nan in epoch 1; lower lr", seconds={"training": 0.2})
        found = super().result(job, number, on_report)
        return replace(found, curve=found.curve[:2], stopped=Stop.PRUNED)


def told_everywhere(run: Run, tmp_path: Path) -> str:
    """The text of the page, once everything that tells of a run has told of it."""
    assert words(run) and rows_of([run]) is not None and side_by_side([run, run]) and go_on(run)
    assert words_of_several([run, run])
    Balanced(write_several([run, run], tmp_path / "several.html").read_text(encoding="utf-8"))
    Balanced(report(run.folder).read_text(encoding="utf-8"))
    return text_of(run)


@pytest.mark.parametrize("epochs", [1, 6])
@pytest.mark.parametrize("kind", ["finished", "pruned", "failed"])
@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_search_that_was_stopped_has_a_page(done: int, kind: str, epochs: int, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        made_up_run(tmp_path / "run", Ends(kind, end_after=done), recipe={"epochs": epochs}, baselines={})
    run = collect(tmp_path / "run")
    assert run.summary is None and run.trained(run.search) == done and not run.finals
    said = told_everywhere(run, tmp_path)
    assert f"{done} of 24 trials done" in said
    drawn = "learning curves of the trials" in report(run.folder).read_text(encoding="utf-8")
    assert drawn == (done > 0 and kind != "failed" and epochs > 1)


@pytest.mark.parametrize("objectives", ["accuracy", "-loss,-params"])
@pytest.mark.parametrize("kind", ["pruned", "failed"])
def test_a_search_whose_trials_all_ended_early_has_a_page(kind: str, objectives: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"objectives": tuple(parse_objectives(objectives)), "baselines": {}, "trials": 4, "control": True}
    run = collect(made_up_run(tmp_path / "run", Ends(kind), **changes))
    assert run.summary is not None and run.best() is None
    assert "No network of this search could be trained to the end" in told_everywhere(run, tmp_path)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_search_of_one_trial_has_a_page(epochs: int, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"recipe": {"epochs": epochs}, "final_recipe": {"epochs": epochs}, "trials": 1, "final_seeds": 1}
    run = collect(made_up_run(tmp_path / "run", Ends("finished"), baselines={}, **changes))
    assert run.best() is not None and "trained with one seed only" in told_everywhere(run, tmp_path)
