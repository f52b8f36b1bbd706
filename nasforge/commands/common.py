"""What several commands share: JSON on stdout, plain tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from nasforge.terminal import aligned, width_of_terminal


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object on stdout; never an array, to which nothing can be added."""
    json.dump(data, sys.stdout, indent=1, default=str)
    sys.stdout.write("\n")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as aligned text, no wider than the terminal; numbers to the right."""
    cells = [[str(c) for c in row] for row in (header, *rows)]
    right = [all(_numeric(row[i]) for row in cells[1:]) and len(cells) > 1 for i in range(len(header))]
    return aligned(cells[0], cells[1:], right, rule=True, width=width_of_terminal())


def plain(value: Any) -> str:
    """A value as a file has it: null, true, a list in brackets; words without quotes."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _numeric(text: str) -> bool:
    return text in ("", "-", "all") or text.replace(",", "").replace(".", "").replace("-", "").replace("x", "").isdigit()
