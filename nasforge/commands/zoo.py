"""nasforge zoo: the documented networks."""

from __future__ import annotations

import argparse
from fnmatch import fnmatch

from nasforge import zoo
from nasforge.commands.common import print_json, table
from nasforge.errors import UserError, nearest


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    rows = [row for row in zoo.entries() if fnmatch(row["name"], args.pattern)]
    if not rows:
        raise UserError(f"{args.pattern}: no documented network has such a name; {nearest(args.pattern, zoo.names())}")
    if args.json:
        print_json(rows)
        return 0
    shown = [
        (
            r["name"],
            r["family"],
            "x".join(map(str, r["input"])) if isinstance(r["input"], list) else r["input"],
            f"{r['params']:,}",
            f"{r['macs']:,}",
            r["source"],
        )
        for r in rows
    ]
    print(table(("name", "family", "input", "params", "MACs", "source"), shown))
    return 0
