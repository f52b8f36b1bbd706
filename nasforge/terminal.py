"""Tables of text that fit the terminal they are printed on; into a file or a pipe they are as wide as they need."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

GAP = 2  # blanks between two columns
NARROW = 20  # letters that the last column of text keeps where it alone is folded
NARROWEST = 12  # and each where several are, which they are where they have that share too many:
FEW_FOLDED = 0.3
INDENT = 4
PROSE = 110  # letters of a line of text
Row = Sequence[str]


def width_of_terminal() -> int | None:
    """Return the columns of the terminal that stdout is; None where it is a file or a pipe, in which nothing is folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def folded(text: str, indent: str = "") -> str:
    """Return a paragraph in lines that fit the terminal, of 110 letters at most; `indent` is that of all lines but the first."""
    return textwrap.fill(text, min(PROSE, width_of_terminal() or PROSE), subsequent_indent=indent, break_on_hyphens=False)


def aligned(head: Row, rows: Sequence[Row], right: Sequence[bool], rule: bool = False, width: int | None = None) -> str:
    """Return a table as text: the columns marked `right` end at one place, the others begin at one.

    Where it is wider than `width`, headings are folded, and then the last column of text. Where that has no room, several are folded a
    little, or columns of text stand below their rows, from the last one on. The first column and numbers stay whole, and nothing is cut.

    rule: a line of dashes under the head.
    """
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    texts = [i for i, is_right in enumerate(right) if not is_right and i and head[i]]
    below: list[int] = []

    def over() -> int:
        columns = [w for i, w in enumerate(widths) if i not in below]
        return 0 if width is None else max(0, sum(columns) + GAP * (len(columns) - 1) - width)

    def least(i: int, room: int) -> int:
        return max(room, *map(len, head[i].split()))

    def fold(i: int, room: int) -> None:
        widths[i] -= max(0, min(over(), widths[i] - least(i, room)))

    for i, words in enumerate(head):
        if over() and " " in words:
            fold(i, max((len(row[i]) for row in rows), default=0))
    if texts and widths[texts[-1]] - over() >= NARROW:
        fold(texts[-1], NARROW)
    elif over() <= min(FEW_FOLDED * sum(widths[i] for i in texts), sum(max(0, widths[i] - least(i, NARROWEST)) for i in texts)):
        for i in sorted(texts, key=lambda i: -widths[i]):
            fold(i, NARROWEST)
    while over() and texts:
        below.insert(0, texts.pop())
    columns = [i for i in range(len(head)) if i not in below]
    lines = []
    for n, row in enumerate((head, *rows)):
        lines += _folded(row, columns, widths, right)
        if width is not None and (words := "; ".join(row[i] for i in below if row[i])):
            lines += textwrap.wrap(words, width, initial_indent=" " * INDENT, subsequent_indent=" " * INDENT, break_on_hyphens=False)
        lines += [(" " * GAP).join("-" * widths[i] for i in columns)] * (rule and n == 0)
    return "\n".join(lines)


def _folded(row: Row, columns: Sequence[int], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    """A row in as many lines as its cells need."""
    cells = [textwrap.wrap(row[i], widths[i], break_on_hyphens=False) if len(row[i]) > widths[i] else [row[i]] for i in columns]
    lines = []
    for n in range(max(map(len, cells), default=1)):
        words = [cell[n] if n < len(cell) else "" for cell in cells]
        fitted = [w.rjust(widths[i]) if right[i] else w.ljust(widths[i]) for w, i in zip(words, columns, strict=True)]
        lines.append((" " * GAP).join(fitted).rstrip())
    return lines
