"""Several runs side by side: one page, and the same in a table of text."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from nasforge.files import write_whole
from nasforge.objectives.metrics import metric_or_value
from nasforge.objectives.objective import Objective
from nasforge.report.columns import amount, asked_for
from nasforge.report.compare import told as told_spaces
from nasforge.report.format import brief, cap, clock, lower, many, on_test, spread, tick, value, word
from nasforge.report.history import best_so_far
from nasforge.report.html import Cell, figure, paragraph, section, table
from nasforge.report.page import HEAD
from nasforge.report.plot_curves import Shown, against_trials
from nasforge.report.plot_scatter import Plane, along, costs_shown, front_of, logs, stairs
from nasforge.report.run import Run
from nasforge.report.style import STYLE
from nasforge.report.svg import labels, line, mark, picture, plot_axes, plot_height, tag
from nasforge.report.trials import names_of
from nasforge.report.verdict import compare
from nasforge.terminal import aligned, folded, width_of_terminal

COLORS = 6  # of runs; of more, colors come again
SHAPES = ("dot", "square", "diamond", "hollow", "down", "cross")
SETTINGS = {  # of a manifest, and what they are called
    "data": "data", "data_key": "key of the data", "space_name": "space", "space": "key of the space", "objectives": "objectives",
    "constraints": "limits", "strategy": "strategy", "evaluator": "evaluator", "pruner": "early stopping", "fidelity": "fidelity",
    "trials": "trials", "minutes": "minutes", "seed": "seed", "recipe": "recipe", "final_recipe": "recipe of finalists",
    "finalists": "finalists", "final_seeds": "final seeds", "inherit": "inherit", "scores": "zero-cost scores", "prior": "prior",
    "control": "control", "baselines": "baselines", "profiles": "profiles", "device": "device", "plugins": "plugins",
    "versions": "versions", "machine": "machine", "commit": "commit",
}  # fmt: skip
NUMBER = re.compile(r"[-–]|not yet|[\d.,]+(e[-+]?\d+)?( ± [\d.,]+)?( (%|[kMG]?B|ms|s))?")  # a cell of figures
SPLIT = ("limit", "seed", "image_size", "target")  # what else decides of what data a run is
Row = dict[str, Any]


def ranked(runs: Sequence[Run]) -> list[Run]:
    """Return the runs sorted by the first objective of the first one: finished ones by their results, then others by what is best so far,
    and runs that do not know it at the end; of equal ones in the order given."""
    first = runs[0].first
    sign = -1 if first.maximize else 1

    def place(run: Run) -> tuple[int, float]:
        best, leader = run.best(), run.leader()
        found = None
        if best is not None:
            tested = best["test_mean"] if first.metric == best["metric"] else None
            found = amount(run, best, first.metric) if tested is None else tested
            found = best["val"] if found is None and first.metric == best["metric"] else found
        elif leader is not None:
            found = leader.metrics.get(first.metric)
        return (2, 0.0) if found is None else (int(best is None), sign * found)

    return sorted(runs, key=place)


def unlike(runs: Sequence[Run]) -> list[str]:
    """Return, in sentences, why the scores of runs say little beside each other: other data, another split, objectives, limits."""
    names, out = names_of(runs), []

    def named(values: Sequence[Any]) -> str:
        return "; ".join(f"{name}: {_short(one) if one else 'none'}" for name, one in zip(names, values, strict=True))

    specs = [run.manifest["data"]["spec"] for run in runs]
    keys = [run.manifest.get("data_key") for run in runs]
    if len({Path(str(spec)).name for spec in specs}) > 1:
        out.append(f"They are of different data, so their scores cannot be compared ({named(specs)}).")
    elif len(set(keys)) > 1:
        split = [{k: v for k, v in run.manifest["data"].items() if k in SPLIT and v is not None} for run in runs]
        told = named(split) if any(one != split[0] for one in split) else named(keys)
        out.append(f"Their data have one name but other contents or another split, so their scores cannot be compared ({told}).")
    if len({run.score for run in runs}) > 1:
        out.append(f"They are judged by different metrics ({named([word(run.score) for run in runs])}).")
    for what, values in (("wish for different things", [[str(o) for o in run.objectives] for run in runs]),
                         ("keep different limits", [sorted(map(str, run.search.limits)) for run in runs])):  # fmt: skip
        if any(value != values[0] for value in values):
            out.append(f"They {what}, so one may be ahead by what another was not asked for ({named(values)}).")
    return out


def side_by_side(runs: Sequence[Run]) -> list[Row]:
    """Return one row a run: its name, folder, state, data, objectives, limits, strategy, trials, the best network with its metric and
    scores (before the end the trial that is best so far, by its val), its size, whatever a run limits or wishes for, and the seconds
    that the run took."""
    asked = list(dict.fromkeys(name for run in runs for name in asked_for(run)))
    return [_row(name, run, asked) for name, run in zip(names_of(runs), runs, strict=True)]


def _row(name: str, run: Run, asked: Sequence[str]) -> Row:
    told, best, leader = run.manifest, run.best(), run.leader()
    row: Row = {
        "run": name, "folder": str(run.folder), "state": "unfinished" if run.summary is None else "finished", "data": told["data"]["spec"],
        "space": told.get("space_name"), "objectives": list(told["objectives"]), "limits": list(told["constraints"]),
        "strategy": told["strategy"], "trials": run.trained(run.search), "asked": run.asked, "metric": run.score,
    }  # fmt: skip
    row |= dict.fromkeys(("best", "test_mean", "test_std", "val", "params", "macs", "latency_ms"))
    row["test_seeds"], row["quantities"] = [], {}
    names = [name for name in asked if name not in (*row, run.score)]
    if best is not None:
        row |= {"best": best["name"], **{k: best[k] for k in row if k in best and k not in ("best", "quantities")}}
        row["quantities"] = {name: amount(run, best, name) for name in names}
    elif leader is not None:
        row |= {"best": f"trial {leader.number}", "val": leader.metrics.get(run.score)}
        row |= {k: leader.metrics.get(k) for k in ("params", "macs", "latency_ms")}
        row["quantities"] = {name: leader.metrics.get(name) for name in names}
    return row | {"seconds": run.seconds.get("total"), "training_seconds": run.seconds.get("training")}


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the settings that differ between runs, by name, each with its value in every run; None where a manifest lacks it."""
    found = {words: [_setting(run, name) for run in runs] for name, words in SETTINGS.items()}
    return {words: values for words, values in found.items() if any(v != values[0] for v in values[1:])}


