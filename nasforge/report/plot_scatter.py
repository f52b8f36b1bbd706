"""Plots of networks by cost and score: the trials of the search, and what the final trainings gave.

Each plot is a function of the run and a width in pixels, so that a narrow page gets its own drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import Any

from nasforge.objectives.metrics import metric_or_value
from nasforge.objectives.objective import Objective, losses
from nasforge.objectives.pareto import front
from nasforge.report.format import brief, cap, score, tick, value, word
from nasforge.report.plot_curves import titled
from nasforge.report.run import Row, Run
from nasforge.report.svg import Axis, Rect, frame, inside, labels, line, mark, picture, plot_axes, plot_height
from nasforge.search.records import Ledger, TrialRecord

MOST_MARKS = 800  # of trials in one plot; of more, those that would lie on one another are one mark
NARROW = 400.0  # pixels of a plot in which few names can be read
Place = tuple[float, float, str, str]  # x, y, name, class
MARKS = {"finalist": "dot", "control": "diamond", "baseline": "square"}


def costs_shown(run: Run) -> list[str]:
    """Return the metrics that the main objective is plotted against: the other objectives, else the parameters."""
    return [o.metric for o in run.objectives[1:]] or ["params"]


@dataclass(frozen=True)
class Plane:
    """Where networks stand: the metrics of both axes, and the axes."""

    cost: Objective
    score: Objective
    x: Axis
    y: Axis

    def has(self, record: TrialRecord) -> bool:
        """Return whether both metrics of a trial are known."""
        return self.cost.metric in record.metrics and self.score.metric in record.metrics

    def at(self, record: TrialRecord) -> tuple[float, float]:
        """Return the place of a trial."""
        return self.x(record.metrics[self.cost.metric]), self.y(record.metrics[self.score.metric])

    def frame(self, note: str) -> str:
        """Return axes with ticks and names."""
        cost, score = self.cost.metric, self.score.metric
        log = ", log scale" if self.x.log else ""
        lower = "" if self.score.maximize else ", lower is better"
        y_words = titled(word(score) + note, lower, self.x.end)
        return frame(self.x, self.y, (f"{word(cost)}{log}", partial(tick, cost)), (y_words, partial(tick, score)))

    @property
    def bounds(self) -> Rect:
        """The edges of the frame."""
        return self.x.start, self.y.end, self.x.end, self.y.start


# ---------------------------------------------------------------- trials


def search_plot(run: Run, cost: str, width: float) -> str:
    """Return all trials, both fronts, finalists and baselines by name; nothing without a finished trial."""
    trials = [(name, r) for name, ledger in run.ledgers.items() for r in ledger.records.values()]
    shown = [(n, r) for n, r in trials if r.kind in ("finished", "pruned") and {cost, run.first.metric} <= set(r.metrics)]
    done = [r for _, r in shown if r.kind == "finished"]
    if not done:
        return ""
    objective = next((o for o in run.objectives if o.metric == cost), Objective(cost, False))
    on_front = {name: front_of(run, ledger, objective) for name, ledger in run.ledgers.items()}
    named = [(r, name, role) for r, name, role in _named(run) if cost in r.metrics]
    scores = [r.metrics[run.first.metric] for r in done]
    focus = [r.metrics[run.first.metric] for r in [*chain(*on_front.values()), *(r for r, _, _ in named)]]
    ys = _in_focus(scores, focus or scores, run.first.maximize)
    axes = plot_axes([r.metrics[cost] for _, r in shown], ys, width, logs(cost, run.first.metric), cap(run.first.metric))
    plane = Plane(objective, run.first, *axes)
    lines = [line(stairs(records, plane), f"front {name}") for name, records in on_front.items() if len(run.objectives) > 1]
    always = {id(r) for r in chain(*on_front.values(), (r for r, _, _ in named))}
    marks = [_trial(r, name, plane, more) for name, r, more in _visible(sorted(shown, key=lambda s: s[0]), plane, always)]
    places = [(*plane.at(r), brief(name), role) for r, name, role in named]
    rings = [mark("ring", x, y, name, role) for x, y, name, role in places]
    seen = [plane.at(r) for r in done]
    if len(seen) > MOST_MARKS:
        seen = sorted({(x // 4 * 4.0, y // 4 * 4.0) for x, y in seen})
    taken = [_around(x, y, 9) for x, y, _, _ in places] + [_around(x, y, 4) for x, y in seen]
    taken += [rect for records in on_front.values() if len(run.objectives) > 1 for rect in along(stairs(records, plane))]
    label = f"{word(run.first.metric)} of every trial against {word(cost)}, with the fronts of search and control"
    named_there = labels(_readable(run, places, width), plane.bounds, taken)
    parts = (plane.frame(" (validation)"), inside(*axes, *lines), *marks, *rings, named_there)
    return picture(width, plot_height(width), label, *parts)


def _visible(shown: Sequence[tuple[str, TrialRecord]], plane: Plane, always: set[int]) -> list[tuple[str, TrialRecord, int]]:
    """The trials to mark, and how many others of their kind lie under each mark: of many, one for each small square of the plot.

    always: those that have a mark of their own.
    """
    if len(shown) <= MOST_MARKS:
        return [(name, r, 0) for name, r in shown]
    places = [(name, r, plane.at(r)) for name, r in shown]
    side, squares = 2.0, dict[tuple[Any, ...], list[tuple[str, TrialRecord]]]()
    while not squares or len(squares) > MOST_MARKS:
        side, squares = 2 * side, {}
        for name, r, (x, y) in places:
            own = id(r) if id(r) in always or r.baseline else None
            squares.setdefault((name, r.kind, x // side, y // side, own), []).append((name, r))
    return [(*some[0], len(some) - 1) for some in squares.values()]


def _trial(record: TrialRecord, name: str, plane: Plane, more: int = 0) -> str:
    """The mark of a trial, under which so many more lie; at the edge where it lies outside, nothing if it was stopped there."""
    (x, y), score = plane.at(record), record.metrics[plane.score.metric]
    facts = ", ".join(f"{word(m)} {value(m, record.metrics[m])}" for m in (plane.score.metric, plane.cost.metric))
    words = f"{name} trial {record.number}{f' ({record.baseline})' if record.baseline else ''}: {facts}"
    words += f"; {more} more here" * bool(more)
    outside = not plane.y.low <= score <= plane.y.high
    if record.kind == "pruned":
        return "" if outside else mark("cross", x, y, f"{words}, stopped early", name, 4)
    if outside:
        return mark("down", x, y - 4 if y == plane.y.start else y + 4, words, name, 4)
    if record.baseline:
        return mark("square", x, y, words, "baseline", 4)
    return mark("dot" if name == "search" else "hollow", x, y, words, name, 4)


def _named(run: Run) -> list[tuple[TrialRecord, str, str]]:
    """The trials of finalists, control finalists and baselines with name and role; before the end also the leader."""
    out = []
    for row in run.rows("finalist", "control"):
        ledger = run.search if row["role"] == "finalist" else run.control
        if ledger is not None and row["key"] in ledger.by_key:
            out.append((ledger.records[ledger.by_key[row["key"]]], row["name"], row["role"]))
    seen = {r.baseline: r for r in run.search.records.values() if r.baseline and r.kind == "finished"}
    out += [(r, str(name), "baseline") for name, r in seen.items()]
    leader = run.leader()
    return out if run.summary or leader is None else [*out, (leader, f"trial {leader.number}", "finalist")]


def front_of(run: Run, ledger: Ledger, cost: Objective) -> list[TrialRecord]:
    """The front of a ledger in the plane of main objective and cost."""
    done = [r for r in ledger.finished() if cost.metric in r.metrics]
    return [done[i] for i in front([losses(r.metrics, [run.first, cost]) for r in done])]


def stairs(records: Sequence[TrialRecord], plane: Plane) -> list[tuple[float, float]]:
    """The border of what a front dominates, from its cheapest network on."""
    points = sorted((plane.at(r) for r in records), reverse=plane.cost.maximize)
    if not points:
        return []
    out = [(points[0][0], plane.y.start if plane.score.maximize else plane.y.end), points[0]]
    for x, y in points[1:]:
        out += [(x, out[-1][1]), (x, y)]
    return [*out, (plane.x.start if plane.cost.maximize else plane.x.end, out[-1][1])]


def _in_focus(values: Sequence[float], focus: Sequence[float], maximize: bool) -> list[float]:
    """Values to span an axis with: the focus and what is not much worse; a few failures shall not flatten the rest."""
    low, high = min(focus), max(focus)
    room = 0.8 * (high - low) or 0.1 * abs(high) or 1.0
    return [v for v in values if (v >= low - room if maximize else v <= high + room)] + list(focus)


def logs(cost: str, score: str) -> tuple[bool, bool]:
    return metric_or_value(cost).is_cost, metric_or_value(score).is_cost


def _readable(run: Run, places: Sequence[Place], width: float) -> list[Place]:
    """The names that there is room for: on a narrow page those of the winner, of the control's best and of baselines."""
    heads = {brief(row["name"]) for row in (run.best(), run.best_control(), *run.rows("baseline")) if row}
    return [place for place in places if width > NARROW or not heads or place[2] in heads]


