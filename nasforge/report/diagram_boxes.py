"""Boxes of a block diagram that stand on each other: each is entered at the top and left at the bottom, at `mid`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nasforge.report.svg import CHAR, line, tag, text, tip

GAP = 20.0  # between two boxes of a stack
LABELED = 34.0  # the same, where a shape is written beside the arrow


@dataclass(frozen=True)
class Box:
    """A drawing of some size with its own origin; `mid` is the x of its entrance and exit."""

    width: float
    height: float
    mid: float
    svg: str


def place(box: Box, x: float, y: float) -> str:
    """Return the drawing of a box with its corner at (x, y)."""
    return tag("g", box.svg, transform=f"translate({x:.1f} {y:.1f})")


def leaf(words: str, below: str = "", hint: str = "", cls: str = "layer") -> Box:
    """Return a box with words, and smaller ones below."""
    width = max(72.0, CHAR * len(words) + 22, 6.4 * len(below) + 22)
    height = 46.0 if below else 30.0
    parts = [tag("rect", x=0, y=0, width=width, height=height, rx=6), text(width / 2, 20, words, "middle")]
    if below:
        parts.append(text(width / 2, 37, below, "middle", "small"))
    return Box(width, height, width / 2, tag("g", tip(hint or words), *parts, cls=f"box {cls}"))


def arrow(x: float, top: float, bottom: float) -> str:
    """Return an arrow straight down."""
    return line([(x, top), (x, bottom - 4)], "wire") + tag("path", d=f"M{x - 4:.1f} {bottom - 7:.1f}h8l-4 7z", cls="head")


def stack(boxes: Sequence[Box], notes: Sequence[str] = ()) -> Box:
    """Return boxes below each other; notes[i] is written beside the arrow into box i (the first box has none)."""
    if not boxes:
        return Box(24.0, 16.0, 12.0, line([(12, 0), (12, 16)], "wire"))
    texts = list(notes) or [""] * len(boxes)
    left = max(b.mid for b in boxes)
    right = max([b.width - b.mid for b in boxes] + [14 + 6.6 * len(t) for t in texts[1:]])
    y, parts = 0.0, []
    for i, (box, words) in enumerate(zip(boxes, texts, strict=True)):
        if i:
            gap = LABELED if words else GAP
            parts.append(arrow(left, y, y + gap))
            if words:
                parts.append(text(left + 10, y + gap / 2 + 4, words, cls="shape"))
            y += gap
        parts.append(place(box, left - box.mid, y))
        y += box.height
    return Box(left + right, y, left, "".join(parts))


def join_mark(x: float, y: float, words: str) -> tuple[str, float]:
    """Return a small round box where ways meet, its top at y; and its height."""
    width = max(26.0, 6.6 * len(words) + 16)
    shape = tag("rect", x=x - width / 2, y=y, width=width, height=24, rx=12)
    return tag("g", shape, text(x, y + 16.5, words, "middle", "small"), cls="box join"), 24.0


def beside(branches: Sequence[Box], join: str) -> Box:
    """Return boxes next to each other that read the same and are joined below."""
    width, tallest = sum(b.width for b in branches) + 18 * (len(branches) - 1), max(b.height for b in branches)
    mid, x, parts = width / 2, 0.0, []
    sign, size = join_mark(mid, 24 + tallest + 24, join)
    for box in branches:
        enter = x + box.mid
        parts.append(line([(mid, 0), (mid, 8), (enter, 8), (enter, 20)], "wire"))
        parts.append(tag("path", d=f"M{enter - 4:.1f} 17h8l-4 7z", cls="head"))
        parts.append(place(box, x, 24))
        parts.append(
            line(
                [
                    (enter, 24 + box.height),
                    (enter, 24 + tallest + 12),
                    (mid, 24 + tallest + 12),
                    (mid, 24 + tallest + 24),
                ],
                "wire",
            )
        )
        x += box.width + 18
    return Box(width, 48 + tallest + size, mid, "".join(parts) + sign)


def skip(body: Box, shortcut: Box | None, join: str) -> Box:
    """Return a body with a way around it, which may carry a box, joined below."""
    sign, size = join_mark(body.mid, 14 + body.height + 18, join)
    middle, bottom = 14 + body.height / 2, 14 + body.height + 18 + size / 2
    side = body.width + 18 + (shortcut.width / 2 if shortcut else 0.0)
    around = line([(body.mid, 4), (side, 4), (side, bottom), (body.mid + max(13, 3.3 * len(join) + 8), bottom)], "wire skip")
    parts = [line([(body.mid, 0), (body.mid, 14)], "wire"), place(body, 0, 14), around]
    parts.append(arrow(body.mid, 14 + body.height, 14 + body.height + 18))
    width = side + 4
    if shortcut is not None:
        parts.append(place(shortcut, side - shortcut.width / 2, middle - shortcut.height / 2))
        width = side + shortcut.width / 2
    return Box(width, 14 + body.height + 18 + size, body.mid, "".join(parts) + sign)


def group(words: str, inner: Box, cls: str = "group") -> Box:
    """Return a frame around a box, with words in its corner."""
    width = max(inner.width + 24, CHAR * len(words) + 24)
    off = (width - inner.width) / 2
    parts = [
        tag("rect", x=0, y=0, width=width, height=inner.height + 42, rx=9),
        text(10, 18, words, cls="small"),
        line([(off + inner.mid, 0 if CHAR * len(words) + 16 < off + inner.mid else 23), (off + inner.mid, 30)], "wire"),
        place(inner, off, 30),
        line([(off + inner.mid, 30 + inner.height), (off + inner.mid, 42 + inner.height)], "wire"),
    ]
    return Box(width, inner.height + 42, off + inner.mid, tag("g", *parts, cls=cls))
