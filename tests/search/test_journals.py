"""The journal: what it holds is what Optuna reads of it, damage is said with its line, and what is kept ready equals what is looked up."""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial
from support import Inline, quick, small_plan

from nasforge.errors import UserError
from nasforge.objectives.objective import parse_limit, parse_objectives
from nasforge.search.session import search
from nasforge.spaces.space import Space
from nasforge.storage.open import open_storage
from nasforge.strategies.base import History, Problem, TrialKind
from nasforge.strategies.moves import STARTED
from nasforge.strategies.optuna import Reader
from nasforge.strategies.ranking import leading, ranks


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run."""
    folder = tmp_path_factory.mktemp("run")
    search(small_plan(trials=6, scheduler="halving"), folder, lambda: Inline(quick), lambda status: None)
    return folder


def test_a_journal_is_read_as_optuna_reads_it(run: Path) -> None:
    ours = open_storage(run, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = JournalStorage(JournalFileBackend(str(run / "study.journal")))
    for study in theirs.get_all_studies():
        assert ours.get_all_trials(study._study_id) == theirs.get_all_trials(study._study_id)
        assert ours.get_study_user_attrs(study._study_id) == theirs.get_study_user_attrs(study._study_id)


def test_what_is_kept_ready_of_a_study_is_right_as_it_changes(tmp_path: Path) -> None:
    storage = open_storage(tmp_path, None)
    study = optuna.create_study(storage=storage, study_name="s")
    other = open_storage(tmp_path, None)
    copy = optuna.load_study(storage=other, study_name="s")
    study.enqueue_trial({"a": 1})
    open_trials = [study.ask() for _ in range(4)]
    before = copy.get_trials(deepcopy=False)
    for trial in open_trials[1:3]:
        trial.suggest_int("a", 0, 3)
        trial.set_user_attr("x", trial.number)
    study.tell(open_trials[2], 1.0)
    study.tell(open_trials[0], state=TrialState.FAIL)
    study.enqueue_trial({"a": 2})
    assert [t.state for t in before] == [TrialState.RUNNING] * 4  # what somebody holds does not change under him
    assert [t.params for t in before] == [{}] * 4
    for one in (study, copy):
        found = one.get_trials(deepcopy=False)
        assert [t.number for t in found] == [0, 1, 2, 3, 4]
        for state in TrialState:
            assert one.get_trials(deepcopy=False, states=(state,)) == [t for t in found if t.state == state]
        assert one.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)) == [found[i] for i in (1, 3, 4)]
    with pytest.raises(ValueError, match="dynamic value space"):
        trial = study.ask()
        trial.suggest_categorical("b", [1, 2])
        study.ask().suggest_categorical("b", [1, 2, 3])


@pytest.mark.parametrize("line", [b"[1]", b"{}", b"", b"{} {}", b"[" * 100_000, b"1,2"])
def test_damage_is_said_with_its_line(run: Path, tmp_path: Path, line: bytes) -> None:
    lines = (run / "study.journal").read_bytes().splitlines()
    (tmp_path / "study.journal").write_bytes(b"\n".join([*lines[:3], line, *lines[3:]]) + b"\n")
    for write in (True, False):
        with pytest.raises(UserError, match=r"study\.journal:4: the journal is damaged here"):
            open_storage(tmp_path, None, write=write)


def test_a_half_written_line_is_cut_off(run: Path, tmp_path: Path) -> None:
    whole = (run / "study.journal").read_bytes()
    for half in (b'{"op_code": 5', b"x" * 200_000):
        (tmp_path / "study.journal").write_bytes(whole + half)
        open_storage(tmp_path, None, write=False)
        assert (tmp_path / "study.journal").read_bytes() == whole + half
        open_storage(tmp_path, None, write=True)
        assert (tmp_path / "study.journal").read_bytes() == whole


def test_what_a_reader_keeps_is_what_the_trials_say() -> None:
    space = Space({"input": [1, 8, 8], "body": [{"conv": {"out": {"int": [1, 9]}}}]})
    problem = Problem(space, 0, 60, parse_objectives("accuracy"), [parse_limit("params<=50")])
    study, reader, rng = optuna.create_study(), Reader(problem), Random(0)
    waiting: list[optuna.Trial] = []
    for _ in range(60):
        if rng.random() < 0.2:
            study.add_trial(create_trial(state=TrialState.FAIL))
        trial = study.ask()
        known = reader.read(study.get_trials(deepcopy=False), trial.number)
        plain = History(problem, known.trials)
        assert known.finished == plain.finished
        assert known.running == plain.running
        assert sorted(t.number for t in known.ended) == [t.number for t in plain.ended]
        assert list(leading(known)) == list(ranks(plain.finished, problem.objectives))
        assert all(known.count(kind) == plain.count(kind) for kind in TrialKind if kind != TrialKind.INTERRUPTED)
        assert known.count(*STARTED) == plain.count(*STARTED)
        assert all(known.has({"x": x}) == plain.has({"x": x}) for x in range(10))
        trial.suggest_int("x", 0, 9)
        waiting.append(trial)
        while waiting and rng.random() < 0.7:
            ended = waiting.pop(rng.randrange(len(waiting)))
            kind = rng.choice(list(TrialKind)[1:])
            record = {"kind": kind, "metrics": {"accuracy": rng.random(), "params": rng.choice([40, 60])}}
            ended.set_user_attr("record", record)
            study.tell(ended, rng.random() if kind == "finished" else None, state=None if kind == "finished" else TrialState.PRUNED)
