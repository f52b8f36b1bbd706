"""nasforge report: the page of a run, and the same in words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nasforge.commands.common import print_json, table
from nasforge.report import collect, report, words
from nasforge.report.compare import compare, told
from nasforge.report.trainings import Training, trainings, write_trainings
from nasforge.search.plan import MANIFEST
from nasforge.search.study import quiet


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    quiet()
    run_folder = Path(args.run)
    if not (run_folder / MANIFEST).exists() and (found_trainings := trainings(run_folder)):
        return _report_trainings(run_folder, found_trainings, args.json)
    found = collect(run_folder, args.storage)
    path = report(run_folder, args.storage)
    against = compare(found, collect(Path(args.against))) if args.against else None
    if args.json:
        print_json({"report": str(path), "summary": found.summary, **({"against": against} if against else {})})
    else:
        print(words(found))
        print(("\n" + told(against) if against else "") + f"\nreport: {path}")
    return 0


def _report_trainings(folder: Path, found: Sequence[Training], as_json: bool) -> int:
    path = write_trainings(folder, found)
    if as_json:
        print_json({"report": str(path), "trainings": found})
    else:
        rows = [(one["name"], f"{one['params']:,}", f"{one['macs']:,}", one["metric"], f"{one['test']:.4g}") for one in found]
        print(table(("network", "params", "macs", "test of", "score"), rows))
        print(f"\nreport: {path}")
    return 0
