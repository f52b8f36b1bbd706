"""nasforge search: a search from a space file to finalists, report and export."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from nasforge.api.exports import in_words
from nasforge.api.run import Run
from nasforge.api.search import search
from nasforge.commands.common import print_json
from nasforge.errors import UserError
from nasforge.report import collect
from nasforge.report.budget import failures
from nasforge.search.settings import DEFAULTS, OTHERS, RUNNING


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    show = "verbose" if args.verbose else not (args.json or args.quiet)
    options = {name: value for name, value in vars(args).items() if name in (*DEFAULTS, *OTHERS, *RUNNING) and name != "data"}
    options["control"] = args.control
    found = search(args.space, args.data, run=args.run, show=show, **options)
    if "joined" in found.summary:  # this driver is not the owner of its study
        summary, trouble = found.summary, []
        if args.json:
            print_json(summary)
        else:
            print(f"{summary['joined']} has its trials ({summary['finished']} finished); the driver that began it trains the finalists")
        if not summary["finished"]:
            trouble.append(f"{found.folder}: no trial has finished")
        if args.export:
            trouble.append(f"--export {args.export}: the driver that began the search has the winner; export it there")
        return _status(trouble)
    trouble = [] if found.summary.get("best") else [f"{found.folder}: {_lost(found)}"]
    exported, checked = None, ""
    if args.export:
        try:
            done = found.export(args.export)
            exported = {"path": str(done.path), "largest_difference": done.largest_difference, "samples": done.samples, "val": done.val}
            checked = "\n".join(in_words(done))
        except UserError as error:  # what was found is told all the same
            trouble.append(f"--export {args.export}: nothing was written; {error}")
    if args.json:
        print_json({**found.summary, "report": str(found.folder / "report.html"), "exported": exported})
    else:
        print(found)
        print(
            f"\nreport: {found.folder / 'report.html'}"
            + (f"\nexport: {exported['path']}, {checked}" if exported else "")
        )
    return _status(trouble)


def _status(trouble: Sequence[str]) -> int:
    """The exit status, after saying what was asked for and did not come."""
    for text in trouble:
        print(f"nasforge search: {text}", file=sys.stderr)
    return 1 if trouble else 0


def _lost(found: Run) -> str:
    """Why there is no winner, in words."""
    groups = failures(collect(found.folder, found.storage))
    said = "; ".join(f"{message} ({len(who)} x)" for message, who in groups[:1]) or "the report says what was found"
    return f"no network came through its final training and keeps all limits; {said}"
