"""Optuna's database storage for several drivers on one study: its tables, with a few round trips a trial instead of a hundred.

What Optuna stores at once, value by value, is kept here while a trial is only asked, and written in one transaction when it is claimed (its
training begins) and in one more when it ends. Ended trials of others are read once. The tables stay Optuna's: `optuna-dashboard` and
`optuna.load_study` read them.

A database that does not answer is waited for. Open trials carry a heartbeat by the clock of the database, so that the trials of a driver
that died are noticed by the others, on whatever machine.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sql
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.study._frozen import FrozenStudy
from optuna.study._study_direction import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nasforge.storage.drivers import DRIVER, ENOUGH
from nasforge.storage.retry import patiently
from nasforge.storage.rows import KEY, Open, claim_key, end_trial, flush, insert_trial, read_trials, unclaim

__all__ = ["DRIVER", "ENOUGH", "Database"]

FRESH_S = 0.2  # what others did is read no more often; own trials are known at once, and claims are exact
_TRIALS, _BEATS = models.TrialModel.__table__, models.TrialHeartbeatModel.__table__
_STUDY_USER = models.StudyUserAttributeModel.__table__


@dataclass
class _Seen:
    """What is known of a study: trials by id, the largest id, and those that have not ended."""

    trials: dict[int, FrozenTrial] = field(default_factory=dict)
    last: int = -1
    unfinished: set[int] = field(default_factory=set)
    read: float = 0.0  # when that was


class Database(BaseStorage):
    """A storage of studies. driver: the name under which open trials are signed."""

    def __init__(self, url: str, driver: str = "", **engine: Any) -> None:
        self._rdb = RDBStorage(url, engine_kwargs=engine)
        self.engine, self.driver = self._rdb.engine, driver
        self._single = self.engine.execution_options(isolation_level="AUTOCOMMIT")  # for one statement, and for reading
        self._open: dict[int, Open] = {}
        self._studies: dict[int, _Seen] = {}
        self._fixed: dict[tuple[str, Any], Any] = {}  # names and directions of studies never change
        self._lock = threading.RLock()

    def _do(self, work: Callable[[], Any]) -> Any:
        return patiently(work, self.engine.dispose)

    # ------------------------------------------------------------ studies: as Optuna does it

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._do(lambda: self._rdb.create_new_study(directions, study_name))

    def delete_study(self, study_id: int) -> None:
        self._studies.pop(study_id, None)
        self._do(lambda: self._rdb.delete_study(study_id))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        if not self._do(lambda: self._changed(study_id, key, value)):
            self._do(lambda: self._rdb.set_study_user_attr(study_id, key, value))

    def _changed(self, study_id: int, key: str, value: Any) -> bool:
        """Whether there was an attribute of that name to change."""
        place = (_STUDY_USER.c.study_id == study_id) & (_STUDY_USER.c.key == key)
        with self._single.connect() as connection:
            return connection.execute(sql.update(_STUDY_USER).where(place).values(value_json=json.dumps(value))).rowcount > 0

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._do(lambda: self._rdb.set_study_system_attr(study_id, key, value))

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._do(lambda: self._rdb.get_study_id_from_name(study_name))

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._once("name", study_id, lambda: self._rdb.get_study_name_from_id(study_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return list(self._once("directions", study_id, lambda: self._rdb.get_study_directions(study_id)))

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._do(lambda: self._rdb.get_study_user_attrs(study_id))

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._do(lambda: self._rdb.get_study_system_attrs(study_id))

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._do(self._rdb.get_all_studies)

    def _once(self, what: str, study_id: int, ask: Callable[[], Any]) -> Any:
        if (what, study_id) not in self._fixed:
            self._fixed[what, study_id] = self._do(ask)
        return self._fixed[what, study_id]

    # ------------------------------------------------------------ the trials of this driver

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is not None:  # a queued one: nobody works on it yet
            self._seen(study_id).read = 0.0
            return self._do(lambda: self._rdb.create_new_trial(study_id, template_trial))
        trial = self._do(lambda: insert_trial(self.engine, study_id, self.driver))
        with self._lock:
            self._open[trial._trial_id] = Open(trial, known={("user", DRIVER)})
            seen = self._seen(study_id)
            seen.trials[trial._trial_id] = trial
            seen.read = 0.0  # its place in the order of asks depends on all before it
        return trial._trial_id

    def set_trial_param(self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution) -> None:
        entry = self._entry(trial_id)
        entry.trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        entry.trial.distributions[param_name] = distribution
        entry.params[param_name] = (param_value_internal, distribution)
        if entry.claimed:
            self._do(lambda: self._write(entry))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_attr(trial_id, "user", key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._set_attr(trial_id, "system", key, value)

    def _set_attr(self, trial_id: int, which: str, key: str, value: Any) -> None:
        if trial_id not in self._open:  # another driver's, which died
            write = self._rdb.set_trial_user_attr if which == "user" else self._rdb.set_trial_system_attr
            self._do(lambda: write(trial_id, key, value))
            return
        entry = self._open[trial_id]
        attrs = entry.trial._user_attrs if which == "user" else entry.trial._system_attrs
        attrs[key] = json.loads(json.dumps(value))
        entry.attrs.add((which, key))
        if entry.claimed and key != "record":  # its record comes with its end
            self._do(lambda: self._write(entry))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._do(lambda: self._rdb.set_trial_intermediate_value(trial_id, step, intermediate_value))

    def _entry(self, trial_id: int) -> Open:
        entry = self._open.get(trial_id)
        if entry is None:
            raise UpdateFinishedTrialError(f"Trial {trial_id} is not open here: it has ended, or another driver works on it.")
        return entry

    def _write(self, entry: Open) -> None:
        with self.engine.begin() as connection:
            flush(connection, entry)
        entry.flushed()

    def claim(self, trial_id: int, key: str, most: int) -> int | None:
        """None where this trial is the one to train the function `key`; else the number of the trial that does, or has done it.

        ENOUGH where `most` trials are claimed already. One driver after the other is answered, so no function is trained twice.
        """
        self.set_trial_user_attr(trial_id, KEY, key)
        entry, study_id = self._open[trial_id], self._study_of(trial_id)
        answer = self._do(lambda: claim_key(self.engine, study_id, entry, key, most))
        entry.flushed()
        entry.claimed = True
        if answer is not None:
            entry.known.discard(("user", KEY))
            entry.trial._user_attrs.pop(KEY)
        return answer

    def _release(self, trial_id: int) -> None:
        with self.engine.begin() as connection:
            unclaim(connection, trial_id)

    def _study_of(self, trial_id: int) -> int:
        return next(study_id for study_id, seen in self._studies.items() if trial_id in seen.trials)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if state == TrialState.RUNNING:  # taken out of the queue
            taken = self._do(lambda: self._rdb.set_trial_state_values(trial_id, state))
            if taken:
                self._adopt(trial_id)
                self._studies[self._study_of(trial_id)].read = 0.0
            return taken
        if trial_id not in self._open:  # another driver's, which died
            self._do(lambda: self._rdb.set_trial_state_values(trial_id, state, values))
            self._do(lambda: self._release(trial_id))
            return True
        attempts: list[int] = []
        try:
            entry = self._open[trial_id]
            self._do(lambda: end_trial(self.engine, entry, state, values, attempts))
            self._remember(entry.trial, state, values)
        except UpdateFinishedTrialError:
            seen = self._studies[self._study_of(trial_id)]
            seen.unfinished.add(trial_id)
            seen.read = 0.0
            raise
        finally:
            self._open.pop(trial_id, None)
        return True

    def _remember(self, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Know of an ended trial without reading it."""
        trial.state, trial.values = state, None if values is None else list(values)
        trial.datetime_complete = datetime.now()
        seen = self._studies[self._study_of(trial._trial_id)]
        seen.trials[trial._trial_id] = trial
        seen.unfinished.discard(trial._trial_id)

    def _adopt(self, trial_id: int) -> None:
        """Make a trial out of the queue one of this driver's."""
        trial = self._do(lambda: self._rdb.get_trial(trial_id))
        known = {("user", k) for k in trial.user_attrs} | {("system", k) for k in trial.system_attrs}
        self._do(lambda: self._rdb.record_heartbeat(trial_id))
        self._open[trial_id] = Open(trial, known=known)
        self.set_trial_user_attr(trial_id, DRIVER, self.driver)
        self._do(lambda: self._write(self._open[trial_id]))

    # ------------------------------------------------------------ reading

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if trial_id in self._open:
            return copy.deepcopy(self._open[trial_id].trial)
        for seen in self._studies.values():
            if trial_id in seen.trials and seen.trials[trial_id].state.is_finished():
                return copy.deepcopy(seen.trials[trial_id])
        return self._do(lambda: self._rdb.get_trial(trial_id))

    def get_trial_user_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id).user_attrs

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id).system_attrs

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        with self._lock:
            seen = self._seen(study_id)
            if time.monotonic() - seen.read > FRESH_S:
                self._do(lambda: self._refresh(study_id, seen))
            now = {**seen.trials, **{i: entry.trial for i, entry in self._open.items() if i in seen.trials}}
            chosen = sorted((t for t in now.values() if states is None or t.state in states), key=lambda t: t.number)
        return copy.deepcopy(chosen) if deepcopy else chosen

    def _seen(self, study_id: int) -> _Seen:
        return self._studies.setdefault(study_id, _Seen())

    def _refresh(self, study_id: int, seen: _Seen) -> None:
        """Read the trials that are new or had not ended, but for those of this driver."""
        again = seen.unfinished - self._open.keys()
        known = [i for i, trial in seen.trials.items() if i > seen.last and trial.state.is_finished()]
        with self._single.connect() as connection:
            found = read_trials(connection, study_id, seen.last, again, known)
        seen.read = time.monotonic()
        for trial in found:
            seen.trials[trial._trial_id] = trial
            seen.last = max(seen.last, trial._trial_id)
            (seen.unfinished.discard if trial.state.is_finished() else seen.unfinished.add)(trial._trial_id)

    # ------------------------------------------------------------ who is alive

    def beat(self) -> None:
        """Say that the open trials of this driver are worked on."""
        mine = list(self._open)
        if mine:
            with self._single.connect() as connection:
                connection.execute(sql.update(_BEATS).where(_BEATS.c.trial_id.in_(mine)).values(heartbeat=sql.func.current_timestamp()))

    def silent(self, study_id: int, seconds: float) -> list[FrozenTrial]:
        """Running trials of a study without a heartbeat for so long, or without any; this driver's own are not among them."""
        query = sql.select(_TRIALS.c.trial_id, _BEATS.c.heartbeat, sql.func.current_timestamp())
        query = query.outerjoin_from(_TRIALS, _BEATS, _BEATS.c.trial_id == _TRIALS.c.trial_id)
        query = query.where(_TRIALS.c.study_id == study_id, _TRIALS.c.state == TrialState.RUNNING)

        def ask() -> Sequence[Any]:
            with self._single.connect() as connection:
                return connection.execute(query).all()

        ages: Mapping[int, float] = {i: _age(now, beat) for i, beat, now in self._do(ask) if i not in self._open}
        gone = {i for i, age in ages.items() if age > seconds}
        return [t for t in self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,)) if t._trial_id in gone]

    def remove_session(self) -> None:
        self._rdb.remove_session()


def _age(now: Any, beat: Any) -> float:
    """Seconds between two times of one database; endless without a beat."""
    if beat is None:
        return float("inf")
    now, beat = (datetime.fromisoformat(t) if isinstance(t, str) else t for t in (now, beat))
    return (now.replace(tzinfo=None) - beat.replace(tzinfo=None)).total_seconds()