def _setting(run: Run, name: str) -> Any:
    found = run.manifest.get(name)
    return found.get("spec") if name == "data" and isinstance(found, Mapping) else found


# ---------------------------------------------------------------- in words

HEAD_CELLS = ("run", "best", "test", "val", "parameters", "multiply-adds")  # then what any run limits or wishes for, and LAST_CELLS
LAST_CELLS = ("trials", "time", "limits")


def _also(rows: Sequence[Row]) -> list[str]:
    """The other quantities that some run limits or wishes for, where they are known of some."""
    latency = ["latency_ms"] * any(row["latency_ms"] is not None for row in rows)
    found = dict.fromkeys([*latency, *(name for row in rows for name in row["quantities"])])
    return [name for name in found if any(_amount(row, name) is not None for row in rows)]


def _amount(row: Row, name: str) -> float | None:
    known = row["quantities"].get(name, row.get(name))
    return known if isinstance(known, int | float) else None


def _head(rows: Sequence[Row]) -> list[str]:
    return [*HEAD_CELLS, *map(word, _also(rows)), *LAST_CELLS]


def _cells(row: Row, also: Sequence[str]) -> list[str]:
    scored = on_test({**row, "val": row["val"]}) if row["best"] else "-"
    trials = f"{row['trials']}" + ("" if row["state"] == "finished" else f"/{row['asked']}")
    return [
        row["run"], row["best"] or "-", scored if row["state"] == "finished" else "not yet",
        "-" if row["val"] is None else spread(row["metric"], row["val"], None), *(value(m, row[m]) for m in ("params", "macs")),
        *(value(name, _amount(row, name)) for name in also), trials,
        "-" if row["seconds"] is None else clock(row["seconds"]), ", ".join(row["limits"]) or "none",
    ]  # fmt: skip


