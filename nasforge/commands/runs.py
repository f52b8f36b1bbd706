"""nasforge runs: the runs in a folder, one line each."""

from __future__ import annotations

import argparse
from pathlib import Path

from nasforge.commands.common import print_json, table
from nasforge.report.listing import HEAD, cells, listed


def run(args: argparse.Namespace) -> int:
    """Carry out the command; what is broken is told in its line, and no reason to fail."""
    found = listed(Path(args.folder))
    if args.json:
        print_json({"folder": args.folder, "runs": found})
    else:
        rows, shown = [cells(one) for one in found], len(HEAD) if any(one["reason"] for one in found) else len(HEAD) - 1
        print(table(HEAD[:shown], [row[:shown] for row in rows]) if found else f"{args.folder}: no run in this folder")
    return 0
