"""nasforge search: a search from a space file to finalists, report and export."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from nasforge.api.run import Run
from nasforge.api.search import search
from nasforge.commands.common import print_json
from nasforge.report import collect
from nasforge.report.budget import failures
from nasforge.search.settings import DEFAULTS, OTHERS, RUNNING


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    options = {name: value for name, value in vars(args).items() if name in (*DEFAULTS, *OTHERS, *RUNNING) and name != "data"}
    options["control"] = args.control
    found = search(args.space, args.data, run=args.run, show=not args.json, **options)
    if "joined" in found.summary:  # this driver is not the owner of its study
        summary = found.summary
        if args.json:
            print_json(summary)
        else:
            print(f"{summary['joined']} has its trials ({summary['finished']} finished); the driver that began it trains the finalists")
        return 0
    lost = None if found.summary.get("best") else _lost(found)
    exported = _export(args.export, found)
    if args.json:
        print_json({**found.summary, "report": str(found.folder / "report.html"), "exported": exported})
    else:
        print(found)
        print(
            f"\nreport: {found.folder / 'report.html'}"
            + (f"\nexport: {exported['path']}, largest difference {exported['largest_difference']:.2g}" if exported else "")
        )
    if lost:
        print(f"nasforge search: {found.folder}: {lost}", file=sys.stderr)
    return 1 if lost else 0


def _lost(found: Run) -> str:
    """Why there is no winner, in words."""
    groups = failures(collect(found.folder, found.storage))
    said = "; ".join(f"{message} ({len(who)} x)" for message, who in groups[:1]) or "the report says what was found"
    return f"no network came through its final training and keeps all limits; {said}"


def _export(to: str | None, found: Run) -> dict[str, Any] | None:
    if not to or not found.summary.get("best"):
        return None
    done = found.export(to)
    return {"path": str(done.path), "largest_difference": done.largest_difference}
