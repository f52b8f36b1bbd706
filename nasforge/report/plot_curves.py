"""Plots of how things went: best value and front against trials, scores against epochs, seeds of a final training."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from nasforge.objectives.metrics import Known
from nasforge.report.format import brief, cap, tick, value, word
from nasforge.report.history import best_so_far, volume_so_far
from nasforge.report.run import Row, Run
from nasforge.report.svg import CHAR, Axis, axis, frame, inside, line, mark, picture, plot_axes, plot_height, tag, text

Lines = dict[str, list[tuple[int, float]]]


def best_plot(run: Run, width: float) -> str:
    """The best value so far of search and control against trials; nothing before the first one."""
    lines = {name: found for name, ledger in run.ledgers.items() if (found := best_so_far(run, ledger))}
    settled = [points[min(len(points) - 1, max(2, len(points) // 8))][1] for points in lines.values()]
    ends = [points[-1][1] for points in lines.values()]
    return _against_trials(lines, settled + ends, width, run.first.metric, f"best {word(run.first.metric)} so far (validation)")


def volume_plot(run: Run, width: float) -> str:
    """The share of the seen box that the fronts cover, against trials; nothing for one objective."""
    lines = {name: found for name, found in volume_so_far(run).items() if found}
    ends = [points[-1][1] for points in lines.values()]
    return _against_trials(lines, [0.0, *ends], width, "accuracy", "hypervolume: share of the box covered by the front")


def _against_trials(lines: Lines, span: Sequence[float], width: float, metric: str, words: str) -> str:
    if not lines:
        return ""
    x, y = plot_axes([1, *(points[-1][0] for points in lines.values())], span, width, cap=cap(metric))
    shapes, ends = [], []
    for name, points in lines.items():
        path = [(x(points[0][0]), y(points[0][1]))]
        for done, v in points[1:]:
            path += [(x(done), path[-1][1]), (x(done), y(v))]
        said = f"{name} {value(metric, points[-1][1])}"
        shapes.append(line(path, f"history {name}", f"{said} after {points[-1][0]} trials"))
        ends.append((path[-1][1], path[-1][0], said, name))
    named = []
    for i, (py, px, said, name) in enumerate(sorted(ends)):  # the upper one is named above, the lower one below its line
        above = i == 0 or py + 24 > y.start
        named.append(text(px - 2, py - 8 if above else py + 19, said, "end", f"label {name}"))
    axes = frame(x, y, ("trials", whole_tick), (words, lambda v: tick(metric, v)))
    return picture(width, plot_height(width), f"{words}, against trials", axes, inside(x, y, *shapes), *named)


def whole_tick(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else ""


# ---------------------------------------------------------------- trainings


def curve_plot(run: Run, width: float) -> str:
    """Scores on validation after each epoch: trials thin, final trainings bold, the best ones and baselines by name."""
    metric = run.first.metric if run.first.described.known is Known.TRAINED else "accuracy"
    column = "val_loss" if metric == "loss" else metric
    trials = [(name, r) for name, ledger in run.ledgers.items() for r in ledger.records.values()]
    thin = [(name, r, curve) for name, r in trials if len(curve := _column(r.curve, column)) > 1]
    bold = [(row, curve) for row in run.rows() if len(curve := _mean_curve(run, row["key"], column)) > 1]
    if not thin and not bold:
        return ""
    curves = [c for _, _, c in thin] + [c for _, c in bold]
    heads = {row["name"] for row in (run.best(), run.best_control(), *run.rows("baseline")) if row}
    margin = max([14.0, *(CHAR * len(brief(name)) + 18 for name in heads)])
    span = _span(curves, [c[-1] for n, r, c in thin if r.kind == "finished"] + [c[-1] for _, c in bold], metric == "loss")
    x, y = plot_axes([1, max(map(len, curves))], span, width, cap=cap(metric), right=margin)
    lines = [line(drawn_path(c, x, y), f"curve {name} {r.kind}", f"{name} trial {r.number}") for name, r, c in thin]
    lines += [line(drawn_path(c, x, y), f"curve bold {row['role']}", row["name"]) for row, c in bold]
    named = beside([(x(len(c)), y(c[-1]), brief(r["name"]), r["role"]) for r, c in bold if r["name"] in heads], x, y)
    axes = frame(x, y, ("epoch", whole_tick), (f"{word(metric)} (validation)", lambda v: tick(metric, v)))
    label = "learning curves of the trials and of the final trainings"
    return picture(width, plot_height(width), label, axes, inside(x, y, *lines), named)


def _column(curve: Sequence[dict[str, float]], column: str) -> list[float]:
    return [row[column] for row in curve] if all(column in row for row in curve) else []


def _mean_curve(run: Run, key: str, column: str) -> list[float]:
    """The mean over the seeds of a final training; one that stopped early stays at its last value."""
    results = [r for r in run.finals.get(key, {}).values() if not r.get("error")]
    curves = [curve for r in results if (curve := _column(r.get("curve", []), column))]
    last = max(map(len, curves), default=0)
    return [statistics.fmean(c[min(i, len(c) - 1)] for c in curves) for i in range(last)]


def _span(curves: Sequence[Sequence[float]], ends: Sequence[float], falling: bool) -> list[float]:
    """Values for an axis on which the ends of the curves fill the room, and half of their starts are still seen."""
    start, every = statistics.median(c[0] for c in curves), [v for c in curves for v in c]
    if falling:
        return [min(every), max(start, *ends)]
    return [min(start, *ends), max(every)]


def drawn_path(curve: Sequence[float], x: Axis, y: Axis) -> list[tuple[float, float]]:
    """A curve in pixels, also where it leaves the axis; the frame cuts it off."""
    slope = (y.end - y.start) / (y.high - y.low)
    return [(x(epoch), y.start + slope * (v - y.low)) for epoch, v in enumerate(curve, 1)]


def beside(places: Sequence[tuple[float, float, str, str]], x: Axis, y: Axis) -> str:
    """Names in the right margin, in the order of the ends of their curves, each with a line to its end."""
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
    """The test scores of all seeds of a network as dots between low and high, their mean as a stroke."""
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
