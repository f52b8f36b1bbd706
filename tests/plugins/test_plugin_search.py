"""The example of docs/plugins.md, searched by two workers and taken away; and what a run asks of its plugins afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import ranks_example

import nasforge as nf
from nasforge.cli import main
from nasforge.networks.build import build
from nasforge.spaces.files import read

Unplug = Callable[[], None]
pytestmark = pytest.mark.usefixtures("unplug")
SMALL = ["--trials", "3", "--epochs", "2", "--final-epochs", "2", "--finalists", "1", "--final-seeds", "1", "--no-control", "--run", "run"]
PLUGIN = ["--plugin", "ranks.py", "--allow-code"]
SEARCH = ["search", "space.yaml", "--data", "set.ranks", "--task", "ranking", "--strategy", "modest", *SMALL]
ALONE = """
import runpy, sys, torch
sys.modules["nasforge"] = None  # whoever imports it fails
model = runpy.run_path(sys.argv[1])["load"]()
torch.save(model(torch.load(sys.argv[2])), sys.argv[3])
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, stood in, with the example."""
    ranks_example(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def outputs_alone(file: Path, x: torch.Tensor) -> torch.Tensor:
    """What an exported file gives in a fresh Python that has torch and no nasforge."""
    torch.save(x, "x.pt")
    subprocess.run([sys.executable, "-I", "-c", ALONE, str(file), "x.pt", "y.pt"], check=True)
    return torch.load("y.pt")


@pytest.mark.slow
def test_the_example_is_searched_by_two_workers_and_taken_away(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SEARCH, *PLUGIN, "--workers", "2", "--scheduler", "last_of_all", "--seed-arch", "wave_8", "--export", "python"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "plugin ranks.py: blocks wave, wavy; metric rank_error; task ranking; reader ranks; strategy modest; scheduler last" in told.err
    assert "ranks off" in told.out and "export: run/export/finalist1.py, checked in a fresh process: largest difference 0" in told.out
    summary = json.loads((place / "run" / "summary.json").read_text())
    assert summary["failed"] == 0 and summary["best"]["metric"] == "rank_error" and summary["baselines"][0]["name"] == "wave_8"

    model = build(read("run/finalists/finalist1.yaml"))
    model.load_state_dict(load_file("run/finalists/finalist1.safetensors"))
    about = json.loads((place / "run" / "preprocess.json").read_text())["inputs"]["input"]
    raw = torch.randn(7, 3)  # the export normalizes by itself
    normalized = (raw - torch.tensor(about["mean"])) / torch.tensor(about["std"])
    assert torch.allclose(outputs_alone(place / "run/export/finalist1.py", raw), model.eval()(normalized), atol=1e-5)
    source = (place / "run/export/finalist1.py").read_text()
    assert "class Wave(nn.Module):" in source and "SLOPE = 0.5" in source and "numpy" not in source and "Ranking" not in source

    page = (place / "run" / "report.html").read_text()
    assert "--plugin run/plugins/ranks/ranks.py --allow-code" in page
    assert asked(["replay", "run", *PLUGIN], capsys)["same"]
    assert asked(["show", "run:0", *PLUGIN], capsys)["params"] > 0


def test_a_run_goes_on_with_the_plugins_it_began_with(place: Path, capsys: pytest.CaptureFixture[str], unplug: Unplug) -> None:
    inline = [*SEARCH, "--runner", "inline"]
    assert main([*inline, *PLUGIN]) == 0
    manifest = json.loads((place / "run" / "manifest.json").read_text())
    assert list(manifest["plugins"]) == ["ranks.py"]
    assert (place / "run/plugins/ranks/ranks.py").read_bytes() == Path("ranks.py").read_bytes()
    unplug()
    capsys.readouterr()
    for words in (["show", "run:0"], ["export", "run", "--to", "torch"], ["report", "run"], ["replay", "run"], ["train", "run:finalist1"]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "run: was searched with the plugin ranks.py, which is not loaded; give --plugin run/plugins/ranks/ranks.py --allow" in said
    assert not (place / "exported").exists() and not (place / "runs").exists()

    before = sorted(p.name for p in (place / "run").iterdir())
    Path("ranks.py").write_text(Path("ranks.py").read_text() + "\n# changed\n")
    assert main([*inline, *PLUGIN, "--trials", "4"]) == 2
    said = capsys.readouterr().err
    assert "run: must have its plugin ranks.py as it was (" in said
    assert "give --plugin run/plugins/ranks/ranks.py --allow-code, or another --run" in said
    assert sorted(p.name for p in (place / "run").iterdir()) == before
    unplug()

    Path("more.py").write_text("def first(problem):\n    return None\nSTRATEGIES = {'first': first}\n")
    kept = ["--plugin", "run/plugins/ranks/ranks.py", "--allow-code"]
    assert main([*inline, *kept, "--plugin", "more.py", "--trials", "4"]) == 0  # a further one changes nothing in it
    assert json.loads((place / "run" / "summary.json").read_text())["asked"] == 4


FORMULA = """
from nasforge.evaluation.base import Report, Result
from nasforge.evaluation.train import STOPS
from nasforge.objectives.metrics import Known, Metric

GUESS = Metric("guess", "guess", True, "number", Known.TRAINED)
METRICS = [GUESS]

class Formula:
    def metrics(self, task):
        return GUESS, task.main
    def prepare(self, context):
        self.data = context.load()
    def evaluate(self, job, on_report):
        guess = float(job.arch["body"][1]["wavy"]["out"])
        found = {"guess": guess, "rank_error": 1 / guess}
        stopped = STOPS[on_report(Report(1, {"epoch": 1, **found}))]
        return Result(found, test=dict(found), curve=[{"epoch": 1, **found}], stopped=stopped)

EVALUATORS = {"formula": Formula}
"""


def test_an_evaluator_and_its_metric_come_from_a_second_plugin(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("formula.py").write_text(FORMULA)
    words = ["--plugin", "formula.py", "--evaluator", "formula", "--objective", "guess,-params", "--runner", "inline"]
    found = asked([*SEARCH, *PLUGIN, *words], capsys)
    assert found["finished"] + found["pruned"] == 3 and found["best"]["metric"] == "rank_error"
    assert list(json.loads((place / "run" / "manifest.json").read_text())["plugins"]) == ["ranks.py", "formula.py"]


def test_a_search_from_python_uses_plugins_and_goes_on_by_the_command_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nf.load_plugins("ranks.py")
    options = {"task": "ranking", "trials": 2, "epochs": 1, "final_epochs": 1, "finalists": 1, "final_seeds": 1, "runner": "inline"}
    run = nf.search("space.yaml", "set.ranks", run="run", show=False, control=False, strategy="modest", **options)
    assert run.best.row["metric"] == "rank_error"
    words = [*SEARCH, *PLUGIN, "--runner", "inline", "--epochs", "1", "--trials", "3", "--final-epochs", "1"]
    assert asked(words, capsys)["asked"] == 3


def test_a_run_without_plugins_says_nothing_of_them(place: Path) -> None:
    assert main(["search", "tabular", "--strategy", "random", *SMALL, "--runner", "inline"]) == 0
    assert "plugins" not in json.loads((place / "run" / "manifest.json").read_text()) and not (place / "run" / "plugins").exists()
