"""What three users do, from the first command to the last: photographs to a small device, parts of their own, a documented network."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from zoo import references

from nasforge.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
# a Python of a device, in which there is neither torch nor nasforge
DEVICE = """import os, runpy, sys
sys.modules.update(torch=None, nasforge=None)
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SHORTER = {"--networks 40": "--networks 6", "--minutes 20": "--minutes 0.5", "latency@pi<=20ms": "latency@pi<=1s"}

pytestmark = pytest.mark.slow


def photographs(root: Path, each: int = 30) -> None:
    """Pictures of several sizes, some turned by EXIF, some broken; the class is the color that shines."""
    rng = np.random.default_rng(0)
    for kind, name in enumerate(("cat", "dog", "owl")):
        (root / name / "2024").mkdir(parents=True)
        for i in range(each):
            height, width = (int(n) for n in rng.integers(40, 70, 2))
            pixels = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
            pixels[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4, kind] += 130
            exif = Image.Exif()
            exif[0x0112] = (1, 3, 6, 8)[i % 4]
            Image.fromarray(pixels).save(root / name / ("2024" if i % 3 else "") / f"{i}.jpg", exif=exif)
    (root / "cat" / "torn.jpg").write_bytes((root / "cat" / "0.jpg").read_bytes()[:100])
    (root / "owl" / "notes.txt").write_text("seen at night", encoding="utf-8")


def on_device(command: str, folder: Path) -> str:
    words = shlex.split(command.removeprefix("python "))
    done = subprocess.run([sys.executable, "-c", DEVICE, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_from_photographs_to_a_raspberry_pi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    here, device = tmp_path / "here", tmp_path / "device"
    photographs(here / "photos")
    device.mkdir()
    monkeypatch.chdir(here)
    page = (DOCS / "raspberry_pi.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash( on the device)?\n(.*?)```", page, re.S)
    assert [bool(there) for there, _ in blocks] == [False, True, False, False, False, True]
    said = last = ""
    for there, block in blocks:
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        for command in block.strip().splitlines():
            if not there:
                broken = "predict" in command  # it names the torn picture, and answers for the others
                assert main(shlex.split(command)[1:]) == int(broken), command
                told = capsys.readouterr()
                assert not broken or "torn.jpg" in told.err
                said += told.out
            elif command.startswith("python measure.py"):
                on_device(command, device / "away")
                shutil.copy(device / "away" / "measured.json", here / "away")
            elif command.startswith("python export/predict.py"):
                shutil.copytree(here / "runs" / "photos" / "export", device / "export")
                shutil.copy(here / "photos" / "dog" / "2024" / "1.jpg", device / "picture.jpg")
                last = on_device(command, device)
        if "--script away" in block:
            shutil.copytree(here / "away", device / "away")
    tried = re.search(r"tried on (\d+) samples of val as files: accuracy ([\d.]+), ([\d.]+) in the run", said)
    assert tried and tried[2] == tried[3]
    best = json.loads((here / "runs" / "photos" / "summary.json").read_text(encoding="utf-8"))["best"]
    assert best["params"] * 4 <= 200_000 and best["test_mean"] > 0.6
    with (here / "answers.csv").open(encoding="utf-8") as file:
        answers = {Path(row["file"]).as_posix(): row["class"] for row in csv.DictReader(file) if row["class"]}
    assert len(answers) == 90
    right = sum(re.search(r"(cat|dog|owl)", name.rpartition("photos")[2])[0] == word for name, word in answers.items())  # type: ignore[index]
    assert right / 90 > 0.6
    mine = next(word for name, word in answers.items() if name.endswith("dog/2024/1.jpg"))
    assert mine in last  # the device gives the same answer


MINE = '''"""A block, a metric with its task, and a strategy of my own."""

import torch
from torch import nn

from nasforge.blocks.base import Layer
from nasforge.objectives.metrics import Known, Metric
from nasforge.spaces.choosers import random_chooser
from nasforge.tasks.classification import Classification, ClassScorer


class Tilt(Layer):
    """A slope for each channel that is learned. Shapes: (C, H, W) -> the same."""

    free = True

    def __init__(self, shape) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(shape[0]))

    def forward(self, x):
        return x * self.slope[:, None, None]


class Careful(ClassScorer):
    def result(self):
        found = super().result()
        return {**found, "error": 1 - found["accuracy"]}


class MyTask(Classification):
    """Classes, told by the share of wrong answers."""

    name = "mine"
    metrics = (Metric("error", "error", maximize=False, unit="share", known=Known.TRAINED), *Classification.metrics)

    def scorer(self):
        return Careful(self)


BLOCKS = {"tilt": Tilt}
METRICS = [MyTask.metrics[0]]
TASKS = [MyTask]
STRATEGIES = {"mine": lambda problem: lambda history, rng: problem.space.draw(random_chooser(rng))[1]}
'''
SPACE = """
input: [1, 8, 8]
classes: 10
body: [{conv: {out: {choose: [4, 8, 12]}}}, {choose: {none: [], tilt: [tilt]}}, {conv: {out: {choose: [8, 16]}, stride: 2}}]
head: [gap_head]
"""
BRIEF = shlex.split("--data digits --data-limit 300 --task mine --trials 4 --epochs 2 --final-epochs 2 --finalists 1 --final-seeds 1")


def test_parts_of_my_own_from_one_file_to_two_runs_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    own = ["--plugin", "mine.py", "--allow-code"]
    for strategy in ("mine", "random"):
        run = ["search", "space.yaml", *BRIEF, "--strategy", strategy, "--run", f"runs/{strategy}", *own]
        assert main([*run, "--objective=-error,-params"]) == 0
    told = capsys.readouterr().out
    assert "error" in told
    assert main(["report", "runs/mine", "runs/random", "--csv", "trials.csv", *own]) == 0
    assert "mine" in capsys.readouterr().out and (tmp_path / "runs" / "comparison.html").is_file()
    with (tmp_path / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {Path(row["run"]).name for row in rows} == {"mine", "random"} and all(float(row["error"]) <= 1 for row in rows if row["error"])
    assert any("tilt" in text for text in map(str, rows))


def test_a_documented_network_trained_as_published_scored_scaled_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    y = np.arange(240) % 10
    np.savez("cifar.npz", x=(rng.normal(size=(240, 3, 32, 32)) + y[:, None, None, None] / 3).astype(np.float32), y=y)
    assert main(["train", "resnet20", "--recipe", "published", "--epochs", "2", "--data", "cifar.npz", "--out", "trained"]) == 0
    recipe = json.loads((tmp_path / "trained" / "result.json").read_text(encoding="utf-8"))
    assert len(recipe["curve"]) == 2
    capsys.readouterr()
    torch.save(references.lively(references.ResNet([2, 2, 2, 2], False, classes=10)).state_dict(), "resnet18.pth")
    assert main(["score", "resnet18", "--weights", "resnet18.pth", "--data", "cifar.npz", "--resize", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 <= found["metrics"]["accuracy"] <= 1
    assert main(["scale", "resnet20", "--fit", "params<=100k", "--out", "smaller.yaml"]) == 0
    assert main(["export", "smaller.yaml", "--to", "python", "--out", "away"]) == 0
    assert list((tmp_path / "away").glob("*.py"))
