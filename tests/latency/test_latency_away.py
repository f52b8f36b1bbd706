"""Profiles made on another machine, the roofline, and the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nasforge.cli import main
from nasforge.commands.calibrate_away import read_measured, write_folder
from nasforge.errors import UserError
from nasforge.latency import predict, read_profile
from nasforge.latency.roofline import Roof, bounds, probe, roof_named
from nasforge.networks.cost import count
from nasforge.spaces.arch import Arch

SPACE = """
input: [1, 8, 8]
classes: 4
body:
  - stage: {block: {conv: {out: {choose: [4, 8, 16, 32]}, kernel: {choose: [1, 3, 5]}}}, depth: {int: [1, 4]}}
head: [gap_head]
"""


def net(width: int, depth: int = 1) -> Arch:
    return {
        "input": [1, 8, 8],
        "classes": 4,
        "body": [{"stage": {"block": {"conv": {"out": width}}, "depth": depth}}],
        "head": ["gap_head"],
    }


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return str(path)


# ---------------------------------------------------------------- another machine


@pytest.mark.parametrize("runtime", ["eager", pytest.param("onnxruntime", marks=pytest.mark.thorough)])
def test_a_folder_is_measured_without_nasforge_and_read_back(runtime: str, space: str, tmp_path: Path) -> None:
    folder = tmp_path / "away"
    assert main(["calibrate", space, "--networks", "5", "--runtime", runtime, "--script", str(folder)]) == 0
    assert len(list(folder.glob("network_*.py" if runtime == "eager" else "network_*.onnx"))) == 5
    code = "import runpy, sys; sys.modules['nasforge'] = None; sys.argv = ['measure.py', '--repeats', '4']; "
    code += "runpy.run_path('measure.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "board.json"
    assert main(["calibrate", space, "--measured", str(folder / "measured.json"), "--out", str(out)]) == 0
    profile = read_profile(out)
    assert profile.runtime == runtime and len(profile.networks) == 5 and profile.space == space
    assert predict(profile, net(32, 4)).ms > 0
    with pytest.raises(UserError, match="profile: is for runtime"):
        predict(profile, net(32), runtime="openvino")


def test_runtimes_that_stay_here(space: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="taken away for eager or onnxruntime, got --runtime compile"):
        write_folder([net(4)], tmp_path / "x", space, "compile", 1)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"networks": [], "times_ms": []}'])
def test_what_measure_py_did_not_write_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"is not what measure\.py writes"):
        read_measured(path)


def test_calibrate_and_latency_commands(space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, arch = tmp_path / "here.json", tmp_path / "net.json"
    arch.write_text(json.dumps(net(16, 2)), encoding="utf-8")
    assert main(["calibrate", space, "--networks", "6", "--repeats", "5", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["networks"] == 6 and told["error"]["median"] < 1 and told["versions"]["torch"]
    assert main(["latency", str(arch), "--profile", str(out), "--repeats", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    low, high = told["interval_ms"]
    assert low <= told["predicted_ms"] <= high and told["median_ms"] > 0
    assert main(["latency", str(arch), "--profile", str(out), "--repeats", "5"]) == 0
    assert "90 % of such networks between" in capsys.readouterr().out
    assert main(["latency", str(arch), "--profile", str(out), "--batch", "2"]) == 2
    assert "is for batch 1, asked for 2" in capsys.readouterr().err


def test_a_space_smaller_than_asked_gives_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SPACE.replace("[4, 8, 16, 32]", "[4]").replace("[1, 3, 5]", "[3]"), encoding="utf-8")
    out = tmp_path / "p.json"
    assert main(["calibrate", str(path), "--networks", "30", "--repeats", "3", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == 4


# ---------------------------------------------------------------- roofline


def test_a_roofline_by_hand() -> None:
    """conv 1 -> 8 channels, 3x3 on 8x8: 4,608 multiply-adds; 256 bytes in, 88 parameters, 2,048 bytes out."""
    roof = Roof("board", 1e6, 1e6)
    first = bounds(net(8), roof)[0]
    assert first.row.macs == 4608 and first.bytes == 256 + 4 * first.row.params + 2048
    assert first.limit == "compute" and first.ms == pytest.approx(4.608)
    assert bounds(net(8), Roof("board", 1e12, 1e6))[0].limit == "memory"
    assert sum(one.row.macs for one in bounds(net(8, 3), roof)) == count(net(8, 3)).macs


def test_this_machine_is_probed() -> None:
    roof = probe()
    assert 1e8 < roof.macs_per_s < 1e13 and 1e8 < roof.bytes_per_s < 1e13 and roof.ridge > 0


def test_show_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch, board = tmp_path / "net.json", tmp_path / "board.json"
    arch.write_text(json.dumps(net(8, 2)), encoding="utf-8")
    board.write_text('{"macs_per_s": 1e9, "bytes_per_s": 1e8}', encoding="utf-8")
    assert main(["show", str(arch), "--device", str(board), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["device"] == "board" and told["roofline_ms"] == pytest.approx(sum(one["ms"] for one in told["layers"]))
    assert main(["show", str(arch), "--device", str(board)]) == 0
    assert "MACs/byte" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[1]", '{"macs_per_s": 1e9}', '{"macs_per_s": -1, "bytes_per_s": 1}'])
def test_what_is_no_device_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="macs_per_s"):
        roof_named(str(path))
