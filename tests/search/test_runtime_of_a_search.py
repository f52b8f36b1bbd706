"""The runtime in which latencies of a search are measured, and the shape that profiles are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nasforge as nf
from nasforge.cli import main
from nasforge.errors import UserError
from nasforge.latency import measure, read_profile
from nasforge.search.plan import MANIFEST

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow
BRIEF: dict[str, Any] = {
    "trials": 2, "epochs": 1, "final_epochs": 1, "finalists": 1, "final_seeds": 1, "strategy": "random", "runner": "inline",
    "data_limit": 300, "page": False,
}  # fmt: skip


def test_latency_is_measured_in_the_runtime_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def noted(*args: Any, **options: Any) -> Any:
        asked.append(options["runtime"])
        return measure(*args, **options)

    monkeypatch.setattr("nasforge.evaluation.train.measure", noted)
    words = {**BRIEF, "constraints": ["latency<=1s"], "runtime": "onnxruntime", "run": tmp_path / "run", "show": False}
    run = nf.search("digits", "digits", **words)
    assert set(asked) == {"onnxruntime"} and len(asked) >= 3
    assert 0 < run.summary["best"]["latency_ms"] < 1000
    assert json.loads((tmp_path / "run" / MANIFEST).read_text(encoding="utf-8"))["runtime"] == "onnxruntime"
    with pytest.raises(UserError, match=r"holds another search .*runtime was 'onnxruntime', is 'eager'"):
        nf.search("digits", "digits", **{**words, "runtime": None, "trials": 3})


def test_a_runtime_that_is_not_there_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(message: str, **words: Any) -> None:
        with pytest.raises(UserError, match=message):
            nf.search("digits", "digits", run=tmp_path / "run", show=False, **words, **BRIEF)
        assert not (tmp_path / "run").exists()

    refused("--runtime onnxruntim: no such runtime; did you mean .onnxruntime", runtime="onnxruntim")
    monkeypatch.setattr("nasforge.search.settings.find_spec", lambda package: None)
    refused("--runtime onnxruntime: needs the package onnxruntime, which is not installed; pip install", runtime="onnxruntime")


def test_networks_are_timed_at_the_shape_of_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--networks", "5", "--repeats", "3", "--data", "digits", "--data-limit", "300"]
    assert main(["calibrate", "mobile", *words, "--out", str(tmp_path / "p.json")]) == 0
    assert read_profile(tmp_path / "p.json").input == [1, 8, 8]
    capsys.readouterr()
    times = []
    for more in ([], ["--data", "digits", "--data-limit", "300"]):
        assert main(["latency", "resnet20", "--repeats", "5", "--json", *more]) == 0
        times.append(json.loads(capsys.readouterr().out)["median_ms"])
    assert times[1] < times[0]  # 8 x 8 pixels against 32 x 32: a sixteenth of the work


def test_a_profile_of_another_shape_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "mobile", "--networks", "5", "--repeats", "3", "--out", str(tmp_path / "p.json")]) == 0
    capsys.readouterr()
    limits = {"profile": [f"pi={tmp_path / 'p.json'}"], "constraints": ["latency@pi<=1s"]}
    nf.search("digits", "digits", run=tmp_path / "run", **limits, **BRIEF)
    said = capsys.readouterr().err
    assert f"--profile pi={tmp_path / 'p.json'}: was measured with inputs of 3x32x32, the search reads 1x8x8" in said