def along(path: Sequence[tuple[float, float]]) -> list[Rect]:
    """Boxes along an upright path, which no label shall cover."""
    return [(min(x, u) - 2, min(y, v) - 2, max(x, u) + 2, max(y, v) + 2) for (x, y), (u, v) in pairwise(path)]


def _around(x: float, y: float, r: float) -> Rect:
    return x - r, y - r, x + r, y + r


# ---------------------------------------------------------------- after the final trainings


def final_plot(run: Run, cost: str, width: float) -> str:
    """Return test scores of the finals against cost, one standard deviation up and down; nothing before the end, or against itself."""
    rows = [r for r in run.rows() if r["test_mean"] is not None and _cost(r, cost) is not None]
    if not rows or cost == run.score:
        return ""
    metric, ends = run.score, [end for r in rows for end in _interval(r)]
    axes = plot_axes([_cost(r, cost) or 0.0 for r in rows], ends, width, logs(cost, metric), cap(metric))
    plane = Plane(Objective(cost, False), Objective(metric, metric_or_value(metric).maximize), *axes)
    marks, places = [], []
    for row in rows:
        x, y = plane.x(_cost(row, cost) or 0.0), plane.y(row["test_mean"])
        on_test = score(metric, row["test_mean"], row["test_std"], len(row["test_seeds"]))
        words = f"{row['name']}: {on_test} on test, {word(cost)} {value(cost, _cost(row, cost))}"
        marks.append(line([(x, plane.y(end)) for end in _interval(row)], f"whisker {row['role']}", words))
        marks.append(mark(MARKS[row["role"]], x, y, words, row["role"], 5))
        places.append((x, y, brief(row["name"]), row["role"]))
    note = f" (test, mean ± standard deviation{' of seeds' if width > 500 and plane.score.maximize else ''})"
    taken = [_around(x, y, 7) for x, y, _, _ in places]
    taken += [(x - 2, min(ys), x + 2, max(ys)) for (x, *_), r in zip(places, rows, strict=True) for ys in [[*map(plane.y, _interval(r))]]]
    named = labels(_readable(run, places, width), plane.bounds, taken)
    label = f"test {word(metric)} of finalists, control and baselines against {word(cost)}"
    return picture(width, plot_height(width), label, plane.frame(note), *marks, named)


def _interval(row: Row) -> tuple[float, float]:
    return row["test_mean"] - (row["test_std"] or 0.0), row["test_mean"] + (row["test_std"] or 0.0)


def _cost(row: Row, cost: str) -> float | None:
    if cost == "weight_bytes":
        return 4.0 * row["params"]
    return row.get(cost, (row.get("tests") or {}).get(cost))
