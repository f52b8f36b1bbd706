"""nasforge replay: the decisions of a run recomputed from its journal, and where they part from what was asked."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nasforge.commands.common import print_json
from nasforge.errors import UserError
from nasforge.search.plan import Plan, other_versions, plan_from, read_manifest
from nasforge.search.replay import Replay, entries, replay_study
from nasforge.search.session import CONTROL_SEED, sampler_of
from nasforge.search.study import quiet
from nasforge.spaces.space import Space

MOST_SHOWN = 10


def run(args: argparse.Namespace) -> int:
    """Carry out the command: 0 where all decisions come out again, else 1."""
    quiet()
    folder = Path(args.run)
    manifest = read_manifest(folder)
    plan = plan_of(folder, manifest)
    if changed := other_versions(manifest):
        print(f"nasforge replay: {folder}: {changed}", file=sys.stderr)
    logs = entries(folder)
    found = [replay_study(logs, "search", Space(plan.space), sampler_of(plan, plan.strategy, 0))]
    if any(log.get("study_name") == "control" for log in logs):
        found.append(replay_study(logs, "control", Space(plan.space), sampler_of(plan, "random", CONTROL_SEED)))
    elif manifest.get("control") and plan.strategy != "random":
        print(f"nasforge replay: {folder}: its control has not begun", file=sys.stderr)
    if args.json:
        print_json({"run": str(folder), "same": not any(r.partings for r in found), "studies": [asdict(r) for r in found]})
    else:
        for one in found:
            _print(one)
    return int(any(r.partings for r in found))


def plan_of(folder: Path, manifest: dict[str, Any]) -> Plan:
    """Return the plan of a run, as far as strategies see it. Raises UserError for a manifest that lacks a part of it."""
    if manifest.get("storage") != "journal":
        raise UserError(f"{folder}: its study is in a database ({manifest.get('storage')}); the order of events is in a journal only")
    return plan_from(folder, manifest)


def _print(found: Replay) -> None:
    same = found.choices - sum(p.what != "key" for p in found.partings)
    print(f"{found.study}: {found.trials} trials, {same} of {found.choices} choices decided again alike, {found.given} were given")
    for parting in found.partings[:MOST_SHOWN]:
        print(f"  trial {parting.number}: {parting.what} was {parting.recorded!r}, is now {parting.decided!r}")
    if len(found.partings) > MOST_SHOWN:
        print(f"  and {len(found.partings) - MOST_SHOWN} more")
