"""nasforge report: the page of a run, and the same in words."""

from __future__ import annotations

import argparse
from pathlib import Path

import optuna

from nasforge.commands.common import print_json
from nasforge.report import collect, report, words


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run_folder = Path(args.run)
    found = collect(run_folder, args.storage)
    path = report(run_folder, args.storage)
    if args.json:
        print_json({"report": str(path), "summary": found.summary})
    else:
        print(words(found))
        print(f"\nreport: {path}")
    return 0
