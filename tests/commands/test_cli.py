"""The command line as a user meets it: JSON alone on stdout, mistakes in one line, exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nasforge.cli import main
from nasforge.spaces.files import read


def call(*words: str) -> int:
    return main([str(w) for w in words])


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert call(*words, "--json") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def mistake(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert call(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    return captured.err


def test_help_imports_nothing_heavy() -> None:
    heavy = "('torch', 'numpy', 'optuna', 'yaml')"
    code = f"import sys; from nasforge.cli import parser; parser(); sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_show_an_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "show", "resnet18")
    assert found["params"] == 11689512 and found["macs"] == 1814073344  # torchvision's resnet18
    assert sum(row["params"] for row in found["layers"]) == found["params"]
    wanted = {
        "type",
        "inputs",
        "outputs",
        "kernel",
        "stride",
        "params",
        "macs",
        "input_bytes",
        "parameter_bytes",
        "output_bytes",
        "receptive_field",
    }
    assert wanted <= set(found["layers"][0])
    assert call("show", "resnet18") == 0
    assert "11,689,512 parameters" in capsys.readouterr().out


def test_show_a_space(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "show", "cell")
    assert found["size"] == 15625 and found["not_buildable"] == 0
    assert "let.op01" in found["domains"]


def test_zoo_lists_and_filters(capsys: pytest.CaptureFixture[str]) -> None:
    rows = said(capsys, "zoo", "resnet*")["networks"]
    assert {"resnet18", "resnet50"} <= {r["name"] for r in rows} and all(r["source"] for r in rows)


def test_locate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        "input: [1, 8, 8]\nclasses: 10\nstem: [conv: {out: 12}]\nbody: [conv: {out: 24, stride: 2}]\nhead: [pool: {kind: max}, linear]",
        encoding="utf-8",
    )
    found = said(capsys, "locate", str(path), "digits")
    assert found["located"] and found["choices"]["body.0.stage.depth"] == 0
    assert call("locate", "lenet5", "digits") == 3
    assert "is no point of digits: stem.0" in capsys.readouterr().out


def test_scale(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = said(capsys, "scale", "resnet20", "--phi", "1")
    assert found["params"] > found["params_before"] and found["arch"]["input"] == [3, 37, 37]
    small = said(capsys, "scale", "resnet20", "--fit", "params=1e5", "--out", str(tmp_path / "small.yaml"))
    assert small["params"] <= 1e5
    assert said(capsys, "show", str(tmp_path / "small.yaml"))["params"] == small["params"]


def test_latency_measures_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "latency", "lenet5")
    assert found["median_ms"] > 0 and found["threads"] == 1


def test_images_may_be_brought_to_the_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "fine.yaml"
    file.write_text("{input: [3, 12, 12], classes: 5, body: [conv: {out: 4}], head: [gap_head]}")
    words = ("train", str(file), "--epochs", "1", "--data-limit", "200", "--out")
    sizes = [said(capsys, *words, str(tmp_path / out), *more)["macs"] for out, more in (("as", ()), ("out", ("--resize",)))]
    assert sizes[1] - sizes[0] == (12 * 12 - 8 * 8) * 4 * 9  # one map in, four out, 3x3
    assert read(tmp_path / "out" / "arch.yaml")["input"] == [1, 12, 12]


@pytest.mark.slow
def test_train_and_export_a_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "lenet"
    found = said(capsys, "train", "lenet5", "--epochs", "2", "--data-limit", "400", "--out", str(out))
    assert found["test"]["accuracy"] > 0.3 and len(found["curve"]) == 2
    assert {p.name for p in out.iterdir()} >= {"arch.yaml", "model.safetensors", "result.json"}
    done = said(
        capsys,
        "export",
        str(out / "arch.yaml"),
        "--weights",
        str(out / "model.safetensors"),
        "--to",
        "python",
        "--out",
        str(tmp_path / "away"),
    )
    assert done["trained"] and done["largest_difference"] <= 1e-5 and Path(done["path"]).exists()


MISTAKES = [
    (("show", "resnet19"), "did you mean 'resnet9'"),
    (("show", "NOWHERE.yaml"), "NOWHERE.yaml"),
    (("search", "digit"), "did you mean 'digits'"),
    (("search", "digits", "--strategy", "tpee"), "did you mean 'tpe'"),
    (("search", "digits", "--objective", "acuracy"), "did you mean 'accuracy'"),
    (("search", "digits", "--constraint", "params=5"), "METRIC<=NUMBER"),
    (("search", "digits", "--data", "/nowhere"), "/nowhere"),
    (("search", "digits", "--data", "os:getcwd"), "--allow-code"),
    (("search", "digits", "--trials", "0"), "--trials"),
    (("search", "digits", "--seed-arch", "lenet"), "'lenet5' or "),
    (("search", "translation"), "input"),
    (("train", "digits.yaml"), "digits.yaml"),
    (("report", "/nowhere"), "/nowhere"),
    (("scale", "resnet18"), "--phi"),
    (("zoo", "xyz"), "`nasforge zoo` lists all"),
]


@pytest.mark.parametrize(("words", "part"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert part in mistake(capsys, *words)


def test_a_mistake_in_a_space_file_names_its_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("input: [1, 8, 8]\nbody: [conv: {out: {choose: [8, 16]}, kernal: 3}]", encoding="utf-8")
    assert "body.0.conv.kernal: conv has no argument 'kernal'; did you mean 'kernel'" in mistake(capsys, "search", str(path))


@pytest.mark.slow
def test_a_search_with_json_prints_one_object(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("search", "digits", "--trials", "3", "--epochs", "1", "--final-epochs", "1", "--final-seeds", "1", "--finalists", "1",
             "--data-limit", "300",
             "--no-control", "--run", "r", "--export", "onnx", "--seed-arch", "lenet5")  # fmt: skip
    found = said(capsys, *words)
    assert {"run", "asked", "finished", "pruned", "failed", "duplicates", "best", "control", "baselines", "seconds"} <= set(found)
    assert {"arch", "val", "test_mean", "test_std", "params", "macs"} <= set(found["best"])
    assert {"total", "training", "measuring", "overhead"} <= set(found["seconds"])
    assert Path("r/report.html").exists() and Path(found["exported"]["path"]).exists()
    assert said(capsys, "export", "r", "--to", "torch", "--out", "away")["trained"]
    assert said(capsys, "show", "r:0")["params"] > 0
    assert said(capsys, "report", "r")["summary"]["asked"] == 3
