"""`import nasforge as nf`: a search from Python is the one of the command line."""

from __future__ import annotations

import json
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
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in run.rows()]


@pytest.mark.slow
def test_arrays_a_file_and_a_name_give_the_same_run(tmp_path: Path) -> None:
    """`(x, y)` in worker processes, FILE.npz by the command line, and the data set that both are."""
    x, y = digits()
    np.savez(tmp_path / "d.npz", x=x, y=y)
    given = nf.search("digits", (x, y), run=tmp_path / "arrays", control=False, constraints={"params": 2e4}, **SMALL)
    words = "search digits --trials 2 --epochs 1 --final-epochs 1 --finalists 1 --final-seeds 1 --strategy random --no-control --json"
    file = ["--data", str(tmp_path / "d.npz"), "--constraint", "params<=20000", "--runner", "inline", "--run", str(tmp_path / "file")]
    assert main([*words.split(), *file]) == 0
    named = nf.Run(tmp_path / "file", None, given.summary)
    again = nf.search("digits", nf.load_data({"x": x, "y": y}), run=tmp_path / "set", control=False, constraints=["params<=20000"],
                      runner="inline", **SMALL)  # fmt: skip
    assert figures(given) == figures(named) == figures(again)
    best = given.best
    assert sum(p.numel() for p in best.model.parameters()) == best.row["params"] <= 2e4
    assert best.model(torch.zeros(2, 1, 8, 8)).shape == (2, 10) and not best.model.training
    trials = given.trials()
    assert set(given.front().number) <= set(trials[trials.kind == "finished"].number) and len(given.finalists()) == 1
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
        "import sys, nasforge as nf; heavy = {'torch', 'optuna', 'numpy', 'sklearn'} & set(sys.modules); assert not heavy, heavy\n"
        "import nasforge.search.plan\n"
        "from nasforge.search import plan\n"
        "assert callable(nf.search) and nf.search.plan is plan and 'search' in dir(nf)\n"
        "try: nf.nothing\n"
        "except AttributeError: pass"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


MLP = {"name": "mlp", "input": [1, 8, 8], "classes": 10, "body": ["flatten", {"linear": {"out": 16, "act": "relu"}}], "head": ["linear"]}


def test_training_by_one_call_is_the_command(tmp_path: Path) -> None:
    x, y = digits()
    (tmp_path / "mlp.json").write_text(json.dumps(MLP), encoding="utf-8")
    np.savez(tmp_path / "d.npz", x=x, y=y)
    given = nf.train(MLP, (x, y), epochs=2, out=tmp_path / "given", show=False)
    command = ["train", str(tmp_path / "mlp.json"), "--data", str(tmp_path / "d.npz"), "--epochs", "2", "--out", str(tmp_path / "file")]
    assert main([*command, "--json"]) == 0
    told = json.loads((tmp_path / "file" / "result.json").read_text())
    assert told["test"] == given.test and [r["loss"] for r in told["curve"]] == [r["loss"] for r in given.curve] and len(given.curve) == 2
    assert given.model(torch.zeros(3, 1, 8, 8)).shape == (3, 10) and given.params == 1 * 64 * 16 + 16 + 160 + 10
    again = nf.train("lenet5", "digits", epochs=1, data_limit=200, out=tmp_path / "zoo", show=False)
    assert again.name == "lenet5" and again.data == "digits" and "used for" in again.form


@pytest.mark.parametrize(("call", "said"), [
    (lambda: nf.train({**MLP, "body": [{"choose": ["flatten", "gap"]}]}, show=False), "an architecture has nothing open"),
    (lambda: nf.train(MLP, "digits", epoch=3, show=False), "unknown option 'epoch'; did you mean 'epochs'"),
    (lambda: nf.train("mlp_2layr", show=False), "mlp_2layer"),
    (lambda: nf.train(MLP, ([1.0], [2.0]), show=False), "x must be"),
    (lambda: nf.scale("lenet5"), "give either phi or fit"),
    (lambda: nf.scale("lenet5", 1.0, fit={"params": 3}), "give either phi or fit"),
    (lambda: nf.zoo("resnet5O"), "did you mean"),
])  # fmt: skip
def test_mistakes_in_other_calls(call: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(nf.UserError) as caught:
        call()
    assert said in str(caught.value) and not list(tmp_path.iterdir())


def test_networks_by_one_call_each(tmp_path: Path) -> None:
    rows = nf.zoo("resnet*_cifar")
    assert len(rows) > 3 and set(rows.family) == {"residual"} and rows.params.min() > 1e5
    layers = nf.show(MLP)
    assert list(layers.type) == ["flatten", "linear", "linear"] and layers.params.sum() == layers.attrs["params"]
    assert set(nf.show("tabular").domain) >= {"let.width", "let.act"}
    small = nf.scale("resnet20", fit={"params": 1e5})
    assert 5e4 < nf.show(small).attrs["params"] <= 1e5 and nf.show(nf.scale(small, 1.0)).attrs["macs"] > nf.show(small).attrs["macs"]
    assert nf.latency(MLP, repeats=3).median_ms > 0
    assert nf.export(MLP, "python", tmp_path).largest_difference < 1e-5


def test_a_table_in_five_forms_is_searched_alike(tmp_path: Path) -> None:
    """Equal data keys, equal asks, equal results: arrays, FILE.npz, FILE.csv, a data frame, a data set."""
    pandas = pytest.importorskip("pandas")
    from sklearn.datasets import load_iris

    bunch = load_iris()
    x, y = bunch.data, bunch.target_names[bunch.target]
    frame = pandas.DataFrame(x, columns=list("abcd")).assign(label=y)
    np.savez(tmp_path / "t.npz", x=x, y=y.astype(str))
    frame.to_csv(tmp_path / "t.csv", index=False)
    forms = {"pair": (x, y), "npz": tmp_path / "t.npz", "csv": tmp_path / "t.csv", "frame": frame, "set": nf.load_data((x, y))}
    runs = {
        name: nf.search("tabular", data, run=tmp_path / name, control=False, runner="inline", objective="accuracy,-params", **SMALL)
        for name, data in forms.items()
    }
    keys = {json.loads((run.folder / "manifest.json").read_text())["data_key"] for run in runs.values()}
    assert len(keys) == 1 and all(figures(run) == figures(runs["pair"]) for run in runs.values())
