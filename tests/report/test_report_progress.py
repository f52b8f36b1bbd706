"""What is shown while a search runs: lines for a log, a panel for a terminal, nothing where nothing was asked for."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support import MadeUpRunner, made_up_plan

from nasforge.cli import main
from nasforge.report import progress as shown_by
from nasforge.report.progress import ended_line, intended, line, progress
from nasforge.search.progress import Ended, Pace, Running, Status
from nasforge.search.session import search

STATUS = Status(
    "search", 3, 9, finished=2, pruned=1, best={"accuracy": 0.912, "params": 1200.0}, front=2, seconds_left=95.0,
    steps=("search", "control", "finals"), running=(Running("trial 4", 2, 8, {"accuracy": 0.5}), Running("trial 5", 0, 8)),
)  # fmt: skip


def test_a_line_tells_what_runs_and_how_long_it_takes() -> None:
    assert line(STATUS) == (
        "search 3/9; best accuracy 91.2 %, parameters 1,200, front 2; 1 stopped early; trial 4 at epoch 2 of 8, 50.0 % accuracy; "
        "trial 5 at epoch 0 of 8; about 1:35 left"
    )
    many = replace(STATUS, running=STATUS.running * 3, best={}, seconds_left=4000.0, pruned=0)
    assert line(many).endswith("trial 5 at epoch 0 of 8 and 4 more; about 1:06:40 left")
    assert line(replace(STATUS, last=True)) == "search 3/9; best accuracy 91.2 %, parameters 1,200, front 2; 1 stopped early"


def test_a_search_for_some_minutes_tells_their_share() -> None:
    timed = replace(STATUS, total=3, time=(75.0, 300.0))
    assert line(timed).startswith("search 3 trials, 1:15 of 5:00; best accuracy") and timed.share == 0.25
    assert line(replace(timed, done=0, total=0, running=(), best={}, pruned=0)) == "search 0 trials, 1:15 of 5:00; about 1:35 left"
    final = replace(timed, phase="finals", done=1, total=4, running=(Running("finalist1, seed 1", 4, 8),))
    assert line(final).startswith("finals 1/4, 1:15 of 5:00; ") and final.share == 1.5 / 4
    panel = shown_by._Panel()
    panel.status = timed
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(panel.drawn())
    assert "3 trials, 1:15 of 5:00  step 1 of 3" in console.export_text()


def test_a_training_that_ended_is_a_line() -> None:
    ended = Ended("trial 7", "finished", {"accuracy": 0.931, "params": 4120.0}, 3, 2.14)
    assert ended_line(ended) == "trial 7 finished: accuracy 93.1 %, parameters 4,120, 3 epochs, 2.1 s"
    assert ended_line(Ended("trial 8", "failed", message="lr is too large")) == "trial 8 failed: lr is too large"


def test_the_panel_names_step_trainings_and_time() -> None:
    panel = shown_by._Panel()
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(panel.drawn())
    panel.status = STATUS
    console.print(panel.drawn())
    text = console.export_text()
    assert "workers start" in text and "3/9  step 1 of 3" in text and "about 1:35 left of this step" in text
    assert "epoch 2/8  50.0 % accuracy" in text and "trial 5" in text and "accuracy 91.2 %, parameters 1,200" in text


def test_lines_come_at_intervals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [1000.0]
    monkeypatch.setattr(shown_by.time, "monotonic", lambda: now[0])
    with progress() as show:
        for second in range(600):
            now[0] = 1000.0 + second
            show(replace(STATUS, seconds_left=None if second < 3 else 60.0))
    err = capsys.readouterr().err.splitlines()
    assert "left" not in err[0] and err[1].endswith("about 1:00 left")  # at once, and again when it is known how long it takes
    assert 1 + 180 // 10 <= len(err) - 1 <= 3 + 180 // 10 + (600 - 180) // 60


def test_quiet_says_nothing_and_verbose_every_training(capsys: pytest.CaptureFixture[str]) -> None:
    told = replace(STATUS, ended=Ended("trial 3", "pruned"))
    with progress(quiet=True) as show:
        show(told)
    assert capsys.readouterr().err == ""
    with progress(verbose=True) as show:
        show(told)
        show(told)
    assert capsys.readouterr().err.count("trial 3 pruned\n") == 2


def test_what_a_search_is_going_to_do() -> None:
    said = intended(made_up_plan(), 2, "runs/x")
    assert said.startswith("runs/x: 1. 24 trials of up to 6 epochs by predictor; 2. as many at random; 3. the best 3 networks of each")
    assert "2 baselines trained to the end with 3 seeds. 2 workers" in said
    assert "random" not in intended(made_up_plan(control=False, baselines={}), 1, "x")
    assert "1. 30 minutes in all: trials of up to 6 epochs" in intended(made_up_plan(minutes=30.0), 1, "x")


def test_a_search_that_stands_there_is_said_to_be_kept(tmp_path: Path) -> None:
    assert "stands there" not in intended(made_up_plan(), 1, tmp_path)
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    assert intended(made_up_plan(), 1, tmp_path).startswith(f"{tmp_path}: a search stands there, and what is done is kept: 1. 24 trials")


def test_a_search_tells_its_trainings(tmp_path: Path) -> None:
    told: list[Status] = []
    search(made_up_plan(trials=6, final_seeds=1), tmp_path, lambda: MadeUpRunner(fail_every=4), told.append)
    assert {s.phase for s in told} == {"search", "control", "finals"} and all(s.steps == ("search", "control", "finals") for s in told)
    for phase in ("search", "control", "finals"):
        mine = [s for s in told if s.phase == phase]
        assert mine[-1].last and not mine[-1].running and mine[0].running
        ended = [s.ended for s in mine if s.ended is not None]
        assert len(ended) == mine[-1].done if phase != "finals" else len(ended) == mine[-1].total
    kinds = {s.ended.kind for s in told if s.ended is not None}
    assert {"finished", "failed"} <= kinds


def test_the_time_that_is_left() -> None:
    pace = Pace()
    assert pace.left_s(100.0, 0.0, 10.0) is None and pace.left_s(140.0, 0.5, 10.0) is None  # the workers took 40 seconds to start
    assert pace.left_s(145.0, 3.0, 10.0) == 14.0 and pace.left_s(146.0, 0.5, 10.0) is None and pace.left_s(150.0, 12.0, 10.0) == 0.0


def test_options_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "search digits --data-limit 120 --runner inline --strategy random --trials 2 --epochs 1 --finalists 1 --final-seeds 1"
    common = [*words.split(), "--final-epochs", "1", "--run"]
    assert main([*common, str(tmp_path / "q"), "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == "" and "report:" in quiet.out
    assert main([*common, str(tmp_path / "v"), "--verbose", "--json"]) == 0
    verbose = capsys.readouterr()
    assert json.loads(verbose.out)["asked"] == 2 and "trial 0 finished: accuracy" in verbose.err and "finalist1, seed 0" in verbose.err
    with pytest.raises(SystemExit):
        main([*common, str(tmp_path / "b"), "--verbose", "--quiet"])


def test_a_terminal_shows_something_before_torch_is_imported() -> None:
    ours, theirs = pty.openpty()
    code = "import sys, types; from nasforge import cli; search = sys.modules['nasforge.commands.search'] = types.ModuleType('search'); "
    code += "search.run = lambda args: int('torch' in sys.modules); sys.exit(cli.main(['search', 'digits']))"
    done = subprocess.run([sys.executable, "-c", code], stderr=theirs, check=False, timeout=60)
    os.close(theirs)
    assert done.returncode == 0 and b"nasforge search: reads digits" in os.read(ours, 4096)
    os.close(ours)
