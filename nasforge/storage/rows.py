"""Optuna's tables: what a driver writes of its trials, and trials out of rows.

Written is in one transaction at the ask, one at the claim, one at the end. Read are all new trials in six short queries, each distribution
parsed once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sql
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from nasforge.storage.drivers import DRIVER, ENOUGH

KEY = "key"  # user attribute of a trial: what function it is, once it is trained
MOST_IN_ONE = 500  # ids in one query: databases bound the number of variables
_TRIALS, _STUDIES = models.TrialModel.__table__, models.StudyModel.__table__
_PARAMS, _VALUES = models.TrialParamModel.__table__, models.TrialValueModel.__table__
_USER, _SYSTEM = models.TrialUserAttributeModel.__table__, models.TrialSystemAttributeModel.__table__
_STEPS, _BEATS = models.TrialIntermediateValueModel.__table__, models.TrialHeartbeatModel.__table__

# ---------------------------------------------------------------- writing


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


# ---------------------------------------------------------------- reading


def read_trials(
    connection: sql.Connection, study_id: int, after: int, also: Collection[int], known: Sequence[int] = ()
) -> list[FrozenTrial]:
    """Return the trials of a study with ids greater than `after` but for those `known`, and those in `also`, ordered by id."""
    columns = (_TRIALS.c.trial_id, _TRIALS.c.number, _TRIALS.c.state, _TRIALS.c.datetime_start, _TRIALS.c.datetime_complete)
    query = sql.select(*columns).where(_TRIALS.c.study_id == study_id)
    new = query.where(_TRIALS.c.trial_id > after)
    rows = list(connection.execute(new.where(_TRIALS.c.trial_id.not_in(known[-MOST_IN_ONE:])) if known else new))
    old = sorted(i for i in also if i <= after)
    for some in _parts(old):
        rows += connection.execute(query.where(_TRIALS.c.trial_id.in_(some)))
    trials: list[FrozenTrial] = []
    for part in _parts(sorted((tuple(row) for row in rows), key=lambda row: row[0])):
        trials += _filled(connection, part)
    return trials


def _parts(items: list[Any]) -> list[list[Any]]:
    return [items[i : i + MOST_IN_ONE] for i in range(0, len(items), MOST_IN_ONE)]


def _filled(connection: sql.Connection, rows: list[tuple[Any, ...]]) -> list[FrozenTrial]:
    """The trials of rows of the main table with what the others hold of them."""
    ids = [row[0] for row in rows]
    params = _grouped(connection, _PARAMS, ids, ("param_name", "param_value", "distribution_json"), "param_id")
    values = _grouped(connection, _VALUES, ids, ("objective", "value", "value_type"), "objective")
    user, system = (_grouped(connection, table, ids, ("key", "value_json")) for table in (_USER, _SYSTEM))
    steps = _grouped(connection, _STEPS, ids, ("step", "intermediate_value", "intermediate_value_type"), "step")
    return [_trial(row, params[row[0]], values[row[0]], user[row[0]], system[row[0]], steps[row[0]]) for row in rows]


def _grouped(
    connection: sql.Connection, table: Any, ids: list[int], names: tuple[str, ...], order: str | None = None
) -> dict[int, list[Any]]:
    query = sql.select(table.c.trial_id, *(table.c[name] for name in names)).where(table.c.trial_id.in_(ids))
    out: dict[int, list[Any]] = defaultdict(list)
    for trial_id, *row in connection.execute(query if order is None else query.order_by(table.c[order])):
        out[trial_id].append(row)
    return out


def _trial(row: tuple[Any, ...], params: Any, values: Any, user: Any, system: Any, steps: Any) -> FrozenTrial:
    trial_id, number, state, start, complete = row
    distributions = {name: _distribution(text) for name, _, text in params}
    return FrozenTrial(
        number, state, None, _local_time(start), _local_time(complete),
        {name: distributions[name].to_external_repr(value) for name, value, _ in params}, distributions,
        {k: json.loads(v) for k, v in user}, {k: json.loads(v) for k, v in system},
        {s: models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(v, kind) for s, v, kind in steps}, trial_id,
        values=[models.TrialValueModel.stored_repr_to_value(v, kind) for _, v, kind in values] or None,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _local_time(time: datetime | None) -> datetime | None:
    """The tables hold UTC, trials the local time."""
    return None if time is None else time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
