"""The plots of a report, each a function of the run and a width in pixels, so that a narrow page gets its own drawing."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from nasforge.report.collect import Row, Run
from nasforge.report.figures import brief, is_cost, spread, tick, value, word
from nasforge.report.history import best_so_far, volume_so_far
from nasforge.report.svg import CHAR, Axis, Rect, axis, frame, inside, labels, line, mark, picture, tag, text, tip
from nasforge.search.ledger import Ledger, Record
from nasforge.search.objectives import Objective, front, losses

Plot = Callable[[float], str]
LEFT, RIGHT, TOP, BOTTOM = 64.0, 14.0, 34.0, 52.0  # room for ticks and names
MARKS = {"finalist": "dot", "control": "diamond", "baseline": "square"}


def height(width: float) -> float:
    """The height of a plot of this width."""
    return max(300.0, min(400.0, 0.64 * width))


def _axes(xs: Sequence[float], ys: Sequence[float], width: float, log_x: bool, log_y: bool = False, right: float = RIGHT) -> tuple[Axis, Axis]:
    return axis(xs, LEFT, width - right, log_x), axis(ys, height(width) - BOTTOM, TOP, log_y, 0.08)


def _frame(x: Axis, y: Axis, x_metric: str, y_metric: str, note: str = "") -> str:
    log = ", log scale" if x.log else ""
    return frame(x, y, (f"{word(x_metric)}{log}", lambda v: tick(x_metric, v)), (word(y_metric) + note, lambda v: tick(y_metric, v)))


# ---------------------------------------------------------------- the front of the search


def costs_shown(run: Run) -> list[str]:
    """The metrics that the main objective is plotted against: the other objectives, else the parameters."""
    return [o.metric for o in run.objectives[1:]] or ["params"]


def search_plot(run: Run, cost: str, width: float) -> str:
    """All trials by cost and main objective, both fronts, finalists and baselines by name; nothing without a finished trial."""
    metric = run.first.metric
    records = [(name, r) for name, ledger in run.ledgers.items() for r in ledger.records.values()]
    shown = [(n, r) for n, r in records if r.kind in ("finished", "pruned") and metric in r.metrics and cost in r.metrics]
    done = [r for _, r in shown if r.kind == "finished"]
    if not done:
        return ""
    named = _named(run)
    focus = [r.metrics[metric] for name, ledger in run.ledgers.items() for r in _front(run, ledger, cost)] + [r.metrics[metric] for r, _, _ in named]
    ys = _in_focus([r.metrics[metric] for r in done], focus or [r.metrics[metric] for r in done], run.first.maximise)
    x, y = _axes([r.metrics[cost] for _, r in shown], ys, width, is_cost(cost), is_cost(metric))
    marks = [_trial(r, name, x(r.metrics[cost]), r.metrics[metric], y, metric, cost) for name, r in sorted(shown, key=lambda s: s[0])]
    lines = [line(_stairs(_front(run, ledger, cost), x, y, metric, cost), f"front {name}") for name, ledger in run.ledgers.items()]
    places = [(x(r.metrics[cost]), y(r.metrics[metric]), brief(name), role) for r, name, role in named if cost in r.metrics]
    rings = [mark("ring", px, py, name, role) for px, py, name, role in places]
    taken = [_around(px, py) for px, py, _, _ in places] + [_around(x(r.metrics[cost]), y(r.metrics[metric]), 4) for r in done]
    bounds = (x.start, y.end, x.end, y.start)
    label = f"{word(metric)} of every trial against {word(cost)}, with the fronts of search and control"
    inner = inside(x, y, *lines) + "".join(marks) + "".join(rings)
    return picture(width, height(width), label, _frame(x, y, cost, metric, " (validation)"), inner, labels(places, bounds, taken))


def _trial(record: Record, name: str, x: float, v: float, y: Axis, metric: str, cost: str) -> str:
    words = f"{name} trial {record.number}{f' ({record.baseline})' if record.baseline else ''}: {word(metric)} {value(metric, v)}, {word(cost)} {value(cost, record.metrics[cost])}"
    below = not y.low <= v <= y.high
    if record.kind == "pruned":
        return "" if below else mark("cross", x, y(v), f"{words}, stopped early", name, 4)
    if below:
        return mark("down", x, y(v) - 4 if v < y.low else y(v) + 4, words, name, 4)
    return mark("square" if record.baseline else "dot" if name == "search" else "hollow", x, y(v), words, "baseline" if record.baseline else name, 4)


def _named(run: Run) -> list[tuple[Record, str, str]]:
    """The trials that finalists, control finalists and baselines come from, with name and role; before the end the leader."""
    out = []
    for row in run.rows("finalist", "control"):
        ledger = run.search if row["role"] == "finalist" else run.control
        if ledger is not None and row["key"] in ledger.by_key:
            out.append((ledger.records[ledger.by_key[row["key"]]], row["name"], row["role"]))
    seen = {r.baseline: r for r in run.search.records.values() if r.baseline and r.kind == "finished"}
    out += [(r, str(name), "baseline") for name, r in seen.items()]
    leader = run.leader()
    return out if run.summary or leader is None else [*out, (leader, f"trial {leader.number}", "finalist")]


def _front(run: Run, ledger: Ledger, cost: str) -> list[Record]:
    """The front of a ledger in the plane of the plot."""
    done = [r for r in ledger.finished() if cost in r.metrics]
    plane = [run.first, next((o for o in run.objectives if o.metric == cost), Objective(cost, False))]
    return [done[i] for i in front([losses(r.metrics, plane) for r in done])] if len(run.objectives) > 1 else []


def _stairs(records: Sequence[Record], x: Axis, y: Axis, metric: str, cost: str) -> list[tuple[float, float]]:
    """The border of what a front dominates."""
    points = sorted((x(r.metrics[cost]), y(r.metrics[metric])) for r in records)
    out: list[tuple[float, float]] = []
    for px, py in points:
        if out:
            out.append((px, out[-1][1]))
        out.append((px, py))
    return [(points[0][0], y.start), *out, (x.end, out[-1][1])] if out else []


def _in_focus(values: Sequence[float], focus: Sequence[float], maximise: bool) -> list[float]:
    """Values to span an axis with: the focus, and of the others those not much worse, so that a few failures do not flatten the rest."""
    low, high = min(focus), max(focus)
    room = 0.8 * (high - low) or 0.1 * abs(high) or 1.0
    return [v for v in values if (v >= low - room if maximise else v <= high + room)] + list(focus)


def _around(x: float, y: float, r: float = 9) -> Rect:
    return x - r, y - r, x + r, y + r


# ---------------------------------------------------------------- after the final trainings


def final_plot(run: Run, cost: str, width: float) -> str:
    """Test scores after the final trainings against cost, one standard deviation up and down; nothing before the end."""
    rows = [r for r in run.rows() if r["test_mean"] is not None and _row_cost(r, cost) is not None]
    if not rows:
        return ""
    ends = [r["test_mean"] + s * (r["test_std"] or 0.0) for r in rows for s in (-1, 1)]
    x, y = _axes([_row_cost(r, cost) or 0.0 for r in rows], ends, width, is_cost(cost))
    marks, places = [], []
    for row in rows:
        px, py = x(_row_cost(row, cost) or 0.0), y(row["test_mean"])
        words = f"{row['name']}: test {spread(row['test_mean'], row['test_std'], len(row['test_seeds']))}, {word(cost)} {value(cost, _row_cost(row, cost))}"
        bar = [(px, y(row["test_mean"] - (row["test_std"] or 0.0))), (px, y(row["test_mean"] + (row["test_std"] or 0.0)))]
        marks.append(line(bar, f"whisker {row['role']}", words) + mark(MARKS[row["role"]], px, py, words, row["role"], 5))
        places.append((px, py, brief(row["name"]), row["role"]))
    taken = [_around(px, py, 7) for px, py, _, _ in places]
    label = f"test {word(rows[0]['metric'])} of finalists, control and baselines against {word(cost)}"
    note = f" (test, mean ± standard deviation{' of seeds' if width > 500 else ''})"
    named = labels(places, (x.start, y.end, x.end, y.start), taken)
    return picture(width, height(width), label, _frame(x, y, cost, rows[0]["metric"], note), *marks, named)


def _row_cost(row: Row, cost: str) -> float | None:
    return row.get("params" if cost == "weight_bytes" else cost) if cost != "weight_bytes" else 4.0 * row["params"]


# ---------------------------------------------------------------- against trials


def best_plot(run: Run, width: float) -> str:
    """The best value so far of search and control against trials."""
    lines = {name: best_so_far(run, ledger) for name, ledger in run.ledgers.items()}
    ends = [points[-1][1] for points in lines.values() if points]
    started = [points[min(len(points) - 1, max(2, len(points) // 8))][1] for points in lines.values() if points]
    if not ends:
        return ""
    x, y = _axes([1, *(p[-1][0] for p in lines.values() if p)], ends + started, width, False)
    return _trial_lines(lines, x, y, width, run.first.metric, f"best {word(run.first.metric)} so far (validation)")


def volume_plot(run: Run, width: float) -> str:
    """The share of the seen box that the front covers, of search and control, against trials; nothing for one objective."""
    lines = volume_so_far(run)
    if not any(lines.values()):
        return ""
    x, y = _axes([1, *(p[-1][0] for p in lines.values() if p)], [0, *(p[-1][1] for p in lines.values() if p)], width, False)
    return _trial_lines(lines, x, y, width, "accuracy", "hypervolume: share of the box covered by the front")


def _trial_lines(lines: dict[str, list[tuple[int, float]]], x: Axis, y: Axis, width: float, metric: str, words: str) -> str:
    shapes, ends = [], []
    for name, points in lines.items():
        if points:
            path = [(x(points[0][0]), y(points[0][1]))]
            for done, v in points[1:]:
                path += [(x(done), path[-1][1]), (x(done), y(v))]
            said = f"{name} {value(metric, points[-1][1])}"
            shapes.append(line(path, f"history {name}", f"{said} after {points[-1][0]} trials"))
            ends.append((path[-1][1], path[-1][0], said, name))
    ends.sort()  # by height: the upper curve is named above itself, the lower one below
    named = [text(px - 2, py - 8 if i == 0 else py + 19, said, "end", f"label {name}") for i, (py, px, said, name) in enumerate(ends)]
    axes = frame(x, y, ("trials", lambda v: f"{v:.0f}" if v == round(v) else ""), (words, lambda v: tick(metric, v)))
    return picture(width, height(width), f"{words}, against trials", axes, inside(x, y, *shapes), *named)


# ---------------------------------------------------------------- trainings


def curve_plot(run: Run, width: float) -> str:
    """Scores on validation after each epoch: trials thin, final trainings bold (mean of the seeds, best networks named)."""
    metric = run.first.metric if run.first.metric in ("accuracy", "miou", "loss") else "accuracy"
    column = "val_loss" if metric == "loss" else metric
    thin = [(name, r) for name, ledger in run.ledgers.items() for r in ledger.records.values() if len(r.curve) > 1 and column in r.curve[0]]
    bold = [(row, curve) for row in run.rows() if len(curve := _mean_curve(run, row["key"], column)) > 1]
    if not thin and not bold:
        return ""
    ends = [r.curve[-1][column] for _, r in thin if r.kind == "finished"] + [c[-1] for _, c in bold]
    tops = [v for _, c in bold for v in c] + [row[column] for _, r in thin for row in r.curve]
    starts = sorted(r.curve[0][column] for _, r in thin) or [c[0] for _, c in bold]
    low = max(min(tops), min(statistics.median(starts), min(ends or starts)))
    ys = [low, max(tops)] if metric != "loss" else [min(tops), statistics.median(starts)]
    longest = max([len(r.curve) for _, r in thin] + [len(c) for _, c in bold])
    heads = {row["name"] for row in (run.best(), run.best_control(), *run.rows("baseline")) if row}
    right = max([RIGHT, *(CHAR * len(brief(name)) + 16 for name in heads)])
    x, y = _axes([1, longest], ys, width, False, right=right)
    lines = [line([(x(i), _free(y, row[column])) for i, row in enumerate(r.curve, 1)], f"curve {name} {r.kind}", f"{name} trial {r.number}") for name, r in thin]
    lines += [line([(x(i), _free(y, v)) for i, v in enumerate(c, 1)], f"curve bold {row['role']}", row["name"]) for row, c in bold]
    places = [(x(len(c)), y(c[-1]), brief(row["name"]), row["role"]) for row, c in bold if row["name"] in heads]
    named = _beside(places, x, y)
    words = ("epoch", lambda v: f"{v:.0f}" if v == round(v) else ""), (f"{word(metric)} (validation)", lambda v: tick(metric, v))
    return picture(width, height(width), "learning curves of the trials and of the final trainings", frame(x, y, *words), inside(x, y, *lines), named)


def _free(y: Axis, v: float) -> float:
    """The pixel of a value, also outside of the axis; the frame cuts it off."""
    return y.start + (v - y.low) / (y.high - y.low) * (y.end - y.start)


def _mean_curve(run: Run, key: str, column: str) -> list[float]:
    curves = [r["curve"] for r in run.finals.get(key, {}).values() if not r.get("error") and r.get("curve") and column in r["curve"][0]]
    last = max(map(len, curves), default=0)
    return [statistics.fmean(c[min(i, len(c) - 1)][column] for c in curves) for i in range(last)]


def _beside(places: Sequence[tuple[float, float, str, str]], x: Axis, y: Axis) -> str:
    """Names in the right margin, in the order of the ends of their curves, each with a line to its end."""
    rows = sorted(places, key=lambda p: p[1])
    heights = [p[1] for p in rows]
    for i in range(1, len(rows)):
        heights[i] = max(heights[i], heights[i - 1] + 17)
    over = max(0.0, heights[-1] - y.start) if rows else 0.0
    parts = []
    for (px, py, words, cls), at in zip(rows, heights, strict=True):
        parts.append(line([(px, py), (x.end + 8, at - over)], "leader") + text(x.end + 11, at - over + 4.5, words, cls=f"label {cls}"))
    return "".join(parts)


# ---------------------------------------------------------------- seeds


def seed_strip(row: Row, low: float, high: float, width: float = 170.0) -> str:
    """The test scores of all seeds of a network as dots between low and high, its mean as a stroke."""
    if not row["test_seeds"]:
        return ""
    x = Axis(low, high, 8.0, width - 8.0) if high > low else Axis(low - 0.5, high + 0.5, 8.0, width - 8.0)
    dots = [mark("dot", x(v), 11, f"seed {i}: {value(row['metric'], v)}", row["role"], 3.5) for i, v in enumerate(row["test_seeds"])]
    mean = line([(x(row["test_mean"]), 2), (x(row["test_mean"]), 20)], f"whisker {row['role']}")
    base = line([(4, 11), (width - 4, 11)], "grid")
    words = ", ".join(value(row["metric"], v) for v in row["test_seeds"])
    return tag("svg", base, mean, *dots, viewBox=f"0 0 {width:.0f} 22", width=width, height=22, role="img", aria_label=f"seeds: {words}")
