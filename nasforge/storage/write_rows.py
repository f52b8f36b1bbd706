"""What a driver writes of its trials into Optuna's tables: one transaction at the ask, one at the claim, one at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

ENOUGH = -1  # instead of a number: as many trials as were asked are claimed
DRIVER, KEY = "driver", "key"  # user attributes of a trial: who works on it; what function it is, once it is trained
_TRIALS, _STUDIES = models.TrialModel.__table__, models.StudyModel.__table__
_PARAMS, _VALUES = models.TrialParamModel.__table__, models.TrialValueModel.__table__
_USER, _SYSTEM = models.TrialUserAttributeModel.__table__, models.TrialSystemAttributeModel.__table__
_BEATS = models.TrialHeartbeatModel.__table__


@dataclass
class Open:
    """A trial that this driver works on, and what of it is not yet written. known: attributes that have a row."""

    trial: FrozenTrial
    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
    attrs: set[tuple[str, str]] = field(default_factory=set)  # (user or system, name)
    known: set[tuple[str, str]] = field(default_factory=set)
    claimed: bool = False

    def flushed(self) -> None:
        """All of it is written now."""
        self.params.clear()
        self.known |= self.attrs
        self.attrs.clear()


def insert_trial(engine: sql.Engine, study_id: int, driver: str) -> FrozenTrial:
    """A new running trial, signed; the row of the study is locked, so that numbers have no gaps and ids come in their order."""
    now = datetime.now(UTC).replace(tzinfo=None)
    with engine.begin() as connection:
        _lock(connection, study_id)
        row = {"study_id": study_id, "state": TrialState.RUNNING, "datetime_start": now}
        key = connection.execute(sql.insert(_TRIALS).values(row)).inserted_primary_key
        assert key is not None
        trial_id = key[0]
        connection.execute(sql.insert(_BEATS).values(trial_id=trial_id))
        connection.execute(sql.insert(_USER), [_attr(trial_id, DRIVER, driver)])
        number = _number(connection, study_id, trial_id)
    start = now.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
    return FrozenTrial(number, TrialState.RUNNING, None, start, None, {}, {}, {DRIVER: driver}, {}, {}, trial_id)


def _lock(connection: sql.Connection, study_id: int) -> None:
    """Let one driver after the other in; SQLite does so by itself once something is written."""
    connection.execute(sql.select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == study_id).with_for_update())


def _number(connection: sql.Connection, study_id: int, trial_id: int) -> int:
    """The number of a new trial: how many the study had before."""
    before = sql.select(sql.func.count()).select_from(_TRIALS).where(_TRIALS.c.study_id == study_id, _TRIALS.c.trial_id < trial_id)
    place = sql.update(_TRIALS).where(_TRIALS.c.trial_id == trial_id)
    if connection.dialect.update_returning:
        return connection.execute(place.values(number=before.scalar_subquery()).returning(_TRIALS.c.number)).scalar_one()
    number = connection.execute(before).scalar_one()
    connection.execute(place.values(number=number))
    return number


def flush(connection: sql.Connection, entry: Open) -> None:
    """Write what is not yet written of an open trial."""
    trial_id = entry.trial._trial_id
    params = [
        {"trial_id": trial_id, "param_name": n, "param_value": v, "distribution_json": distribution_to_json(d)}
        for n, (v, d) in entry.params.items()
    ]
    if params:
        connection.execute(sql.insert(_PARAMS), params)
    for which, table, written in (("user", _USER, entry.trial._user_attrs), ("system", _SYSTEM, entry.trial._system_attrs)):
        new = [n for w, n in sorted(entry.attrs - entry.known) if w == which]
        if new:
            connection.execute(sql.insert(table), [_attr(trial_id, n, written[n]) for n in new])
        for name in [n for w, n in sorted(entry.attrs & entry.known) if w == which]:
            place = (table.c.trial_id == trial_id) & (table.c.key == name)
            connection.execute(sql.update(table).where(place).values(value_json=json.dumps(written[name])))


def claim_key(engine: sql.Engine, study_id: int, entry: Open, key: str, most: int) -> int | None:
    """None where the trial has now claimed the function `key`; else the number of the trial that has, or ENOUGH."""
    trial_id = entry.trial._trial_id
    claims = (_USER.c.key == KEY) & (_TRIALS.c.study_id == study_id) & (_TRIALS.c.trial_id != trial_id)
    same = sql.func.min(sql.case((_USER.c.value_json == json.dumps(key), _TRIALS.c.number)))
    query = sql.select(same, sql.func.count()).select_from(sql.join(_TRIALS, _USER, _USER.c.trial_id == _TRIALS.c.trial_id)).where(claims)
    with engine.begin() as connection:
        _lock(connection, study_id)
        flush(connection, entry)
        answer, claimed = connection.execute(query).one()
        if answer is None and claimed >= most:
            answer = ENOUGH
        if answer is not None:
            unclaim(connection, trial_id)
    return answer


def unclaim(connection: sql.Connection, trial_id: int) -> None:
    """Let others train the function that a trial had claimed."""
    connection.execute(sql.delete(_USER).where(_USER.c.trial_id == trial_id, _USER.c.key == KEY))


def end_trial(engine: sql.Engine, entry: Open, state: TrialState, values: Sequence[float] | None, attempts: list[int]) -> None:
    """Write the end of a trial. attempts: grows by one each time that this is tried.

    Raises UpdateFinishedTrialError where another driver has taken the trial over.
    """
    trial_id = entry.trial._trial_id
    attempts.append(trial_id)
    with engine.begin() as connection:
        place = _TRIALS.c.trial_id == trial_id
        now = datetime.now(UTC).replace(tzinfo=None)
        ended = sql.update(_TRIALS).where(place, _TRIALS.c.state == TrialState.RUNNING).values(state=state, datetime_complete=now)
        if connection.execute(ended).rowcount == 0:
            if len(attempts) > 1 and connection.execute(sql.select(_TRIALS.c.state).where(place)).scalar() == state:
                return  # the answer to the first attempt was lost
            raise UpdateFinishedTrialError(f"Trial {entry.trial.number} was taken from this driver, which was silent for too long.")
        flush(connection, entry)
        if entry.trial.user_attrs.get("record", {}).get("kind") in ("infeasible", "interrupted"):
            unclaim(connection, trial_id)  # it does not count, and may be asked again
        if values is not None:
            stored = [models.TrialValueModel.value_to_stored_repr(v) for v in values]
            rows = [{"trial_id": trial_id, "objective": i, "value": v, "value_type": kind} for i, (v, kind) in enumerate(stored)]
            connection.execute(sql.insert(_VALUES), rows)


def _attr(trial_id: int, key: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
