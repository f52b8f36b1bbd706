"""HTML tables that scroll sideways on narrow pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from nasforge.report.svg import tag


@dataclass(frozen=True)
class Cell:
    """A cell of a table; `html`: its text is markup already."""

    text: str
    cls: str = ""
    html: bool = False

    @classmethod
    def number(cls, text: str) -> Cell:
        """A cell with a number, to the right."""
        return cls(text, "num")


def table(head: Sequence[str], rows: Sequence[Sequence[Cell | str]], winner: int | None = None, cls: str = "") -> str:
    """A table; a column is to the right where its first cell is. `winner` is the row that stands out."""
    first = rows[0] if rows else [""] * len(head)
    names = [tag("th", escape(h), cls="num" if isinstance(c, Cell) and c.cls == "num" else None, scope="col") for h, c in zip(head, first, strict=True)]
    body = [tag("tr", *(_cell(c) for c in row), cls="winner" if i == winner else None) for i, row in enumerate(rows)]
    drawn = tag("table", tag("thead", tag("tr", *names)), tag("tbody", *body), cls=cls or None)
    return tag("div", drawn, cls="scroll", tabindex="0", role="region", aria_label=f"table: {', '.join(h for h in head if h)}")


def _cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return tag("td", escape(cell))
    return tag("td", cell.text if cell.html else escape(cell.text), cls=cell.cls or None)


def bars(shares: Sequence[float]) -> str:
    """Bars below each other, as long as shares of 1."""
    return "".join(tag("i", style=f"width:{100 * share:.1f}%") for share in shares)
