"""nasforge search: a search from a space file to finalists, report and export."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasforge.commands.common import arch_and_weights, arch_named, print_json, space_named
from nasforge.commands.progress import progress
from nasforge.errors import UserError, nearest
from nasforge.evaluation.base import Context
from nasforge.export import export
from nasforge.report import report, words
from nasforge.runners import RUNNERS, Runner
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.search.settings import plan_of
from nasforge.search.study import quiet


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    quiet()
    given = {**vars(args), "control": False if args.no_control else None}
    plan = plan_of(space_named(args.space), given, arch_named, lambda note: print(f"nasforge search: {note}", file=sys.stderr))
    folder = Path(args.run or f"runs/{Path(args.space).stem}")
    start_runner = _runner(args, plan)
    with progress(quiet=args.json) as show:
        summary = search(plan, folder, start_runner, show)
    if "joined" in summary:  # this driver is not the owner of its study
        if args.json:
            print_json(summary)
        else:
            print(f"{summary['joined']} has its trials ({summary['finished']} finished); the driver that began it trains the finalists")
        return 0
    report(folder, args.storage)
    exported = _export(args, folder, summary)
    if args.json:
        print_json({**summary, "report": str(folder / "report.html"), "exported": exported})
    else:
        print(words(folder, args.storage))
        print(
            f"\nreport: {folder / 'report.html'}"
            + (f"\nexport: {exported['path']}, largest difference {exported['largest_difference']:.2g}" if exported else "")
        )
    return 0


def _runner(args: argparse.Namespace, plan: Plan) -> Callable[[], Runner]:
    """Return what starts the runner that was asked for."""
    name = args.runner or ("ray" if args.ray else "local")
    if name not in RUNNERS:
        raise UserError(f"--runner {name}: no such runner; {nearest(name, RUNNERS)}")
    if args.workers < 1:
        raise UserError(f"--workers: must be at least 1, got {args.workers}")
    make, takes = RUNNERS[name]
    options = {
        "workers": args.workers, "threads": args.threads, "silence_s": args.silence, "address": args.ray or "local",
        "gpus": args.gpus if plan.device.startswith("cuda") else 0.0,
    }  # fmt: skip
    context = Context(plan.evaluator, plan.data, plan.device, plan.table)
    return lambda: make(context, **{option: options[option] for option in takes})


def _export(args: argparse.Namespace, folder: Path, summary: dict[str, Any]) -> dict[str, Any] | None:
    if not args.export or not summary.get("best"):
        return None
    from safetensors.torch import load_file

    arch, weights = arch_and_weights(f"{folder}:{summary['best']['name']}")
    done = export(arch, load_file(weights) if weights else None, args.export, folder / "export", name=summary["best"]["name"])
    return {"path": str(done.path), "largest_difference": done.largest_difference}
