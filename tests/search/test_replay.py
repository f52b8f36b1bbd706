"""Replay: every decision of a run is worked out again, in whatever pieces the run was carried out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import Killed, MadeUpRunner, made_up_run, records

from nasforge.cli import main
from nasforge.storage.open import JOURNAL

ASKED: dict[str, Any] = {"trials": 6, "finalists": 1, "final_seeds": 1, "baselines": {}}


def replayed(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    status, told = main(["replay", str(folder), "--json"]), capsys.readouterr()
    return status, {study["study"]: study for study in json.loads(told.out)["studies"]}, told.err


@pytest.mark.parametrize("jobs", [[], [2], [2, 2], [7], [2, 5], [2, 2, 2, 3, 3]], ids=str)
def test_a_run_in_pieces_is_checked_whole(jobs: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """jobs: after so many the driver dies; with 2 of 6 before the control has begun."""
    for number in jobs:
        with pytest.raises(Killed):
            made_up_run(tmp_path, MadeUpRunner(end_after=number), **ASKED)
    made_up_run(tmp_path, **ASKED)
    status, studies, _ = replayed(tmp_path, capsys)
    assert status == 0 and list(studies) == ["search", "control"]
    for name, study in studies.items():
        assert study["trials"] == len(records(tmp_path, name)) >= 6 and study["choices"] > 6 and study["partings"] == []


def test_another_choice_of_the_control_is_found_in_a_run_that_went_on_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Killed):
        made_up_run(tmp_path, MadeUpRunner(end_after=2), **ASKED)
    status, studies, said = replayed(tmp_path, capsys)
    assert status == 0 and list(studies) == ["search"] and "its control has not begun" in said
    made_up_run(tmp_path, **ASKED)
    logs = [json.loads(line) for line in (tmp_path / JOURNAL).read_bytes().splitlines()]
    last = [log for log in logs if log.get("param_name") == "head.0.pool.kind"][-1]  # of the control
    last["param_value_internal"] = 1 - last["param_value_internal"]
    (tmp_path / JOURNAL).write_bytes(b"".join(json.dumps(log).encode() + bytes([10]) for log in logs))
    status, studies, _ = replayed(tmp_path, capsys)
    assert status == 1
    assert studies["search"]["partings"] == [] and "head.0.pool.kind" in [p["what"] for p in studies["control"]["partings"]]
