"""nasforge spaces: all packaged spaces in one line each, or one with what it leaves open."""

from __future__ import annotations

import argparse
from typing import Any

from nasforge.api import parts
from nasforge.commands.common import print_json, table
from nasforge.spaces.files import dump


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if args.space is not None:
        return _one(parts.space_row(args.space, whole=True), args.json)
    rows = parts.spaces()
    if args.json:
        print_json({"spaces": list(rows.values())})
        return 0
    print(table(("space", "input", "choices", "what it is"), [(name, _input(row["input"]), size(row), row["about"])
                                                              for name, row in rows.items()]))  # fmt: skip
    print(f"\n{len(rows)} spaces; `nasforge spaces NAME` tells what one leaves open, `nasforge show NAME` draws networks from it")
    return 0


def _one(row: dict[str, Any], json: bool) -> int:
    if json:
        print_json(row)
        return 0
    print(f"{row['name']}: {size(row)} choices in {len(row['domains'])} domains; input {_input(row['input'])}; {row['file']}\n")
    print(f"{row['text']}\n")
    if row["search"]:
        print(f"search:\n{dump(row['search'])}")
    print(table(("domain", "values"), list(row["domains"].items())))
    print(f"\nexample: {row['example']}")
    return 0


def size(row: dict[str, Any]) -> str:
    """The number of choices of a row in words."""
    many = row["size"]
    return "infinitely many" if many is None else f"{many:,}" if many < 1e12 else f"{many:.3g}"


def _input(given: Any) -> str:
    if isinstance(given, dict):
        return "tokens" if "tokens" in given else ", ".join(given)
    return "x".join(map(str, given)) if isinstance(given, list) else str(given)
