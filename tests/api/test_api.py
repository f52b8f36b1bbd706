"""`import nasforge as nf`: a search from Python is the one of the command line."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nasforge as nf
from nasforge.api.search import _known
from nasforge.cli import main
from nasforge.data import StoredDataset
from nasforge.objectives.objective import parse_limit

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
    ({"constraints": {"params": "many"}}, None, "constraints.params: must be a number with or without a unit of k, M, G, B, T, got 'many'"),
    ({"constraints": "params=1e4"}, None, "--constraint 'params=1e4': must be METRIC<=NUMBER"),
    ({"constraints": 3}, None, "constraints: must be upper limits by name or a list of words"),
    ({"runner": "remote"}, None, "no such runner"),
    ({"workers": "2"}, None, "--workers: must be at least 1 and whole, got '2'"),
    ({"workers": 1.5}, None, "--workers: must be at least 1 and whole, got 1.5"),
    ({"threads": 0}, None, "--threads: must be at least 1 and whole, got 0"),
    ({"data_limit": "5"}, None, "--data-limit: must be a whole number, got '5'"),
    ({"data_limit": 20.5}, "arrays", "--data-limit: must be a whole number, got 20.5"),
    ({"seed_arch": "lenet6"}, None, "'lenet5' or "),
    ({"profile": Path("none.json")}, None, "none.json"),
    ({"image_size": 3}, "arrays", "image_size: is for images in files, got 3 with arrays; leave it out"),
    ({"skip_broken": True}, "arrays", "skip_broken: is for images in files"),
    ({"data_limit": 5}, "set", "data_limit: says how data are read, and a data set has been read, got 5; give it to nasforge.load_data"),
    ({"task": "regression"}, "set", "task: says how data are read"),
    ({"target": "zz"}, "set", "target: says how data are read"),
    ({"image_size": 3}, "set", "image_size: says how data are read"),
    ({"data_memory": 0}, "set", "data_memory: says how data are read"),
])  # fmt: skip
def test_bad_input_is_refused_before_a_folder_is_made(options: Any, data: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(nf.UserError) as caught:
        given = digits() if data == "arrays" else nf.load_data("digits") if data == "set" else data
        nf.search("digits", given, run=tmp_path / "run", **{**SMALL, **options})
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_limits_in_every_form_are_the_same(tmp_path: Path) -> None:
    forms = (["params<=20000", "accuracy>=0.5"], ("params<=2e4", "accuracy>=0.5"), {"params": np.int64(20000), "accuracy": 0.5})
    found = [_known({"constraints": limits})["constraint"] for limits in forms]
    assert [[str(parse_limit(word)) for word in words] for words in found] == [list(forms[0])] * 3
    assert _known({"constraints": "params<=1e4", "constraint": "macs<=1e6"})["constraint"] == ["macs<=1e6", "params<=1e4"]
    assert "constraint" not in _known({"constraints": None})


def test_what_a_space_says_of_its_data_holds_for_arrays(tmp_path: Path) -> None:
    """As it does for the same arrays in a file."""
    space = {"name": "s", "input": [3], "classes": 1, "body": [{"linear": {"out": {"choose": [8, 16]}}}], "head": ["linear"],
             "search": {"task": "regression", "data_limit": 20}}  # fmt: skip
    x, y = np.arange(180.0).reshape(60, 3), np.arange(60) % 5
    np.savez(tmp_path / "d.npz", x=x, y=y)
    runs = [nf.search(space, data, run=tmp_path / name, control=False, runner="inline", **SMALL)
            for name, data in (("arrays", (x, y)), ("file", tmp_path / "d.npz"))]  # fmt: skip
    keys = {json.loads((run.folder / "manifest.json").read_text())["data_key"] for run in runs}
    assert len(keys) == 1 and figures(runs[0]) == figures(runs[1]) and "mse" in runs[0].rows()[0]


@pytest.mark.slow
def test_a_run_that_is_a_file_or_has_lost_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(nf.UserError, match="the folder of a run must be a folder, got a file there; choose another --run"):
            nf.search("digits", run=folder, **SMALL)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
    run = nf.search("digits", digits(), run=tmp_path / "run", control=False, runner="inline", **SMALL)
    for name in ("²", "99"):
        with pytest.raises(nf.UserError, match=r"has no finalist '²'|trials 0 to 1"):
            nf.show(f"{run.folder}:{name}")
    for text, said in (("[]", "must hold an object, got list; restore"), ("{}", "must have objectives, got none; restore")):
        (run.folder / "manifest.json").write_text(text, encoding="utf-8")
        with pytest.raises(nf.UserError, match=said):
            nf.Run.open(run.folder)


def test_data_that_take_more_memory_than_they_may_stay_as_they_are() -> None:
    assert isinstance(nf.load_data(digits(), data_memory=0), StoredDataset) and not isinstance(nf.load_data(digits()), StoredDataset)


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
    (lambda: nf.train(MLP, nf.load_data("digits"), task="regression", show=False), "task: says how data are read"),
    (lambda: nf.load_data(nf.load_data("digits"), data_limit=10), "data_limit: says how data are read"),
    (lambda: nf.load_data(digits(), image_size=16), "image_size: is for images in files"),
    (lambda: nf.train(MLP, "digits", device="foo", show=False), "device: must be cpu, cuda, cuda:N or mps, got 'foo'"),
    (lambda: nf.scale("lenet5"), "give either phi or fit"),
    (lambda: nf.scale("lenet5", 1.0, fit={"params": 3}), "give either phi or fit"),
    (lambda: nf.zoo("resnet5O"), "did you mean"),
])  # fmt: skip
def test_mistakes_in_other_calls(call: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(nf.UserError) as caught:
        call()
    assert said in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_module_is_no_architecture_and_an_export_may_name_its_file(tmp_path: Path) -> None:
    for what in (nf.show, nf.latency):
        with pytest.raises(nf.UserError, match=r"network: must be a name, .* got Linear; of a run give run\.best\.arch"):
            what(torch.nn.Linear(2, 2))
    done = nf.export("lenet5", "onnx", tmp_path / "out" / "net.onnx")
    assert done.path == tmp_path / "out" / "net.onnx" and done.path.is_file()
    with pytest.raises(nf.UserError, match=r"out: onnx is written as \.onnx, got .*net\.py"):
        nf.export("lenet5", "onnx", tmp_path / "net.py")


@pytest.mark.slow
def test_data_that_took_long_to_load_are_given_to_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {
        "trials": 2, "epochs": 1, "final_epochs": 1, "finalists": 1, "final_seeds": 1, "strategy": "random", "workers": 1, "show": False,
    }  # fmt: skip
    rows = []
    for seconds in (-1.0, 1e9):
        monkeypatch.setattr(importlib.import_module("nasforge.api.search"), "SLOW_S", seconds)
        run = nf.search("digits", "digits", run=tmp_path / str(seconds), page=False, **asked)
        rows.append(figures(run))
    assert rows[0] == rows[1] and len(rows[0]) >= 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nofile.yaml", "nofile.yaml: no such file"),
        ("mien.yaml", "mien.yaml: no such file; did you mean 'mine.yaml'?"),
        ("sub/mien.json", "sub/mien.json: no such file; did you mean 'sub/mine.json'?"),
        ("none/mine.yml", "none/mine.yml: no such file, for there is no folder none"),
        ("./lenet5", "./lenet5: no such file"),
        ("sub", "sub: is a folder without a search; give a file, or the folder of a run"),
        ("sub:3", "sub:3: sub is no folder of a search (manifest.json is missing)"),
    ],
)
def test_a_file_that_is_not_there_is_said(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for file in ("mine.yaml", "sub/mine.json", "other.txt"):
        (tmp_path / file).touch()
    for command in (["show"], ["train"], ["search"], ["locate", "lenet5"], ["locate"], ["zoo", "--weights"], ["scale", "--phi", "1"]):
        if command in (["search"], ["locate", "lenet5"]) and ":" in name:
            continue  # they take spaces
        words = [*command, name, *(["digits"] if command == ["locate"] else ["x.pth"] if "zoo" in command else [])]
        assert main(words) == 2
        err = capsys.readouterr().err
        assert said in err and len(err) < 250, words


def test_a_folder_of_the_name_of_a_network_or_space_hides_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lenet5").mkdir()
    (tmp_path / "digits").mkdir()
    assert main(["show", "lenet5"]) == 0 and main(["locate", "lenet5", "digits"]) == 3, "no point of it, but read"


def test_the_package_and_its_verbs_travel_by_name() -> None:
    nf.search, nf.export  # noqa: B018  rooms that are called
    import nasforge.export

    for module in (nf, nasforge.export):
        assert pickle.loads(pickle.dumps(module)) is module
