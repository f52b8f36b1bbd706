"""Data are read again in a process when what their name stands for has changed, and only then."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nasforge as nf
from nasforge.data import Source
from nasforge.tasks import load_data


def npz(root: Path, classes: int) -> str:
    np.savez(root / "d.npz", x=np.arange(120.0).reshape(60, 2), y=np.arange(60) % classes)
    return str(root / "d.npz")


def csv(root: Path, classes: int) -> str:
    (root / "d.csv").write_text("a,b,y\n" + "".join(f"{i},{-i},{i % classes}\n" for i in range(60)), encoding="utf-8")
    return str(root / "d.csv")


def npy(root: Path, classes: int) -> str:
    np.save(root / "y.npy", np.arange(60) % classes)
    if not (root / "x.npy").exists():  # the file that is named stays as it is
        np.save(root / "x.npy", np.arange(120.0).reshape(60, 2))
    return str(root / "x.npy")


def arff(root: Path, classes: int) -> str:
    for part, k in (("train", 2), ("test", classes)):  # the file that is named stays as it is
        rows = "".join(f"{i},{-i},{i % k}\n" for i in range(60))
        head = "@relation d\n@attribute a numeric\n@attribute b numeric\n@attribute y {0,1,2}\n@data\n"
        if part == "test" or not (root / "d-train.arff").exists():
            (root / f"d-{part}.arff").write_text(head + rows + ("1,1,2\n" * 9 if part == "train" else ""), encoding="utf-8")
    return str(root / "d-train.arff")


def images(root: Path, classes: int) -> str:
    for i in range(30):
        folder = root / "images" / f"class_{i % classes}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(folder / f"{i}.png")
    return str(root / "images")


def function(root: Path, classes: int) -> str:
    (root / "own.py").write_text(
        f"import numpy as np\ndef data():\n    return np.arange(120.0).reshape(60, 2), np.arange(60) % {classes}\n", encoding="utf-8"
    )
    return f"{root / 'own.py'}:data"


@pytest.mark.parametrize("write", [npz, csv, npy, images, function])
def test_what_changed_is_read_again(write: Callable[[Path, int], str], tmp_path: Path) -> None:
    source = Source(write(tmp_path, 2), allow_code=True)
    first = load_data(source)
    assert load_data(source) is first and first.spec.target.size == 2
    write(tmp_path, 3)
    assert load_data(source).spec.target.size == 3 and load_data(source).key != first.key


def test_a_test_part_beside_is_looked_at_too(tmp_path: Path) -> None:
    first = load_data(Source(arff(tmp_path, 2)))
    assert load_data(Source(arff(tmp_path, 3))).key != first.key


def test_an_image_that_is_written_over_and_a_link_to_a_folder(tmp_path: Path) -> None:
    spec = images(tmp_path / "real", 2)
    (tmp_path / "set").mkdir()
    for folder in Path(spec).iterdir():
        (tmp_path / "set" / folder.name).symlink_to(folder)
    first = load_data(Source(str(tmp_path / "set")))
    assert load_data(Source(str(tmp_path / "set"))) is first
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(Path(spec) / "class_0" / "0.png")
    assert load_data(Source(str(tmp_path / "set"))).key != first.key


def test_the_same_name_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, classes in (("a", 2), ("b", 3)):
        (tmp_path / name).mkdir()
        npz(tmp_path / name, classes)
    found = []
    for name in "ab":
        monkeypatch.chdir(tmp_path / name)
        found.append(nf.load_data("d.npz").spec.target.size)
    assert found == [2, 3]


def test_a_file_that_keeps_its_time_and_size(tmp_path: Path) -> None:
    spec = csv(tmp_path, 2)
    before = os.stat(spec)
    first = nf.load_data(spec)
    Path(spec).write_text(Path(spec).read_text().replace("59,-59", "99,-99"), encoding="utf-8")
    os.utime(spec, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert nf.load_data(spec).key != first.key


def test_two_searches_of_a_file_in_one_process(tmp_path: Path) -> None:
    keys = []
    for classes in (2, 3):
        run = nf.search("tabular", npz(tmp_path, classes), run=tmp_path / f"s{classes}", trials=1, epochs=1, final_epochs=1, finalists=1,
                        final_seeds=1, strategy="random", objective="accuracy", control=False, runner="inline", show=False,
                        page=False)  # fmt: skip
        keys.append(json.loads((run.folder / "manifest.json").read_text())["data_key"])
        assert run.best.arch["classes"] == classes
    assert keys[0] != keys[1]
