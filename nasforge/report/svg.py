"""Small SVG by hand: elements, axes, a frame with ticks, and labels that keep out of each other's way.

Colours and fonts come from the page's CSS classes, so that a drawing follows a light or a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

CHAR = 7.4  # width of a character of the 13 px sans-serif font, on the safe side
Rect = tuple[float, float, float, float]  # left, top, right, bottom


def tag(name: str, *children: str, **attributes: object) -> str:
    """Return an element; `_` in the name of an attribute is `-`, `cls` is class, numbers are rounded, None is left out."""
    parts = []
    for key, value in attributes.items():
        if value is not None:
            text = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
            parts.append(f' {"class" if key == "cls" else key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    return f"<{name}{''.join(parts)}>{''.join(children)}</{name}>"


def text(x: float, y: float, words: str, anchor: str = "start", cls: str | None = None) -> str:
    """Return text with its baseline at y."""
    return tag("text", escape(words), x=float(x), y=float(y), text_anchor=None if anchor == "start" else anchor, cls=cls)


def tip(words: str) -> str:
    """Return what a browser shows when the mouse rests on the element around."""
    return tag("title", escape(words))


def line(points: Sequence[tuple[float, float]], cls: str, words: str = "") -> str:
    """Return an open line through points."""
    return tag("polyline", tip(words) if words else "", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), cls=cls)


def picture(width: float, height: float, label: str, *children: str) -> str:
    """Return a drawing that shrinks with the page and never grows beyond its size; `label` says what it shows."""
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label=label,
    )


# ---------------------------------------------------------------- axes


@dataclass(frozen=True)
class Axis:
    """Values from low to high over pixels from start to end, in equal steps or (log) in equal ratios.

    No tick stands above `cap`: 1 for shares, so that no axis promises more than 100 %.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    cap: float = math.inf

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside are put on the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values inside, at most so many."""
        found = _log_ticks(self.low, self.high, most) if self.log else _ticks(self.low, self.high, most)
        return [value for value in found if value <= self.cap]


def axis(values: Sequence[float], start: float, end: float, log: bool = False, pad: float = 0.05, cap: float = math.inf) -> Axis:
    """Return an axis over the values, with some room at both ends."""
    low, high = min(values), max(values)
    if log:
        low = max(low, 1e-9)
        ratio = max(high / low, 1.2) ** pad
        middle = math.sqrt(1.2) if high / low < 1.2 else 1.0
        return Axis(low / ratio / middle, high * ratio * middle, start, end, True, cap)
    room = (high - low) * pad if high > low else abs(high) * 0.05 or 1.0
    return Axis(low - room, high + room, start, end, cap=cap)


def _ticks(low: float, high: float, most: int) -> list[float]:
    size = 10 ** math.floor(math.log10((high - low) / most))
    for step in (s * size for s in (1, 2, 5, 10, 20)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for heads in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        inside = [h * 10.0**d for d in decades for h in heads if low <= h * 10.0**d <= high]
        if 2 <= len(inside) <= most:
            return inside
    return inside[:: max(1, len(inside) // most)] if inside else _ticks(low, high, most)


def plot_height(width: float) -> float:
    """Return the height of a plot of this width."""
    return max(300.0, min(400.0, 0.64 * width))


def plot_axes(
    xs: Sequence[float],
    ys: Sequence[float],
    width: float,
    log: tuple[bool, bool] = (False, False),
    cap: float = math.inf,
    right: float = 14.0,
) -> tuple[Axis, Axis]:
    """Return axes over the values that leave room for ticks and names; `right` is the margin there, `cap` that of y."""
    x = axis(xs, 64.0, width - right, log[0])
    return x, axis(ys, plot_height(width) - 52.0, 34.0, log[1], 0.08, cap)


def frame(x: Axis, y: Axis, x_words: tuple[str, Callable[[float], str]], y_words: tuple[str, Callable[[float], str]]) -> str:
    """Return grid lines, ticks and the names of both axes (the name of y above its ticks, upright)."""
    left, right, bottom, top = x.start, x.end, y.start, y.end
    parts = []
    for value in y.ticks(7):
        parts.append(line([(left, y(value)), (right, y(value))], "grid"))
        parts.append(text(left - 8, y(value) + 4.5, y_words[1](value), "end", "tick"))
    for value in x.ticks(max(3, int((right - left) / 80))):
        parts.append(line([(x(value), bottom), (x(value), top)], "grid"))
        parts.append(text(x(value), bottom + 19, x_words[1](value), "middle", "tick"))
    parts.append(line([(left, bottom), (right, bottom)], "axis"))
    parts.append(text(right, bottom + 40, x_words[0], "end", "name"))
    parts.append(text(4, top - 14, y_words[0], "start", "name"))
    return "".join(parts)


def inside(x: Axis, y: Axis, *children: str) -> str:
    """Return a drawing of which only what lies inside the frame is seen; it keeps the coordinates of the whole."""
    width, height = x.end - x.start, y.start - y.end
    return tag(
        "svg",
        *children,
        x=x.start,
        y=y.end,
        width=width,
        height=height,
        viewBox=f"{x.start:.1f} {y.end:.1f} {width:.1f} {height:.1f}",
    )


# ---------------------------------------------------------------- marks


def mark(kind: str, x: float, y: float, words: str, cls: str, r: float = 4.5) -> str:
    """Return a mark whose shape tells its kind even without colour: dot, hollow, ring, square, diamond, down or cross."""
    hint, name = tip(words), f"{cls} {kind}"
    if kind in ("dot", "hollow", "ring"):
        return tag("circle", hint, cx=x, cy=y, r=r + (3.5 if kind == "ring" else 0), cls=name)
    wide = r + 1.5
    path = {
        "square": f"M{-r} {-r}h{2 * r}v{2 * r}h{-2 * r}z",
        "diamond": f"M0 {-wide}l{wide} {wide}l{-wide} {wide}l{-wide} {-wide}z",
        "down": f"M{-r} {-r}h{2 * r}l{-r} {1.6 * r:.1f}z",
        "cross": f"M{1 - r} {1 - r}L{r - 1} {r - 1}M{1 - r} {r - 1}L{r - 1} {1 - r}",
    }[kind]
    return tag("path", hint, d=path, transform=f"translate({x:.1f} {y:.1f})", cls=name)


def labels(wanted: Sequence[tuple[float, float, str, str]], bounds: Rect, taken: Sequence[Rect] = ()) -> str:
    """Return names (x, y, words, class) beside their points, where they cover neither each other nor what is taken."""
    full = list(taken)
    parts = []
    for x, y, words, cls in sorted(wanted, key=lambda w: (w[1], w[0])):
        width = CHAR * len(words)
        spots = _spots(x, y, width)
        left, top, right, bottom = (pick(box[i] for box, _, _ in spots) for i, pick in enumerate((min, min, max, max)))
        near = [one for one in full if one[0] < right and one[2] > left and one[1] < bottom and one[3] > top]
        best = min(spots, key=lambda spot: (_cost(spot[0], bounds, near), spot[2]))
        (left, top, _, bottom), reach, _ = best[0], best[1], best[2]
        full.append(best[0])
        if reach:
            parts.append(
                line(
                    [(x, y), (left if left > x else left + width if left + width < x else x, (top + bottom) / 2)],
                    "leader",
                )
            )
        parts.append(text(left, bottom - 4, words, cls=f"label {cls}"))
    return "".join(parts)


def _spots(x: float, y: float, width: float) -> list[tuple[Rect, bool, int]]:
    """Boxes for a label around a point, the best places first: (box, whether it needs a line to its point, rank)."""
    out: list[tuple[Rect, bool, int]] = []
    for away in (0, 16, 34, 56):
        for dx, dy in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)):
            gap = 9 + away
            left = x + (gap if dx > 0 else -gap - width if dx < 0 else -width / 2)
            middle = y + dy * (gap + 8 if not dx else gap * 0.8 + 4)
            out.append(((left, middle - 9, left + width, middle + 9), away > 0, len(out)))
    return out


def _cost(box: Rect, bounds: Rect, full: Sequence[Rect]) -> float:
    """The area of a box that lies outside the bounds (counted more) or over something else."""
    width, height = (
        max(0.0, min(box[2], bounds[2]) - max(box[0], bounds[0])),
        max(0.0, min(box[3], bounds[3]) - max(box[1], bounds[1])),
    )
    outside = (box[2] - box[0]) * (box[3] - box[1]) - width * height
    over = 0.0
    for other in full:
        w, h = min(box[2], other[2]) - max(box[0], other[0]), min(box[3], other[3]) - max(box[1], other[1])
        over += w * h if w > 0 and h > 0 else 0.0
    return round(5 * outside + over, 1)
