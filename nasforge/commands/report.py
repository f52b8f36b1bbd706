"""nasforge report: the page of a run, or of several side by side, and the same in words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nasforge.commands.common import print_json, table
from nasforge.errors import UserError
from nasforge.report import Run, collect, report, words
from nasforge.report.compare import compare
from nasforge.report.page import write_page
from nasforge.report.several import beside, differing, ranked, side_by_side, unlike, write_several
from nasforge.report.several import words as words_of_several
from nasforge.report.trainings import Training, trainings, write_trainings
from nasforge.report.trials import rows_of, trial_rows, write_csv
from nasforge.search.plan import MANIFEST
from nasforge.search.study import quiet


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    quiet()
    folders = [Path(folder) for folder in (*args.run, *([args.against] if args.against else []))]
    if len(folders) == 1 and not (folders[0] / MANIFEST).exists() and (found_trainings := trainings(folders[0])):
        if args.csv:
            raise UserError(f"--csv: writes the trials of searches, {folders[0]} holds trainings; their figures are in --json")
        return _report_trainings(folders[0], found_trainings, args.json)
    if len({folder.resolve() for folder in folders}) < len(folders) and not args.against:
        raise UserError(f"report: {', '.join(map(str, folders))}: each run must be named once")
    found = [collect(folder, args.storage) for folder in folders]
    if args.csv:
        rows = rows_of(found) if len(found) > 1 else trial_rows(found[0])
        write_csv(rows, Path(args.csv))
        if not args.json:
            print(f"trials: {args.csv}, {len(rows)} rows\n")
    return _report_run(found[0], args) if len(found) == 1 else _report_several(found, args)


def _report_run(found: Run, args: argparse.Namespace) -> int:
    path = report(found.folder, args.storage) if args.out is None else write_page(found, Path(args.out))
    if args.json:
        print_json({"report": str(path), "summary": found.summary})
    else:
        print(f"{words(found)}\n\nreport: {path}")
    return 0


def _report_several(found: Sequence[Run], args: argparse.Namespace) -> int:
    if args.against and len(found) != 2:
        raise UserError(f"--against {args.against}: compares two spaces, got {len(found)} runs; name one RUN with it")
    spaces = compare(*found) if args.against else _spaces(found)
    path = beside(found[0]) if args.out is None else Path(args.out)
    found = ranked(found)
    write_several(found, path, spaces)
    if args.json:
        print_json({
            "report": str(path), "runs": side_by_side(found), "differ": differing(found), "careful": unlike(found),
            **({"against": spaces} if spaces else {}),
        })  # fmt: skip
    else:
        print(f"{words_of_several(found, spaces)}\n\nreport: {path}")
    return 0


def _spaces(found: Sequence[Run]) -> dict[str, Any] | None:
    """The comparison of the spaces of two runs, where it can be made."""
    if len(found) != 2:
        return None
    try:
        return compare(*found)
    except UserError:
        return None


def _report_trainings(folder: Path, found: Sequence[Training], as_json: bool) -> int:
    path = write_trainings(folder, found)
    if as_json:
        print_json({"report": str(path), "trainings": found})
    else:
        rows = [(one["name"], f"{one['params']:,}", f"{one['macs']:,}", one["metric"], f"{one['test']:.4g}") for one in found]
        print(table(("network", "params", "macs", "test of", "score"), rows))
        print(f"\nreport: {path}")
    return 0