def words(runs: Sequence[Run], spaces: Mapping[str, Any] | None = None) -> str:
    """Return the table of the runs, what differs between them, and the comparison of their spaces, as text."""
    rows = side_by_side(runs)
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    said = f"by {' and '.join(map(word, metrics))}{lower(metrics[0])}; sorted by {word(runs[0].first.metric)}"
    parts = [*(folded(f"careful: {text}") for text in unlike(runs)), said]
    parts.append(_aligned(_head(rows), [_cells(row, _also(rows)) for row in rows]))
    if differ := differing(runs):
        cells = [[name, *map(_short, values)] for name, values in differ.items()]
        parts.append("what differs:\n" + _aligned(["", *(row["run"] for row in rows)], cells))
    else:
        parts.append("the settings of these runs are the same")
    return "\n\n".join([*parts, *([told_spaces(dict(spaces))] if spaces else [])])


def _short(setting: Any) -> str:
    """A setting in a cell."""
    if setting is None:
        return "-"
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    if isinstance(setting, str) and re.fullmatch("[0-9a-f]{40}", setting):  # a commit
        return setting[:12]
    if isinstance(setting, Mapping):
        return ", ".join(f"{k} {v}" for k, v in setting.items()) or "-"
    if isinstance(setting, list | tuple):
        return ", ".join(map(str, setting)) or "-"
    return f"{setting:g}" if isinstance(setting, float) else str(setting)


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    right = [bool(rows) and all(NUMBER.fullmatch(row[i]) for row in rows) for i in range(len(head))]
    return aligned(head, rows, right, width=width_of_terminal())


# ---------------------------------------------------------------- the page


def beside(run: Run) -> Path:
    """Return where the page lies that nobody named: in the folder that holds a run."""
    return Path(os.path.relpath(run.folder.resolve().parent)) / "comparison.html"


def write_several(runs: Sequence[Run], path: Path | None = None, spaces: Mapping[str, Any] | None = None) -> Path:
    """Write the page, into the folder that holds the first run where no file is named, and return its path."""
    path = path or beside(runs[0])
    rows, names = side_by_side(runs), names_of(runs)
    over = paragraph(f"{many(len(runs), 'run')}: {', '.join(names)}", "over")
    careful = [paragraph(f"Careful: {text}") for text in unlike(runs)]
    parts = [over + tag("h1", escape(_title(rows))), *careful, _summary(rows), _plots(runs, names), _differences(runs, names)]
    if spaces:
        parts.append(section("Their spaces", *(paragraph(text) for text in told_spaces(dict(spaces)).splitlines())))
    page = HEAD.format(name=escape(", ".join(names)), style=STYLE) + "\n".join(part for part in parts if part) + "\n</main></body></html>\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)
    return path


def _title(rows: Sequence[Row]) -> str:
    """Which run is ahead, where they can be compared: on the same data by the same metric, to their ends."""
    known = [row for row in rows if row["test_mean"] is not None]
    alike = len({(row["metric"], row["data"]) for row in rows}) == 1
    if len(known) < len(rows) or not alike:
        why = "not all have ended" if alike else "they differ in data or metric"
        return f"{many(len(rows), 'run')} side by side; none is called the best, as {why}"
    pick = max if metric_or_value(rows[0]["metric"]).maximize else min
    best = pick(known, key=lambda row: row["test_mean"])
    others = [row for row in rows if row is not best]
    ahead = all(compare(best, row) == "better" for row in others)
    said = f"{best['run']} reaches {on_test(best)} {word(best['metric'])} on test; " + "; ".join(f"{r['run']} {on_test(r)}" for r in others)
    return said if ahead else f"{said}: not all are further behind than the spread over seeds"


