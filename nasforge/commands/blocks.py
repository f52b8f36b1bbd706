"""nasforge blocks: all blocks in one line each, or one with its arguments and an example."""

from __future__ import annotations

import argparse
from typing import Any

from nasforge.api import parts
from nasforge.commands.common import plain, print_json, table


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    rows = parts.blocks()
    if args.block is not None:
        return show(parts.one_of("block", rows, args.block), args.json)
    if args.json:
        print_json({"blocks": [{key: row[key] for key in ("name", "kind", "module", "about", "source")} for row in rows.values()]})
        return 0
    print(table(("block", "kind", "what it is"), [(row["name"], row["kind"], _origin(row)) for row in rows.values()]))
    print(f"\n{len(rows)} blocks; `nasforge blocks NAME` tells of one: its arguments, their defaults, an example")
    return 0


def show(row: dict[str, Any], json: bool) -> int:
    """Print all about one block."""
    if json:
        print_json(row)
        return 0
    print(f"{row['name']}: a {row['kind']} of {row.get('plugin') or row['module']}\n\n{row['text']}\n")
    if row["args"]:
        print(table(("argument", "default", "type"), [
            (one["name"], "(needed)" if one["required"] else plain(one["default"]), one["type"]) for one in row["args"]]))  # fmt: skip
    else:
        print("no arguments")
    if row["example"]:
        print(f"\nexample, a file that `nasforge show FILE` reads:\n\n{parts.as_file(row['example'])}")
    return 0


def _origin(row: dict[str, Any]) -> str:
    return f"{row['about']} (plugin {row['plugin']})" if "plugin" in row else row["about"]
