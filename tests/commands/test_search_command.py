"""`nasforge search`: what it leaves and how it exits where nothing can be trained."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support import records

import nasforge as nf
from nasforge.cli import main
from nasforge.evaluation import EVALUATORS
from nasforge.evaluation.base import Job, OnReport, Result
from nasforge.evaluation.train import Train
from nasforge.search.driver import MOST_ALIKE
from nasforge.train import checked_device

SPACE = {
    "name": "mlp", "input": [4], "classes": 3,
    "body": [{"linear": {"out": {"choose": [8, 16, 24, 32]}, "act": "relu"}}], "head": ["linear"],
}  # fmt: skip
QUICK = ["--trials", "2", "--epochs", "2", "--final-epochs", "2", "--finalists", "1", "--final-seeds", "1", "--strategy", "random",
         "--no-control", "--runner", "inline"]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlp.yaml").write_text(json.dumps(SPACE), encoding="utf-8")
    (tmp_path / "d.csv").write_text("a,b,c,d,y\n" + "".join(f"{i},{-i},{i % 7},{i % 5},c{i % 3}\n" for i in range(90)), encoding="utf-8")
    return tmp_path


class Failing(Train):
    def evaluate(self, job: Job, on_report: OnReport) -> Result:
        return Result(error="the machine is on fire")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_search_that_finds_nothing_is_a_failure(
    here: Path, more: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVALUATORS, "train", Failing)
    assert main(["search", "mlp.yaml", "--data", "d.csv", "--run", "run", *QUICK, *more]) == 1
    told = capsys.readouterr()
    assert "search: run: no network came through its final training and keeps all limits; the machine is on fire (2 x)\n" in told.err
    assert (here / "run" / "report.html").is_file()
    assert not more or json.loads(told.out)["failed"] == 2


CONV = {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": {"choose": [8, 16]}, "kernel": {"choose": [3, 5, 7]}}}],
        "head": ["gap_head"]}  # fmt: skip
HOPELESS = [
    ({**CONV, "recipe": {"lr": 1e30}}, [], "recipe.lr: must be a number above 0 and at most 100, got 1e+30"),
    ({**CONV, "recipe": {"lr": {"choose": [0.0, -1.0]}}}, [], "recipe.lr: must be a number above 0"),
    ({**CONV, "recipe": {"lrr": 0.1}}, [], "recipe.lrr: no such value in a recipe; did you mean 'lr'"),
    ({**CONV, "let": {"a": 1e30}, "recipe": {"lr": "$a"}}, [], "recipe.lr: must be a number"),
    (CONV, ["--seed-arch", "own.yaml"], "recipe.epochs: must be a whole number"),
    (CONV, ["--evaluator", "table", "--objective", "accuracy"], "holds no network of this space; its choices are body.0, body.1"),
]


@pytest.mark.parametrize(("space", "more", "said"), HOPELESS, ids=[said for _, _, said in HOPELESS])
def test_what_no_trial_could_survive_is_refused_before_a_folder_is_made(
    here: Path, space: dict[str, Any], more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "own.yaml").write_text(json.dumps({**CONV, "body": ["conv"], "recipe": {"epochs": 0.5}}), encoding="utf-8")
    (here / "conv.yaml").write_text(json.dumps(space), encoding="utf-8")
    assert main(["search", "conv.yaml", "--data", "digits", "--run", "run", *QUICK, *more]) == 2
    assert said in capsys.readouterr().err and not (here / "run").exists()


class Odd(Train):
    """Fails as often as it is told, then finds something; with other numbers in each message."""

    failures = 0

    def evaluate(self, job: Job, on_report: OnReport) -> Result:
        Odd.failures -= 1
        return Result(error=f"input of size {Odd.failures} is bad") if Odd.failures >= 0 else super().evaluate(job, on_report)


def test_failures_alike_in_a_row_end_a_search_in_which_nothing_has_finished(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVALUATORS, "train", Odd)
    words = ["search", "mlp.yaml", "--data", "d.csv", "--run", "run", *QUICK, "--trials", "40"]
    (here / "mlp.yaml").write_text(json.dumps({**SPACE, "body": [{"linear": {"out": {"int": [4, 90]}}}]}), encoding="utf-8")
    Odd.failures = 40
    assert main(words) == 2
    told = capsys.readouterr().err
    assert f"run: {MOST_ALIKE} trials in a row failed alike and none has finished: input of size {40 - MOST_ALIKE} is bad\n" in told
    assert len(records(here / "run")) == MOST_ALIKE
    Odd.failures = MOST_ALIKE - 1  # whoever mends the reason gives the same command
    assert main([*words, "--trials", "12"]) == 0
    assert len(records(here / "run")) == 12


def test_batch_norm_of_single_samples_is_one_reason(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "conv.yaml").write_text(json.dumps({**CONV, "recipe": {"batch_size": 1}}), encoding="utf-8")
    assert main(["search", "conv.yaml", "--data", "digits", "--data-limit", "100", "--run", "run", *QUICK, "--trials", "40"]) == 2
    assert "failed alike and none has finished: training: batch norm needs at least 2 samples a batch" in capsys.readouterr().err


@pytest.mark.slow
def test_an_export_that_was_not_written_is_a_failure(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["search", "mlp.yaml", "--data", "d.csv", "--run", "run", *QUICK, "--export", "python"]
    with monkeypatch.context() as patch:
        patch.setitem(EVALUATORS, "train", Failing)
        assert main(words) == 1
        assert "--export python: nothing was written; run: the search has no winner" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("nasforge.api.run.export", lambda *args, **options: (_ for _ in ()).throw(nf.UserError("export: off by 9")))
        assert main([*words, "--run", "other"]) == 1
        told = capsys.readouterr()
        assert "--export python: nothing was written; export: off by 9" in told.err and "report: other" in told.out
    assert main([*words, "--run", "other"]) == 0
    assert "export: other" in capsys.readouterr().out and any((here / "other" / "export").iterdir())


@pytest.mark.parametrize(("device", "said"), [
    ("cuda:77", "device: no cuda:77 here"), ("foo", "device: must be cpu, cuda, cuda:N or mps, got 'foo'"), ("meta", "nothing is computed"),
])  # fmt: skip
def test_a_device_that_is_not_here_leaves_nothing(here: Path, device: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "mlp.yaml", "--data", "d.csv", "--run", "run", "--device", device, *QUICK]) == 2
    assert said in capsys.readouterr().err
    assert main(["train", "mlp_2layer", "--device", device, "--out", "out"]) == 2
    assert said in capsys.readouterr().err
    with pytest.raises(nf.UserError, match=said):
        nf.NASClassifier(device=device, run=here / "kept").fit([[0.0, 1.0], [1.0, 0.0]] * 10, [0, 1] * 10)
    assert sorted(path.name for path in here.iterdir()) == ["d.csv", "mlp.yaml"]


def test_devices_of_a_cluster_are_its_own() -> None:
    assert checked_device("cuda:77", here=False).index == 77
    with pytest.raises(nf.UserError, match="must be cpu"):
        checked_device("foo", here=False)


def test_sigterm_ends_a_search_in_order(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before, seen = signal.getsignal(signal.SIGTERM), list[str]()

    class Told(Train):
        def evaluate(self, job: Job, on_report: OnReport) -> Result:
            seen.append("")
            if len(seen) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().evaluate(job, on_report)

    command = ["search", "mlp.yaml", "--data", "d.csv", "--run", "run", "--json", *QUICK]
    with monkeypatch.context() as patch:
        patch.setitem(EVALUATORS, "train", Told)
        assert main(command) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    told = capsys.readouterr()
    assert json.loads(told.out)["error"] == "stopped" and "stopped; what had ended is kept, the same command goes on" in told.err
    run = here / "run"
    found = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert found["unfinished"] and (found["finished"], found["asked"], found["best"]) == (1, 2, None) and len(found["front"]) == 1
    assert "Not finished" in (run / "report.html").read_text(encoding="utf-8")
    assert main(["show", "run"]) == 2 and "has no winner yet" in capsys.readouterr().err
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["finished"] == 2 and "unfinished" not in (run / "summary.json").read_text(encoding="utf-8")


def test_finals_that_sigterm_cuts_off_are_made_later(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Told(Train):
        def evaluate(self, job: Job, on_report: OnReport) -> Result:
            if job.full:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().evaluate(job, on_report)

    command = ["search", "mlp.yaml", "--data", "d.csv", "--run", "run", "--json", *QUICK[2:], "--minutes", "0.3", "--until", "loss<=100"]
    with monkeypatch.context() as patch:
        patch.setitem(EVALUATORS, "train", Told)
        assert main(command) == 143
    assert json.loads((here / "run" / "summary.json").read_text(encoding="utf-8"))["finished"] >= 1
    capsys.readouterr()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["best"]