def _summary(rows: Sequence[Row]) -> str:
    body: list[list[Cell | str]] = [
        [Cell(tag("span", escape(name), cls=f"run{i % COLORS}-name"), html=True), *map(Cell.number, cells), limits]
        for i, (name, *cells, limits) in enumerate(_cells(row, _also(rows)) for row in rows)
    ]
    note = "Test and val are of the best network of each run; ± is the standard deviation over the seeds of its final trainings."
    return section("Results", table(_head(rows), body), paragraph(note, "note"))


def _plots(runs: Sequence[Run], names: Sequence[str]) -> str:
    first = runs[0]
    shown = [(i, names[i], run) for i, run in enumerate(runs) if run.first.metric == first.first.metric]
    cost = costs_shown(first)[0]
    said = f"networks that no other of their run dominates, by {word(first.first.metric)} on validation after short trainings"
    said += "" if len(shown) == len(runs) else f"; without runs that are judged by something else than {word(first.first.metric)}"
    legend = [(SHAPES[i % len(SHAPES)], f"run{i % COLORS}", name) for i, name, _ in shown]
    fronts = figure("Fronts", said, partial(_fronts, shown, cost), legend)
    best = figure("Best so far", f"{word(first.first.metric)} on validation of networks that keep all limits", partial(_best, shown))
    return section("Searches", tag("div", fronts, best, cls="pair")) if fronts or best else ""


def _fronts(shown: Sequence[tuple[int, str, Run]], cost: str, width: float) -> str:
    """The fronts of all runs in one plane; nothing where no run has one."""
    first = shown[0][2].first
    objective = next((o for o in shown[0][2].objectives if o.metric == cost), Objective(cost, False))
    fronts = [(i, name, [r for r in front_of(run, run.search, objective) if cost in r.metrics]) for i, name, run in shown]
    points = [r for _, _, front in fronts for r in front]
    if not points or cost == first.metric:
        return ""
    axes = plot_axes([r.metrics[cost] for r in points], [r.metrics[first.metric] for r in points], width, logs(cost, first.metric),
                     cap(first.metric))  # fmt: skip
    plane = Plane(objective, first, *axes)
    lines, marks, places = [], [], []
    for i, name, front in fronts:
        lines.append(line(stairs(front, plane), f"front run{i % COLORS}", name))
        for r in front:
            hint = f"{name}, trial {r.number}: {value(first.metric, r.metrics[first.metric])}, {value(cost, r.metrics[cost])}"
            marks.append(mark(SHAPES[i % len(SHAPES)], *plane.at(r), hint, f"run{i % COLORS}"))
        if front:
            best = (max if first.maximize else min)(front, key=lambda r: r.metrics[first.metric])
            places.append((*plane.at(best), brief(name), f"run{i % COLORS}"))
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in map(plane.at, points)]
    taken += [rect for _, _, front in fronts for rect in along(stairs(front, plane))]
    label = f"fronts of {many(len(shown), 'run')}: {word(first.metric)} against {word(cost)}"
    return picture(width, plot_height(width), label, plane.frame(" (validation)"), *lines, *marks, labels(places, plane.bounds, taken))


def _best(shown: Sequence[tuple[int, str, Run]], width: float) -> str:
    metric = shown[0][2].first.metric
    found = [(f"run{i % COLORS}", brief(name), points) for i, name, run in shown if (points := best_so_far(run, run.search))]
    settled = [points[min(len(points) - 1, max(2, len(points) // 8))][1] for _, _, points in found]
    said = Shown(partial(value, metric), partial(tick, metric), cap(metric))
    words = f"best {word(metric)} so far (validation)"
    return against_trials(found, [*settled, *(points[-1][1] for _, _, points in found)], width, words, said)


def _differences(runs: Sequence[Run], names: Sequence[str]) -> str:
    differ = differing(runs)
    if not differ:
        return section("What differs", paragraph("Nothing: the settings of these runs are the same."))
    rows: list[list[Cell | str]] = [[name, *(Cell(_short(v), "long") for v in values)] for name, values in differ.items()]
    return section("What differs", table(["", *names], rows), paragraph("All other settings are the same.", "note"))
