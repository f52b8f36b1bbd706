"""Runs of version 0.1: a search that was killed ends as the same one that was not; a finished one is read, replayed, continued."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import optuna
import pytest
from support import ROOT

from nasforge.cli import main
from nasforge.storage.open import open_storage

COMMAND = ("--control", "--pruner", "halving", "--seed", "3", "--runner", "inline", "--json")  # the option that is --scheduler now
CLOSE = 1e-4  # another processor may round otherwise
TIMES = ("seconds", "training")  # differ from run to run
ROWS = ("finalists", "control_finalists", "baselines")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `old` (killed) and `whole` (finished) lie, the first of them gone on with."""
    made = tmp_path_factory.mktemp("runs")
    with tarfile.open(ROOT / "tests" / "fixtures" / "runs_0_1.tar.gz") as archive:
        archive.extractall(made, filter="data")
    assert "summary" not in study(made / "old", "search").user_attrs
    before.update(ended(made / "old", "search"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        assert main(["search", "old/tiny.yaml", "--run", "old", *COMMAND]) == 0
    return made


before: dict[int, Any] = {}  # what had ended in `old`


def study(run: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=open_storage(run, None, write=False))


def ended(run: Path, name: str) -> dict[int, dict[str, Any]]:
    """The records of the trials that ended and were not asked again, by number; with their choices."""
    found = {t.number: {**t.user_attrs.get("record", {"kind": "interrupted"}), "choices": t.params} for t in study(run, name).trials}
    return {number: record for number, record in found.items() if record["kind"] != "interrupted"}


def by_place(run: Path, name: str) -> list[dict[str, Any]]:
    """The records of all trials in the order of asks, which trials that are asked again keep; without times and numbers of trials."""
    records = ended(run, name)
    found = {record.get("first", number): record for number, record in records.items()}
    assert len(found) == len(records)
    for record in found.values():
        record.pop("first", None)
        record["duplicate_of"] = key_of(records, record)
        record["seconds"], record["curve"] = sorted(record.get("seconds", {})), untimed(record.get("curve", []))
    return [found[place] for place in sorted(found)]


def key_of(records: dict[int, dict[str, Any]], record: dict[str, Any]) -> str | None:
    original = record.get("duplicate_of")
    return records[original]["key"] if original in records else None


def untimed(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in curve]


def assert_holds(now: Any, then: Any, where: str = "") -> None:
    """What was written then stands there now: words and whole numbers exactly, others nearly; there may be more."""
    if isinstance(then, dict):
        assert now.keys() >= then.keys(), where
        for name in then:
            assert_holds(now[name], then[name], f"{where}.{name}")
    elif isinstance(then, list):
        assert len(now) == len(then), where
        for number, (one, other) in enumerate(zip(now, then, strict=True)):
            assert_holds(one, other, f"{where}.{number}")
    elif isinstance(then, float):
        assert now == pytest.approx(then, rel=CLOSE, abs=CLOSE), where
    else:
        assert now == then and type(now) is type(then), where


@pytest.mark.parametrize("name", ["search", "control"])
def test_a_killed_search_ends_with_the_records_of_one_that_was_not(folder: Path, name: str) -> None:
    now, then = by_place(folder / "old", name), by_place(folder / "whole", name)
    assert [(r["kind"], r.get("key"), r["choices"]) for r in now] == [(r["kind"], r.get("key"), r["choices"]) for r in then]
    assert_holds(now, then)


def test_what_had_ended_was_not_touched(folder: Path) -> None:
    after = ended(folder / "old", "search")
    assert all(after[number] == record for number, record in before.items())
    assert sum(t.state.name == "FAIL" for t in study(folder / "old", "search").trials) == 9  # they were open, and are asked again


def test_the_finals_are_the_same(folder: Path) -> None:
    now, then = (json.loads((folder / name / "summary.json").read_text(encoding="utf-8")) for name in ("old", "whole"))
    for group in ROWS:
        for row in (*now[group], *then[group]):
            row.pop("arch")
    for one in (now, then):
        for name in ("run", "seconds", "best", "control", "interrupted"):
            one[f"{name} of the run"] = one.pop(name)
        assert one["best of the run"]["name"] == max(one["finalists"], key=lambda row: row["val"])["name"]
    assert_holds(now, {name: value for name, value in then.items() if not name.endswith("of the run")})
    finals = [{k: v for k, v in study(folder / name, "search").user_attrs.items() if k.startswith("final/")} for name in ("old", "whole")]
    assert finals[0].keys() == finals[1].keys() and len(finals[1]) == 8  # four networks, two seeds
    for key, final in finals[1].items():
        assert_holds(untimed(finals[0][key]["curve"]), untimed(final["curve"]), key)
        assert_holds(finals[0][key]["test"], final["test"], key)


def test_report_and_replay_read_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = str(folder / "whole")
    assert main(["report", whole]) == 0
    assert "finalist1, 1,582 parameters, reaches 16.3 ± 0.6 % accuracy on test" in " ".join(capsys.readouterr().out.split())
    for run in ("whole", "old"):
        assert main(["replay", str(folder / run), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["same"] and [s["study"] for s in found["studies"]] == ["search", "control"]
        assert [s["choices"] for s in found["studies"]] == [36, 45] and not any(s["partings"] for s in found["studies"])


def test_a_finished_one_goes_on_with_more_trials(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then = {name: ended(folder / "whole", name) for name in ("search", "control")}
    words = ["search", str(folder / "whole" / "tiny.yaml"), "--run", str(folder / "whole"), *COMMAND]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["asked"] == 12  # nothing to do: the summary as it was
    assert {name: ended(folder / "whole", name) for name in then} == then
    assert main([*words, "--trials", "14"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["asked"] == 14 and (found["finished"] + found["pruned"] + found["failed"] == 14 or found["exhausted"])
    for name, records in then.items():
        after = ended(folder / "whole", name)
        assert all(after[number] == record for number, record in records.items()) and len(after) > len(records)
    assert main(["replay", str(folder / "whole")]) == 0
    assert main([*words, "--seed", "4"]) == 2
    assert "holds another search (seed was 3, is 4)" in capsys.readouterr().err
