"""A new format, a new task and a new metric are each one function or class and one line in a table."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from nasforge.cli import main
from nasforge.data.readers import READERS
from nasforge.objectives.metrics import METRICS
from nasforge.tasks import TASKS, forget_data

MODULE = '''
"""Numbers of a file of lines `a b c | rank`, ranks to be learned, judged by how far they are off at most."""

from pathlib import Path

import numpy as np
import torch

from nasforge.data.arrays import raw_of
from nasforge.data.readers import READERS, Reader
from nasforge.objectives.metrics import METRICS, Known, Metric
from nasforge.tasks import TASKS
from nasforge.tasks.classification import Classification
from nasforge.tasks.losses import cross_entropy


def read_ranks(source, kind):
    """Return the lines of a file."""
    rows = [line.split("|") for line in Path(source.spec).read_text(encoding="utf-8").splitlines()]
    x = np.array([[float(cell) for cell in row[0].split()] for row in rows])
    return raw_of({"x": x, "y": np.array([int(row[1]) for row in rows])}, "ranks", kind)


class RankScorer:
    """The mean over samples of how many ranks a guess is off, and the loss."""

    def __init__(self, task):
        self.task, self.off, self.losses, self.samples = task, 0.0, 0.0, 0

    def update(self, output, batch):
        logits, y = self.task.logits(output), batch.targets[self.task.key]
        self.off += float((logits.argmax(1) - y).abs().sum())
        self.losses += float(cross_entropy(logits, y)) * len(y)
        self.samples += len(y)

    def result(self):
        return {"rank_error": self.off / self.samples, "loss": self.losses / self.samples}


class Ranking(Classification):
    """Learns a class that is a rank."""

    name = "ranking"

    def __init__(self, key, target):
        super().__init__(key, target)
        self.metrics = (METRICS["rank_error"], METRICS["loss"])

    def scorer(self):
        return RankScorer(self)


METRICS["rank_error"] = Metric("rank_error", "ranks off", False, "number", Known.TRAINED)
TASKS["ranking"] = Ranking
READERS["ranks"] = Reader("FILE.ranks", lambda spec: spec.endswith(".ranks"), read_ranks)
'''
NETWORK: dict[str, Any] = {
    "input": [3, 1],
    "classes": 2,
    "body": ["flatten", {"linear": {"out": {"choose": [8, 12, 16]}, "act": "relu"}}],
    "head": ["linear"],
}


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data of the new format, a network and a space; the tables hold the additions for one test."""
    lines = [f"{i % 7} {i % 11} {i % 13} | {(i % 7 + i % 11) // 5}" for i in range(300)]
    (tmp_path / "set.ranks").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "space.yaml").write_text(json.dumps(NETWORK), encoding="utf-8")
    arch = {**NETWORK, "body": ["flatten", {"linear": {"out": 16, "act": "relu"}}]}
    (tmp_path / "net.yaml").write_text(json.dumps(arch), encoding="utf-8")
    (tmp_path / "own_ranks.py").write_text(MODULE, encoding="utf-8")
    tables: dict[str, dict[str, Any]] = {"rank_error": METRICS, "ranking": TASKS, "ranks": READERS}
    for name, table in tables.items():
        monkeypatch.setitem(table, name, None)  # so that it is taken out at the end
    spec = importlib.util.spec_from_file_location("own_ranks", tmp_path / "own_ranks.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    monkeypatch.chdir(tmp_path)
    forget_data()
    return tmp_path


def test_a_training_uses_what_was_added(added: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "net.yaml", "--data", "set.ranks", "--task", "ranking", "--out", "out", "--epochs", "12"]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "net.yaml on ranks" in told.out and "ranks off" in told.out and told.err.count("ranks off") == 12
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["task"], found["metric"]) == ("ranking", "rank_error")
    assert found["test"].keys() == found["metrics"].keys() == {"rank_error", "loss"}
    first, last = found["curve"][0]["rank_error"], found["metrics"]["rank_error"]
    assert last < first and found["test"]["rank_error"] < 1


def test_the_data_are_still_those_of_the_first_task_of_their_kind(added: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "net.yaml", "--data", "set.ranks", "--out", "out", "--epochs", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "accuracy"


def test_a_search_uses_what_was_added(added: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--task ranking --run run --strategy random --trials 3 --epochs 2 --finalists 1 --final-seeds 1 --final-epochs 3 --runner inline"
    )
    arguments = ["search", "space.yaml", "--data", "set.ranks", *words.split()]
    assert main(arguments) == 0
    assert "ranks off" in capsys.readouterr().out
    summary = json.loads((added / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["best"]["metric"] == "rank_error" and summary["best"]["test_mean"] >= 0
    assert "ranks off" in (added / "run" / "report.html").read_text(encoding="utf-8").replace("\u00a0", " ")


def test_nothing_is_left_of_it() -> None:
    assert "rank_error" not in METRICS and "ranking" not in TASKS and "ranks" not in READERS
