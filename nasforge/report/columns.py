"""The columns of tables of networks: sizes, and whatever a search limits or wishes for, each with its unit."""

from __future__ import annotations

from nasforge.objectives.metrics import is_metric, metric
from nasforge.report.run import Row, Run

ALWAYS = ("params", "macs")


def asked_for(run: Run) -> list[str]:
    """Return the quantities that are limited or wished for, those of a product one by one, wishes first."""
    wished = [name for o in run.objectives for name in ([o.metric, *sorted(o.reads - {o.base})] if o.factors else [o.metric])]
    return list(dict.fromkeys([*wished, *(limit.metric for limit in run.search.limits)]))


def shown(run: Run, *others: str) -> list[str]:
    """Return the columns of a table of the networks of the finals: sizes, latency where it was measured, and what was asked for.

    others: what has columns of its own.
    """
    rows = run.rows()
    latency = ["latency_ms"] * any(row["latency_ms"] is not None for row in rows)
    found = dict.fromkeys([*ALWAYS, *latency, *asked_for(run)])
    return [name for name in found if name not in others and (name in ALWAYS or any(amount(run, row, name) is not None for row in rows))]


def amount(run: Run, row: Row, name: str) -> float | None:
    """Return a quantity of a network of the finals: measured or trained there, else of its trial; None where it is not known."""
    for known in (row.get("quantities"), row, row.get("objectives")):
        if isinstance(known, dict) and isinstance(found := known.get(name), int | float):
            return found
    ledger = run.control if row["role"] == "control" else run.search
    number = None if ledger is None else ledger.by_key.get(row["key"])
    found = None if ledger is None or number is None else ledger.records[number].metrics.get(name)
    counted = is_metric(name) and metric(name).is_cost  # what a short training gave is another thing
    return found if isinstance(found, int | float) and counted else None
