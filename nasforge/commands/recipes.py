"""nasforge recipes: published recipes and the words of recipes in one line each, or one of them."""

from __future__ import annotations

import argparse
from typing import Any

from nasforge.api import parts
from nasforge.commands.common import plain, print_json, table

SHOWN = 4  # networks of a line


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if args.published is not None:
        return _one(parts.recipe_row(args.published), args.json)
    published, words = parts.recipes(), parts.words()
    if args.json:
        print_json({"published": list(published.values()), "words": list(words.values())})
        return 0
    print(table(("published for", "data", "source"), [(_few(row["networks"]), row["data"], row["source"]) for row in published.values()]))
    print()
    lines = [(name, plain(row["default"]), row["about"].split(";")[0]) for name, row in words.items()]
    print(table(("word", "default", "what it says"), lines))
    print("\n`nasforge recipes NETWORK` tells a published recipe, `nasforge recipes WORD` what a word may be. Unless one is asked for,\n"
          "networks are trained by a default recipe for the data, which `--set WORD=VALUE` and `--recipe FILE` change")  # fmt: skip
    return 0


def _few(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _one(row: dict[str, Any], json: bool) -> int:
    if json:
        print_json(row)
    elif "type" in row:
        print(f"{row['name']}: {row['about']}\n\nmust be: {row['type']}")
        print(f"default: {plain(row['default'])} (the default recipe for the data may say otherwise)")
        print(f"example: nasforge train ARCH {row['example']}, or `recipe: {{{row['name']}: ...}}` in a file")
    else:
        print(f"{row['name']} was trained on {row['data']}\n")
        print(table(("word", "value"), [(word, plain(value)) for word, value in row["recipe"].items()]))
        print(f"\nsource: {row['source']}" + (f"\nnote: {row['note']}" if row["note"] else ""))
        others = [name for name in row["networks"] if name != row["name"]]
        print(f"also of: {', '.join(others) or 'no other network'}\nexample: {row['example']}")
    return 0
