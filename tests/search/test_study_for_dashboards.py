"""What other readers of a study see: named objectives, and columns of plain attributes beside the record."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from support import made_up_run

from nasforge.search.study import studies_of
from nasforge.storage.open import JOURNAL


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_run(tmp_path_factory.mktemp("runs") / "run")


def as_others_read(folder: Path, name: str = "search") -> optuna.Study:
    """The study by Optuna's own reader of journals, which `optuna-dashboard` uses."""
    return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))))


@pytest.mark.parametrize("name", ["search", "control"])
def test_objectives_have_names(folder: Path, name: str) -> None:
    assert as_others_read(folder, name).metric_names == ["accuracy", "params"]


@pytest.mark.parametrize("name", ["search", "control"])
def test_trials_have_plain_attributes(folder: Path, name: str) -> None:
    ours, kinds = studies_of(folder)(name), set()
    assert ours is not None
    for trial in as_others_read(folder, name).trials:
        record, attrs = trial.user_attrs["record"], {k: v for k, v in trial.user_attrs.items() if k != "record"}
        assert attrs == {k: v for k, v in ours.trials[trial.number].user_attrs.items() if k != "record"}
        assert all(isinstance(value, str | int | float) for value in attrs.values())
        assert attrs["kind"] == record["kind"]
        assert {k: attrs.get(k) for k in ("accuracy", "params", "macs")} == {
            k: record.get("metrics", {}).get(k) for k in ("accuracy", "params", "macs")
        }
        assert attrs.get("epochs", 0) == len(record.get("curve", []))
        assert attrs.get("seconds", 0) == pytest.approx(sum(record.get("seconds", {}).values()), abs=5e-4)
        assert attrs.get("baseline") == record.get("baseline") and attrs.get("duplicate_of") == record.get("duplicate_of")
        kinds.add(attrs["kind"])
    assert "finished" in kinds and len(kinds) > 1


def test_the_record_stands_last(folder: Path) -> None:
    """A write that a kill cut in two leaves attributes without a record, never a record without them."""
    entries: list[dict[str, Any]] = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]
    names = [name for entry in entries for name in entry.get("user_attr", ()) if "trial_id" in entry]
    for before, name in pairwise(names):
        assert name != "kind" or before in ("record", "baseline")
    assert names.count("record") == names.count("kind") > 0
