"""nasforge report: the page of a run, and the same in words."""

from __future__ import annotations

import argparse
from pathlib import Path

import optuna

from nasforge.commands.common import print_json
from nasforge.report import collect, report, words
from nasforge.report.compare import compare, told


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run_folder = Path(args.run)
    found = collect(run_folder, args.storage)
    path = report(run_folder, args.storage)
    against = compare(found, collect(Path(args.against))) if args.against else None
    if args.json:
        print_json({"report": str(path), "summary": found.summary, **({"against": against} if against else {})})
    else:
        print(words(found))
        print(("\n" + told(against) if against else "") + f"\nreport: {path}")
    return 0
