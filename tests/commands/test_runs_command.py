"""nasforge runs: one line a run, whatever state its folder is in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import MadeUpRunner, made_up_run

from nasforge.cli import main
from nasforge.report.listing import age
from nasforge.storage.lock import DriverLock


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each state, and with folders that are none."""
    folder = tmp_path_factory.mktemp("runs")
    made_up_run(folder / "whole", name="tiny")
    with pytest.raises(KeyboardInterrupt):
        made_up_run(folder / "stopped", MadeUpRunner(end_after=9, end=KeyboardInterrupt))
    for name in ("no-json", "no-manifest", "no-journal", "odd"):
        (folder / name).mkdir()
    (folder / "no-json" / "manifest.json").write_text('{"data"')
    (folder / "no-manifest" / "study.journal").write_text("")
    manifest = (folder / "whole" / "manifest.json").read_text()
    (folder / "no-journal" / "manifest.json").write_text(manifest)
    (folder / "odd" / "manifest.json").write_text(json.dumps({**json.loads(manifest), "data": 7}))
    (folder / "train-lenet5").mkdir()
    (folder / "train-lenet5" / "result.json").write_text(json.dumps({
        "arch": "lenet5", "data": "digits", "metric": "accuracy", "params": 44426, "macs": 204840, "test": {"accuracy": 0.975}, "curve": [],
        "seconds": {"training": 4.5},
    }))  # fmt: skip
    (folder / "notes").mkdir()
    (folder / "a-file").write_text("")
    return folder


def listed(capsys: pytest.CaptureFixture[str], folder: Path) -> dict[str, dict[str, Any]]:
    assert main(["runs", str(folder), "--json"]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["runs"]}


def test_each_run_has_its_state(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, runs)
    assert {name: one["state"] for name, one in found.items()} == {
        "whole": "finished", "stopped": "unfinished", "no-json": "damaged", "no-manifest": "damaged", "no-journal": "damaged",
        "odd": "damaged", "train-lenet5": "finished",
    }  # fmt: skip
    reasons = {name: one["reason"] for name, one in found.items() if one["reason"]}
    assert reasons["no-json"].startswith("manifest.json holds no JSON") and reasons["no-manifest"] == "manifest.json is missing"
    assert reasons["no-journal"] == "study.journal is missing" and "lacks what every run has" in reasons["odd"] and len(reasons) == 4


def test_a_journal_that_is_damaged_or_cut_off_is_told(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (runs / "whole" / "study.journal").read_bytes()
    lines = whole.splitlines(keepends=True)
    journals = {
        "middle": whole[: len(whole) // 2], "lines": b"".join(lines[:60]), "empty": b"", "zeros": b"".join(lines[:60]) + b"\0" * 99 + b"\n",
        "line": b"".join([*lines[:40], b'{"op\n', *lines[41:]]), "part": whole + b'{"op_code":',
    }  # fmt: skip
    for name, journal in journals.items():
        shutil.copytree(runs / "whole", tmp_path / name)
        (tmp_path / name / "study.journal").write_bytes(journal)
    found = listed(capsys, tmp_path)
    assert {name for name, one in found.items() if one["state"] == "damaged"} == set(journals) - {"part"}
    assert found["part"]["state"] == "finished" and found["part"]["reason"] is None  # a line that is being written harms nothing
    advice = "restore it from a copy"
    assert found["line"]["reason"] == f"study.journal: line 41 is no entry of a journal; {advice}"
    assert found["zeros"]["reason"] == f"study.journal: line 61 is no entry of a journal; {advice}"
    later = f"before the summary of the search; {advice}, or run the search once more"
    assert found["lines"]["reason"] == f"study.journal ends after 60 lines, {later}"
    assert found["middle"]["reason"].endswith(f" lines and a part of one, {later}")
    assert found["lines"]["score"] == found["part"]["score"]  # what the summary has is still told


def test_a_run_is_told_as_its_summary_has_it(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads((runs / "whole" / "summary.json").read_text())
    one = listed(capsys, runs)["whole"]
    assert (one["data"], one["space"], one["strategy"], one["trials"], one["asked"]) == ("digits", "tiny", "predictor", 24, 24)
    assert (one["metric"], one["score"], one["params"]) == ("accuracy", summary["best"]["test_mean"], summary["best"]["params"])
    assert one["seconds"] == summary["seconds"]["total"] and one["part"] == "test"
    stopped = listed(capsys, runs)["stopped"]
    assert stopped["trials"] < stopped["asked"] == 24 and stopped["score"] is None


def test_a_search_that_holds_its_lock_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = DriverLock(runs / "stopped")
    try:
        assert listed(capsys, runs)["stopped"]["state"] == "running"
    finally:
        lock.close()
    assert listed(capsys, runs)["stopped"]["state"] == "unfinished"


def test_lines_say_the_same(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, runs)
    assert main(["runs", str(runs)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == "" and len(lines) == 2 + len(found)
    whole = next(line for line in lines if line.startswith("whole"))
    assert f"{100 * found['whole']['score']:.1f} % accuracy" in whole and "  24  " in whole and "tiny" in whole
    assert next(line for line in lines if line.startswith("no-manifest")).endswith("manifest.json is missing")
    assert "97.5 % accuracy" in next(line for line in lines if line.startswith("train-lenet5"))


def test_the_latest_stands_first(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (runs / "stopped").glob("*.j*"):
        os.utime(path, (1e9, 1e9))
    assert list(listed(capsys, runs))[-1] == "stopped"


def test_one_run_and_no_runs(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(listed(capsys, runs / "whole")) == ["whole"]
    assert main(["runs", str(tmp_path)]) == 0 and "no run in this folder" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "none")]) == 2 and "must be a folder with runs" in capsys.readouterr().err


def test_neither_torch_nor_optuna_is_imported(runs: Path) -> None:
    code = f"import sys; from nasforge.cli import main; main(['runs', {str(runs)!r}]); "
    code += "sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(("seconds", "words"), [(3, "now"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")])
def test_ages(seconds: float, words: str) -> None:
    assert age(seconds) == words
