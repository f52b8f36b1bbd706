"""`import nasforge as nf`: a search from Python is the one of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nasforge as nf
from nasforge.cli import main

SMALL: dict[str, Any] = {"trials": 2, "epochs": 1, "final_epochs": 1, "finalists": 1, "final_seeds": 1, "strategy": "random", "show": False}


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images / bunch.images.max()).astype(np.float32)[:, None], bunch.target


def figures(run: nf.Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in run.trials()]


def test_arrays_a_file_and_a_name_give_the_same_run(tmp_path: Path) -> None:
    """`(x, y)` in worker processes, FILE.npz by the command line, and the data set that both are."""
    x, y = digits()
    np.savez(tmp_path / "d.npz", x=x, y=y)
    given = nf.search("digits", (x, y), run=tmp_path / "arrays", control=False, constraints={"params": 2e4}, **SMALL)
    words = "search digits --trials 2 --epochs 1 --final-epochs 1 --finalists 1 --final-seeds 1 --strategy random --no-control --json"
    file = ["--data", str(tmp_path / "d.npz"), "--constraint", "params<=20000", "--runner", "inline", "--run", str(tmp_path / "file")]
    assert main([*words.split(), *file]) == 0
    named = nf.Run(tmp_path / "file", None, given.summary)
    again = nf.search("digits", nf.data_of({"x": x, "y": y}), run=tmp_path / "set", control=False, constraints=["params<=20000"],
                      runner="inline", **SMALL)  # fmt: skip
    assert figures(given) == figures(named) == figures(again)
    best = given.best
    assert sum(p.numel() for p in best.model.parameters()) == best.row["params"] <= 2e4
    assert best.model(torch.zeros(2, 1, 8, 8)).shape == (2, 10) and not best.model.training
    assert {row["number"] for row in given.front()} <= {row["number"] for row in given.trials() if row["kind"] == "finished"}
    assert given.report().is_file() and given.export("python", tmp_path / "out").path.is_file()


@pytest.mark.parametrize(("options", "data", "said"), [
    ({"trails": 3}, None, "did you mean 'trials'"),
    ({}, 3, "must be a name, (x, y)"),
    ({"task": "regresion"}, "arrays", "no such task"),
    ({"constraints": {"parms": 3}}, None, "parms"),
    ({"runner": "remote"}, None, "no such runner"),
])  # fmt: skip
def test_bad_input_is_refused_before_a_folder_is_made(options: Any, data: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(nf.UserError) as caught:
        nf.search("digits", digits() if data == "arrays" else data, run=tmp_path / "run", **{**SMALL, **options})
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_import_is_light_and_verbs_stay_rooms() -> None:
    code = (
        "import sys, nasforge as nf; heavy = {'torch', 'optuna', 'numpy'} & set(sys.modules); assert not heavy, heavy\n"
        "import nasforge.search.plan\n"
        "from nasforge.search import plan\n"
        "assert callable(nf.search) and nf.search.plan is plan and 'search' in dir(nf)\n"
        "try: nf.nothing\n"
        "except AttributeError: pass"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
