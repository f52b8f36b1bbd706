"""`nasforge train RUN:NUMBER --as-trial` gives what the search recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import records

import nasforge as nf
from nasforge.cli import main

pytestmark = pytest.mark.slow

SPACE = {
    "input": [1, 8, 8], "classes": 10, "stem": [{"conv": {"out": {"choose": [4, 8]}}}],
    "body": [{"conv": {"out": {"choose": [4, 8, 12]}, "kernel": {"choose": [1, 3]}}}], "head": ["gap_head"],
}  # fmt: skip
QUICK = ["--trials", "6", "--final-epochs", "1", "--final-seeds", "1", "--finalists", "1", "--data-limit", "200", "--strategy", "random"]


def searched(folder: Path, *words: str) -> list[int]:
    """The numbers of the trained trials of a search in the folder `r`."""
    (folder / "space.yaml").write_text(json.dumps(SPACE), encoding="utf-8")
    assert main(["search", "space.yaml", "--run", "r", "--runner", "inline", "--json", *QUICK, *words]) == 0
    return [number for number, r in enumerate(records(folder / "r")) if r.get("kind") in ("finished", "pruned")]


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "3", "--scheduler", "none"],
        ["--epochs", "9", "--scheduler", "asha", "--objective=-loss"],
        ["--epochs", "5", "--scheduler", "hyperband", "--fidelity", "data", "--seed", "3"],
        ["--epochs", "4", "--scheduler", "halving", "--fidelity", "resolution", "--seed-arch", "lenet5"],
    ],
)
def test_the_recorded_value_to_the_last_bit(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in searched(tmp_path, *words)[-4:]:
        capsys.readouterr()
        assert main(["train", f"r:{number}", "--as-trial", "--json"]) == 0
        found, recorded = json.loads(capsys.readouterr().out), records(tmp_path / "r")[number]
        assert found["same"] and not any(found["differences"].values()) and found["test"] == {}
        assert found["metrics"]["accuracy"] == recorded["metrics"]["accuracy"] and len(found["curve"]) == len(recorded["curve"])


def test_what_differs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    number = searched(tmp_path, "--epochs", "2", "--scheduler", "none")[0]
    journal = tmp_path / "r" / "study.journal"
    said = f'"accuracy":{records(tmp_path / "r")[number]["metrics"]["accuracy"]}'
    journal.write_text(journal.read_text(encoding="utf-8").replace(said, '"accuracy":0.75'), encoding="utf-8")
    capsys.readouterr()
    assert main(["train", f"r:{number}", "--as-trial"]) == 0
    assert "in the search 0.75: it differs by -" in capsys.readouterr().out
    for wrong, message in (
        ([f"r:{number}", "--epochs", "3"], "--epochs: is taken from the search with --as-trial"),
        (["r:99"], "must be a trial that was trained"),
        (["lenet5"], "must be a trial of a search as RUN:NUMBER"), ([f"r:{number}", "--data", "diabetes"], "was searched on other data"),
    ):  # fmt: skip
        assert main(["train", *wrong, "--as-trial"]) == 2
        assert message in capsys.readouterr().err


def test_data_that_were_given_in_python_are_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    data, options = (x, (x[:, 0] > 0).astype(int)), dict[str, Any](trials=1, epochs=2, final_epochs=1, final_seeds=1, runner="inline")
    space = {"input": [4], "classes": 2, "body": [{"linear": {"out": {"choose": [4, 8]}}}], "head": ["linear"]}
    nf.search(space, data, run="r", show=False, **options)
    again = nf.train_again("r:0", data, show=False)
    assert again.same and "as in the search to the last bit" in str(again)
