"""Trials out of the rows of Optuna's tables: six short queries for all that is new, and each distribution parsed once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sql
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial

MOST_IN_ONE = 500  # ids in one query: databases bound the number of variables
_TRIALS = models.TrialModel.__table__
_PARAMS, _VALUES = models.TrialParamModel.__table__, models.TrialValueModel.__table__
_USER, _SYSTEM = models.TrialUserAttributeModel.__table__, models.TrialSystemAttributeModel.__table__
_STEPS = models.TrialIntermediateValueModel.__table__


def read_trials(
    connection: sql.Connection, study_id: int, after: int, also: Collection[int], known: Sequence[int] = ()
) -> list[FrozenTrial]:
    """The trials of a study with ids greater than `after` but for those `known`, and those in `also`, ordered by id."""
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
        number, state, None, _local(start), _local(complete),
        {name: distributions[name].to_external_repr(value) for name, value, _ in params}, distributions,
        {k: json.loads(v) for k, v in user}, {k: json.loads(v) for k, v in system},
        {s: models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(v, kind) for s, v, kind in steps}, trial_id,
        values=[models.TrialValueModel.stored_repr_to_value(v, kind) for _, v, kind in values] or None,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


def _local(time: datetime | None) -> datetime | None:
    """The tables hold UTC, trials the local time."""
    return None if time is None else time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
