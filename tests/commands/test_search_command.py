"""`nasforge search`: what it leaves and how it exits where nothing can be trained."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

import nasforge as nf
from nasforge.cli import main
from nasforge.evaluation import EVALUATORS
from nasforge.evaluation.base import Job, OnReport, Result
from nasforge.evaluation.train import Train
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
    assert told.out == "" and "stopped; what had ended is kept, the same command goes on" in told.err
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
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["best"]
