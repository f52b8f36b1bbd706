"""The trials of runs as flat rows, for data frames and spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nasforge.files import write_whole
from nasforge.objectives.metrics import metric_or_value
from nasforge.report.run import Run
from nasforge.search.records import TrialRecord

FIRST = ("run", "study", "number", "kind", "key", "baseline", "duplicate_of", "epochs", "seconds", "message")  # columns, before the others


def trial_rows(run: Run) -> list[dict[str, Any]]:
    """Return one row a trial of the search; what a trial does not have is absent from its row.

    It has `number`, `kind`, `key`, `baseline`, `duplicate_of`, `epochs` trained, `seconds` of training and measuring, `message` of a failed
    one; then its metrics and its choices by their names, a choice that is called like another column as `choice.NAME`.
    """
    return [_row(record) for _, record in sorted(run.search.records.items())]


def _row(record: TrialRecord) -> dict[str, Any]:
    told: dict[str, Any] = {
        "number": record.number, "kind": str(record.kind), "key": record.key, "baseline": record.baseline,
        "duplicate_of": record.duplicate_of, "epochs": len(record.curve), "seconds": sum(record.seconds.values()),
        "message": record.message,
    }  # fmt: skip
    row = {name: value for name, value in told.items() if value not in (None, "") or name == "key"} | record.metrics
    return row | {f"choice.{name}" if name in row or name in FIRST else name: value for name, value in record.choices.items()}


def rows_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the trials of several runs, of their controls too: the columns `run` and `study` (search, control) say where one belongs."""
    names = names_of(runs)
    out = []
    for run, name in zip(runs, names, strict=True):
        for study, ledger in run.ledgers.items():
            out += [{"run": name, "study": study, **_row(record)} for _, record in sorted(ledger.records.items())]
    return out


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return what runs are called beside each other: by their folders, with the folders above where these are alike."""
    paths = [run.folder.resolve().parts for run in runs]
    for count in range(1, max(map(len, paths), default=0) + 1):
        names = ["/".join(parts[-count:]) for parts in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(run.folder) for run in runs]


def write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write rows as comma-separated values: the columns that every trial may have first, then metrics and choices as they come up."""
    found = dict.fromkeys(name for row in rows for name in row)
    columns = [*(name for name in FIRST if name in found), *(name for name in found if name not in FIRST)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(_cells(row, columns) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.getvalue())


def _cells(row: dict[str, Any], columns: Sequence[str]) -> Iterator[Any]:
    """Values in order; a text that a spreadsheet would take for a formula gets a quote before it, and counts have no decimals."""
    for name in columns:
        value = row.get(name, "")
        if isinstance(value, float) and metric_or_value(name).unit in ("count", "bytes"):
            value = round(value)
        yield f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
