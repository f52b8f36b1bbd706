"""Sections of the page with what came out: fronts, finals, progress."""

from __future__ import annotations

from functools import partial
from html import escape

from nasforge.objectives.metrics import metric_or_value
from nasforge.report.columns import amount, shown
from nasforge.report.format import lower, on_test, value, word
from nasforge.report.history import volume_so_far
from nasforge.report.html import Cell, Legend, figure, paragraph, section, table
from nasforge.report.noise import as_good, final_recipe
from nasforge.report.plot_curves import best_plot, curve_plot, seed_strip, volume_plot
from nasforge.report.plot_scatter import costs_shown, final_plot, search_plot
from nasforge.report.run import Row, Run
from nasforge.report.svg import tag

ROLES = {"finalist": "finalists", "control": "control", "baseline": "baselines"}
FINAL_LEGEND: Legend = (
    ("dot", "finalist", "finalist of the search"),
    ("diamond", "control", "best of the control (random search)"),
    ("square", "baseline", "baseline"),
)


def fronts(run: Run) -> str:
    """Return trials and finals against each cost, side by side."""
    legend: Legend = (
        ("dot", "search", "trial of the search"),
        ("hollow", "control", "trial of the control (random search)"),
        ("cross", "search", "stopped early, at its last score"),
        ("ring", "finalist", "goes into the final trainings" if run.summary else "best so far"),
        ("square", "baseline", "baseline that is a point of the space"),
        ("down", "search", "outside of the frame"),
    )
    figures = []
    for cost in costs_shown(run):
        low = "" if run.first.maximize else ", lower is better"
        said = f"every trial by its {word(run.first.metric)} on validation after its short training{low}"
        figures.append(figure("During the search", said, partial(search_plot, run, cost), legend))
        said = f"{word(run.score)} on test, all networks trained in the same way{lower(run.score)}"
        figures.append(figure("After the final trainings", said, partial(final_plot, run, cost), FINAL_LEGEND))
    if not any(figures):
        return ""
    return section("The front" if len(run.objectives) > 1 else "Score against size", tag("div", *figures, cls="pair"))


def finals(run: Run) -> str:
    """Return the table of finalists, control and baselines; nothing before the end."""
    rows, best = run.rows(), run.best()
    if not rows:
        return ""
    tests = [v for r in rows for v in r["test_seeds"]]
    low, high = (min(tests), max(tests)) if tests else (0.0, 1.0)
    notes, small, metric = [], as_good(run), run.score
    for r in rows:
        good = small is not None and r["name"] == small.row["name"]
        said = [*(f"breaks {x}" for x in r["refused"]), *["failed, see below"] * bool(r["errors"]), *["as good within the noise"] * good]
        notes.append("; ".join(said))
    costs = shown(run, metric)
    head = ["network", f"test {word(metric)}", f"seeds, {value(metric, low)} to {value(metric, high)}", "val", "val in search"]
    head += [*map(word, costs), *["note"] * any(notes)]
    body = [
        [*_row(row, low, high), *(Cell.number(value(c, amount(run, row, c))) for c in costs), *[note] * any(notes)]
        for row, note in zip(rows, notes, strict=True)
    ]
    winner = next((i for i, r in enumerate(rows) if best is not None and r["name"] == best["name"]), None)
    chosen = f"The winner is {_chosen(run)}; the results on test have no part in it."
    recipe = final_recipe(run)
    differs = paragraph(f"Final trainings differ from those of the search: {recipe}.", "note") if recipe else ""
    below = paragraph(chosen, "note") + differs + _also(run, winner)
    roles = [words for role, words in ROLES.items() if run.rows(role)]
    named = f"{', '.join(roles[:-1])} and {roles[-1]}" if len(roles) > 1 else roles[0]
    return section(named[0].upper() + named[1:], table(head, body, winner), below)


def _chosen(run: Run) -> str:
    """By what the winner was chosen."""
    if run.first.described.is_cost:
        extreme = "highest" if run.first.maximize else "lowest"
        return f"the finalist of {extreme} {word(run.first.metric)} among those that keep all limits after the final trainings"
    if run.first.factors:
        best = "highest" if run.first.maximize else "lowest"
        return f"the finalist whose {word(run.first.metric)} is the {best} after the final trainings (validation)"
    extreme = "highest" if metric_or_value(run.score).maximize else "lowest"
    mean = f"the {extreme} on average after the final trainings (of equal ones the smallest network)"
    return f"the finalist whose {word(run.score)} on validation is {mean}"


def _also(run: Run, winner: int | None) -> str:
    """The table of the other metrics on test; nothing where there is only the main one."""
    names = run.also_on_test()
    if not names:
        return ""
    body = [[_name(r), *(Cell.number(value(name, (r.get("tests") or {}).get(name))) for name in names)] for r in run.rows()]
    note = "Means over the seeds. The networks were not chosen by these."
    head = ["network", *(word(name) + lower(name) for name in names)]
    return tag("h3", "Also on test") + table(head, body, winner) + paragraph(note, "note")


def _name(row: Row) -> Cell:
    return Cell(tag("span", escape(row["name"]), cls=f"{row['role']}-name"), html=True)


def _row(row: Row, low: float, high: float) -> list[Cell | str]:
    return [
        _name(row),
        Cell.number(on_test(row)),
        Cell(seed_strip(row, low, high), html=True),
        Cell.number(value(row["metric"], row["val"])),
        Cell.number(value(row["metric"], row["search_val"])),
    ]


def progress(run: Run) -> str:
    """Return best value, front and learning curves."""
    said = f"{word(run.first.metric)} of networks that were trained to the end and keep all limits"
    best = figure("Best so far", said, partial(best_plot, run))
    counted = ["costs"] * any(o.described.is_cost for o in run.objectives)
    counted += ["errors"] * any(o.described.unit == "share" and o.maximize for o in run.objectives)
    said = "the box reaches from the worst to the best values seen"
    said += f"; {' and '.join(counted)} count as powers of ten" if counted else ""
    volume = figure("Front so far", said, partial(volume_plot, volume_so_far(run)))
    said = f"{word(run.score)} after each epoch; trials thin, dashed where stopped early; final trainings bold, the mean of their seeds"
    curves = figure("Learning curves", said, partial(curve_plot, run))
    if not best and not curves:
        return ""
    return section("Progress", tag("div", best, volume, curves, cls="trio" if volume else "pair"))
