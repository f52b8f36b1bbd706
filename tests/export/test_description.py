"""Descriptions of preprocessing that contradict themselves or their network, and `predict.py` among broken files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nasforge as nf
from nasforge.cli import main
from nasforge.errors import UserError

NET = {"input": [3, 8, 8], "classes": 2, "body": [{"conv": {"out": 4}}], "head": ["gap_head"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data`: bright and dark pictures; `net`: a network that was trained on them; `out`: it as ONNX."""
    root, rng = tmp_path_factory.mktemp("described"), np.random.default_rng(0)
    for name, level in {"bright": 180, "dark": 70}.items():
        (root / "data" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(np.clip(rng.normal(level, 30, (8, 8, 3)), 0, 255).astype(np.uint8)).save(root / "data" / name / f"{i}.png")
    nf.train(NET, str(root / "data"), epochs=5, out=root / "net", show=False)
    nf.export(str(root / "net"), "onnx", root / "out")
    return root


def changed(folder: Path, to: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Return a copy of a folder with another description: what `change` returns, or makes of the old one."""
    shutil.copytree(folder, to)
    about = json.loads((to / "preprocess.json").read_text())
    (to / "preprocess.json").write_text(json.dumps(change(about) if change(dict(about)) is not None else about))
    return to


def label(**words: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda about: about["targets"]["label"].update(words)


def image(**words: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda about: about["inputs"]["input"].update(words)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about: [1], "got: a list instead of an object"),
        (lambda about: {"format": 1}, "got: an object without inside, inputs, targets"),
        (lambda about: {**about, "inputs": {}}, "got: inputs {}, where there must be one or more by name"),
        (lambda about: {**about, "targets": {}}, "got: targets {}, where there must be one or more by name"),
        (image(shape=[1, 8, 8]), "the input input with 3 means and 3 deviations, where the shape [1, 8, 8] needs 1"),
        (image(mean=[0.0], std=[1.0]), "with 1 means and 1 deviations, where the shape [3, 8, 8] needs 3"),
        (image(dtype="int64"), "kind image, shape [3, 8, 8] and dtype int64, which do not go together"),
        (image(kind="sound"), "kind 'sound'"),
        (image(file_scale="all"), "file_scale 'all'"),
        (image(kind="table", header=True, columns=[{"name": "a", "names": ["x", "y"]}]),
         "columns of 2 numbers, where the shape is [3, 8, 8]"),
        (label(names=["bright"]), "the target label with 1 names, where its size is 2"),
        (label(names=[1, 2]), "names that are no text"),
        (label(kind="boxes"), "kind 'boxes' and size 2"),
        (label(kind="value"), "0 means and 0 deviations, where its kind is value and its size 2"),
        (label(size=3, names=[]), "must describe this network: the target label of kind label has 3 outputs, those of the network are [2]"),
        (image(shape=[3, 4]), "kind image, shape [3, 4] and dtype uint8, which do not go together"),
    ],
)
def test_a_description_that_contradicts_itself_or_its_network_is_refused(
    change: Callable[[dict[str, Any]], Any], said: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = changed(root / "net", tmp_path / "net", change)
    assert main(["predict", str(net), str(root / "data" / "dark")]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"nasforge predict: {net}/preprocess.json: must ") and told.count("\n") == 1
    assert said in told and "; restore it, or delete it and give --data" in told


def test_weights_of_another_network_are_no_traceback(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "net", tmp_path / "net")
    (tmp_path / "net" / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"model.safetensors: must hold the weights of .*net, got: .*; train it again"):
        nf.predict(tmp_path / "net", root / "data")


def test_the_description_beside_an_export_must_be_the_one_it_carries(root: Path, tmp_path: Path) -> None:
    file = root / "data" / "dark" / "0.png"
    other = changed(root / "out", tmp_path / "other", label(size=3, names=["a", "b", "c"]))
    with pytest.raises(UserError, match=r"other/preprocess.json: its targets must be those that net.onnx carries, got .*name .*net.onnx"):
        nf.predict(other, file)
    assert nf.predict(other / "net.onnx", file)[0]["top"] == nf.predict(root / "out", file)[0]["top"]
    broken = changed(root / "out", tmp_path / "broken", lambda about: [])
    with pytest.raises(UserError, match=r"broken/preprocess.json: must be a description of preprocessing, got: a list"):
        nf.predict(broken, file)


def alone(folder: Path, *words: str) -> tuple[int, str, str]:
    """What predict.py in a folder ends with and says."""
    done = subprocess.run([sys.executable, str(folder / "predict.py"), *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_script_alone_says_in_one_line_what_is_wrong(root: Path, tmp_path: Path) -> None:
    file, out = str(root / "data" / "dark" / "0.png"), tmp_path / "out"
    shutil.copytree(root / "out", out)
    (out / "labels.json").unlink()  # the network carries the names
    (tmp_path / "note.png").write_text("no picture")
    assert alone(out, file, str(tmp_path / "note.png"))[::2] == (1, f"{tmp_path}/note.png: it is no image\n")
    for top in ("0", "-1"):
        status, _, said = alone(out, file, "--top", top)
        assert status == 2 and said.endswith(f"predict.py: error: --top: must be at least 1, got {top}\n")
    (out / "net.onnx").write_bytes((out / "net.onnx").read_bytes()[:300])
    status, shown, said = alone(out, file)
    assert (status, shown, said.count("\n")) == (1, "", 1)
    assert said.startswith(f"predict.py: {out}/net.onnx: must be a network as it was exported, got: ")
    (out / "net.onnx").unlink()
    assert alone(out, file, "--network", str(out / "net.onnx"))[::2] == (
        1, f"predict.py: {out}/net.onnx: must be an exported network, got no file; name a .onnx .pt2 .py\n"
    )  # fmt: skip
