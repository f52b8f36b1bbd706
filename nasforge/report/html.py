"""Pieces of the page: sections, figures with captions and legends, tables that scroll sideways, bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from nasforge.report.format import tied
from nasforge.report.svg import mark, tag

WIDE, NARROW = 580.0, 350.0  # pixels of the two drawings of each plot
Plot = Callable[[float], str]
Legend = Sequence[tuple[str, str, str]]  # kind of mark, its class, what it means


def plain(words: str) -> str:
    """Return text as HTML, without line breaks before units."""
    return escape(tied(words))


def paragraph(words: str, cls: str | None = None) -> str:
    """Return a paragraph of text."""
    return tag("p", plain(words), cls=cls)


def section(words: str, *children: str) -> str:
    """Return a section under its heading."""
    return tag("section", tag("h2", plain(words)), *children)


def figure(words: str, explained: str, plot: Plot, legend: Legend = ()) -> str:
    """Return a plot with caption and legend, drawn once for wide and once for narrow pages; nothing where there is no plot."""
    wide, narrow = plot(WIDE), plot(NARROW)
    if not wide:
        return ""
    used = [entry for entry in legend if f'"{entry[1]} {entry[0]}"' in wide]  # a class of a mark: "search dot"
    lines = []
    for kind, cls, meaning in used:
        drawn = tag("svg", mark(kind, 8.0, 8.0, meaning, cls, 4.0), width=16, height=16, aria_hidden="true")
        lines.append(tag("li", drawn, plain(meaning)))
    listed = tag("ul", *lines, cls="legend") if lines else ""
    caption = tag("figcaption", tag("b", plain(words)), ": ", plain(explained), listed)
    return tag("figure", caption, tag("div", wide, cls="plot wide"), tag("div", narrow, cls="plot narrow"))


# ---------------------------------------------------------------- tables


@dataclass(frozen=True)
class Cell:
    """A cell of a table; `html`: its text is markup already."""

    text: str
    cls: str = ""
    html: bool = False

    @classmethod
    def number(cls, text: object) -> Cell:
        """Return a cell with a number, to the right."""
        return cls(str(text), "num")

    @classmethod
    def bars(cls, *shares: float) -> Cell:
        """Return a cell with bars below each other, as long as shares of 1."""
        return cls("".join(tag("i", style=f"width:{100 * share:.1f}%") for share in shares), "bar", True)

    @classmethod
    def path(cls, words: str) -> Cell:
        """Return a cell with a path of a space, which may break after its dots."""
        return cls(escape(words).replace(".", ".<wbr>"), html=True)


def table(head: Sequence[Cell | str], rows: Sequence[Sequence[Cell | str]], winner: int | None = None, cls: str = "") -> str:
    """Return a table; a heading is to the right where the cell below it is. `winner` is the row that stands out."""
    first = rows[0] if rows else [""] * len(head)
    right = [isinstance(cell, Cell) and cell.cls.startswith("num") for cell in first]
    names = [_head(h, r) for h, r in zip(head, right, strict=True)]
    body = [tag("tr", *map(_cell, row), cls="winner" if i == winner else None) for i, row in enumerate(rows)]
    drawn = tag("table", tag("thead", tag("tr", *names)), tag("tbody", *body), cls=cls or None)
    words = [h if isinstance(h, str) else h.text for h in head]
    label = f"table: {', '.join(word for word in words if word)}"
    return tag("div", drawn, cls="scroll", tabindex="0", role="region", aria_label=label)


def _head(head: Cell | str, right: bool) -> str:
    """A heading; one of a class, such as an upright one, keeps its words in a span of that class."""
    words = plain(head) if isinstance(head, str) else tag("span", plain(head.text), cls=head.cls or None)
    return tag("th", words, cls="num" if right else None, scope="col")


def _cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return tag("td", plain(cell))
    return tag("td", cell.text if cell.html else plain(cell.text), cls=cell.cls or None)
