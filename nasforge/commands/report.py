"""nasforge report: the page of a run, and the same in words."""

from __future__ import annotations

import argparse
from pathlib import Path

import optuna

from nasforge.commands.common import print_json, study_of
from nasforge.report import report, words


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run_folder = Path(args.run)
    path = report(run_folder)
    if args.json:
        print_json({"report": str(path), "summary": study_of(run_folder).user_attrs.get("summary")})
    else:
        print(words(run_folder))
        print(f"\nreport: {path}")
    return 0
