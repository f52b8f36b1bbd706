"""Plots of how things went: best value and front against trials, scores against epochs, seeds of a final training."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from nasforge.objectives.metrics import is_metric, metric_or_value
from nasforge.report.format import brief, cap, lower, percent, percent_tick, tick, value, word
from nasforge.report.history import best_so_far
from nasforge.report.run import Row, Run
from nasforge.report.svg import CHAR, Axis, axis, frame, inside, line, mark, picture, plot_axes, plot_height, tag, text

MOST_CURVES = 500  # of trials in one plot; of more, every second, third ... is drawn
Lines = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class Shown:
    """How the values of an axis are written, and the largest possible one."""

    value: Callable[[float], str]
    tick: Callable[[float], str]
    cap: float


def titled(words: str, more: str, width: float) -> str:
    """Return the title of an axis, with more words where there is room for them."""
    return words + more if CHAR * len(words + more) <= width else words


def best_plot(run: Run, width: float) -> str:
    """Return the best value so far of search and control against trials; nothing before the first one."""
    lines = {name: found for name, ledger in run.ledgers.items() if (found := best_so_far(run, ledger))}
    settled = [points[min(len(points) - 1, max(2, len(points) // 8))][1] for points in lines.values()]
    ends = [points[-1][1] for points in lines.values()]
    metric = run.first.metric
    words = titled(f"best {word(metric)} so far (validation)", "" if run.first.maximize else ", lower is better", width)
    shown = Shown(partial(value, metric), partial(tick, metric), cap(metric))
    return against_trials([(name, name, points) for name, points in lines.items()], settled + ends, width, words, shown)


def volume_plot(volumes: Lines, width: float) -> str:
    """Return the share of the seen box that the fronts cover, as `volume_so_far` tells it, against trials; nothing where it tells none."""
    lines = {name: found for name, found in volumes.items() if found}
    ends = [points[-1][1] for points in lines.values()]
    words = "hypervolume: share of the box covered by the front"
    named = [(name, name, points) for name, points in lines.items()]
    return against_trials(named, [0.0, *ends], width, words, Shown(percent, percent_tick, 1.0))


def against_trials(
    lines: Sequence[tuple[str, str, list[tuple[int, float]]]], span: Sequence[float], width: float, words: str, shown: Shown
) -> str:
    """Return lines (class, name, points) against trials, each with its name and last value at its end; nothing where there are none."""
    if not lines:
        return ""
    x, y = plot_axes([1, *(points[-1][0] for _, _, points in lines)], span, width, cap=shown.cap)
    shapes, ends = [], []
    for cls, name, points in lines:
        path = [(x(points[0][0]), y(points[0][1]))]
        for (_, before), (done, v) in pairwise(points):
            if v != before or done == points[-1][0]:
                path += [(x(done), path[-1][1]), (x(done), y(v))]
        said = f"{name} {shown.value(points[-1][1])}"
        shapes.append(line(path, f"history {cls}", f"{said} after {points[-1][0]} trials"))
        ends.append((path[-1][1], path[-1][0], said, cls))
    ends.sort()
    heights = [
        py - 8 if i == 0 or py + 24 > y.start else py + 19 for i, (py, *_) in enumerate(ends)
    ]  # above the upper line, below the lower ones
    for i in reversed(range(len(heights) - 1)):
        heights[i] = min(heights[i], heights[i + 1] - 15)
    named = [
        text(max(px - 2, x.start + CHAR * len(said)), at, said, "end", f"label {cls}")
        for (_, px, said, cls), at in zip(ends, heights, strict=True)
    ]
    axes = frame(x, y, ("trials", whole_tick), (words, shown.tick))
    return picture(width, plot_height(width), f"{words}, against trials", axes, inside(x, y, *shapes), *named)


def whole_tick(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else ""


# ---------------------------------------------------------------- trainings


def curve_plot(run: Run, width: float) -> str:
    """Return the scores on validation after each epoch: trials thin, final trainings bold, the best ones and baselines by name."""
    metric = run.score
    trials = [(name, r) for name, ledger in run.ledgers.items() for r in ledger.records.values()]
    thin = [(name, r, curve) for name, r in trials if len(curve := on_val(r.curve, metric)) > 1]
    bold = [(row, curve) for row in run.rows() if len(curve := _mean_curve(run, row["key"], metric)) > 1]
    if not thin and not bold:
        return ""
    curves = [c for _, _, c in thin] + [c for _, c in bold]
    heads = {row["name"] for row in (run.best(), run.best_control(), *run.rows("baseline")) if row}
    margin = max([14.0, *(CHAR * len(brief(name)) + 18 for name in heads)])
    ends = [c[-1] for _, r, c in thin if r.kind == "finished"] + [c[-1] for _, c in bold]
    span = _span(curves, ends, not metric_or_value(metric).maximize)
    x, y = plot_axes([1, max(map(len, curves))], span, width, cap=cap(metric), right=margin)
    drawn = thin[:: math.ceil(len(thin) / MOST_CURVES)] if thin else []
    lines = [line(drawn_path(c, x, y), f"curve {name} {r.kind}", f"{name} trial {r.number}") for name, r, c in drawn]
    lines += [line(drawn_path(c, x, y), f"curve bold {row['role']}", row["name"]) for row, c in bold]
    named = beside([(x(len(c)), y(c[-1]), brief(r["name"]), r["role"]) for r, c in bold if r["name"] in heads], x, y)
    words = titled(f"{word(metric)} (validation)", lower(metric), width)
    axes = frame(x, y, ("epoch", whole_tick), (words, partial(tick, metric)))
    label = "learning curves of the trials and of the final trainings"
    return picture(width, plot_height(width), label, axes, inside(x, y, *lines), named)


def on_val(curve: Sequence[dict[str, float]], metric: str) -> list[float]:
    """Return a metric on val after each epoch; nothing where an epoch lacks it."""
    if not is_metric(metric):
        return []
    name = "val_loss" if metric == "loss" and curve and "val_loss" in curve[0] else metric
    found = [row.get(name) for row in curve]
    return [v for v in found if v is not None] if None not in found else []


def _mean_curve(run: Run, key: str, metric: str) -> list[float]:
    """The mean over the seeds of a final training; one that stopped early stays at its last value."""
    results = [r for r in run.finals.get(key, {}).values() if not r.get("error")]
    curves = [curve for r in results if (curve := on_val(r.get("curve", []), metric))]
    last = max(map(len, curves), default=0)
    return [statistics.fmean(c[min(i, len(c) - 1)] for c in curves) for i in range(last)]


def _span(curves: Sequence[Sequence[float]], ends: Sequence[float], falling: bool) -> list[float]:
    """Values for an axis on which the ends of the curves fill the room, and half of their starts are still seen."""
    start, every = statistics.median(c[0] for c in curves), [v for c in curves for v in c]
    if falling:
        return [min(every), max([start, *ends])]
    return [min([start, *ends]), max(every)]


def drawn_path(curve: Sequence[float], x: Axis, y: Axis) -> list[tuple[float, float]]:
    """Return a curve in pixels, also where it leaves the axis; the frame cuts it off."""
    slope = (y.end - y.start) / (y.high - y.low)
    return [(x(epoch), y.start + slope * (v - y.low)) for epoch, v in enumerate(curve, 1)]


def beside(places: Sequence[tuple[float, float, str, str]], x: Axis, y: Axis) -> str:
    """Return names in the right margin, in the order of the ends of their curves, each with a line to its end."""
    rows = sorted(places, key=lambda p: p[1])
    heights = [p[1] for p in rows]
    for i in range(1, len(rows)):
        heights[i] = max(heights[i], heights[i - 1] + 17)
    over = max(0.0, heights[-1] - y.start) if rows else 0.0
    parts = []
    for (px, py, words, cls), at in zip(rows, heights, strict=True):
        parts.append(line([(px, py), (x.end + 8, at - over)], "leader"))
        parts.append(text(x.end + 11, at - over + 4.5, words, cls=f"label {cls}"))
    return "".join(parts)


# ---------------------------------------------------------------- seeds


def seed_strip(row: Row, low: float, high: float, width: float = 170.0) -> str:
    """Return the test scores of all seeds of a network as dots between low and high, their mean as a stroke."""
    if not row["test_seeds"]:
        return ""
    x = axis([low, high], 8.0, width - 8.0, pad=0.0)
    dots = [
        mark("dot", x(v), 11 + 4.0 * (i % 3 - 1), f"seed {i}: {value(row['metric'], v)}", row["role"], 3.2)
        for i, v in enumerate(row["test_seeds"])
    ]
    mean = line([(x(row["test_mean"]), 2), (x(row["test_mean"]), 20)], f"whisker {row['role']}")
    words = "seeds: " + ", ".join(value(row["metric"], v) for v in row["test_seeds"])
    parts = (line([(4, 11), (width - 4, 11)], "grid"), mean, *dots)
    return tag("svg", *parts, viewBox=f"0 0 {width:.0f} 22", width=width, height=22, role="img", aria_label=words)
