"""nasforge metrics: all metrics in one line each, or one of them."""

from __future__ import annotations

import argparse

from nasforge.api import parts
from nasforge.commands.common import print_json, table
from nasforge.objectives.metrics import full_name


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    rows = parts.metrics()
    if args.metric is not None:
        row = parts.one_of("metric", rows, full_name(args.metric))
        if args.json:
            print_json(row)
        else:
            print("\n".join(f"{label}: {', '.join(value) if isinstance(value, list) else value}" for label, value in row.items() if value))
        return 0
    if args.json:
        print_json({"metrics": list(rows.values())})
        return 0
    shown = [(row["name"], row["title"], row["better"], row["unit"], row["when"], ", ".join(row["tasks"])) for row in rows.values()]
    print(table(("metric", "title", "better", "unit", "known", "tasks"), shown))
    print("\nNAME@WHERE is a metric of one head, or of one device: miou@mask, latency_ms@phone; `nasforge metrics NAME` has an example")
    return 0
