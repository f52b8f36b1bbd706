"""The report as one HTML page that needs nothing else: no scripts, no files beside it, nothing from the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

from nasforge.report.account import Group, counts, failures, savings, spent, unbuildable
from nasforge.report.collect import Run, collect
from nasforge.report.commands import go_on
from nasforge.report.figures import clock, many, percent, spread, tied, value, word
from nasforge.report.insights import Share, choice_shares, good, importances, operator_shares, trained
from nasforge.report.network import network
from nasforge.report.plots import best_plot, costs_shown, curve_plot, final_plot, search_plot, seed_strip, volume_plot
from nasforge.report.style import STYLE
from nasforge.report.svg import mark, tag
from nasforge.report.tables import Cell, bars, table
from nasforge.report.verdict import title, verdict

WIDE, NARROW = 580.0, 350.0  # pixels of the two drawings of each plot
KINDS = {
    "finished": "trained to the end",
    "pruned": "stopped early",
    "failed": "failed",
    "duplicate": "duplicates, not trained",
    "infeasible": "over a limit or impossible, not trained",
    "interrupted": "cut off with the search, asked again",
}


def report(run: Path, storage: str | None = None) -> Path:
    """The path of the page written into the run's folder; `storage` as for `collect`."""
    found = collect(run, storage)
    path = found.folder / "report.html"
    part = path.with_name("report.html.part")
    part.write_text(page(found), encoding="utf-8")
    part.replace(path)
    return path


def page(run: Run) -> str:
    """The whole page."""
    parts = [_top(run), _fronts(run), _finals(run), _network(run), _progress(run), _insights(run), _account(run), _failures(run), _further(run)]
    name = escape(run.folder.resolve().name)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{name}: nasforge report</title>'
    icon = '<link rel="icon" href="data:,">'  # else a browser asks the server for one
    return f'<!doctype html>\n<html lang="en"><head>{head}{icon}<style>{STYLE}</style></head>\n<body><main>\n' + "\n".join(p for p in parts if p) + "\n</main></body></html>\n"


# ---------------------------------------------------------------- sections


def _top(run: Run) -> str:
    asked = ", ".join(f"{'high' if o.maximise else 'low'} {word(o.metric)}" for o in run.objectives)
    limits = f", with {' and '.join(run.manifest['constraints'])}" if run.manifest["constraints"] else ""
    over = f"Search {run.folder.resolve().name} on {run.manifest['data']['spec']}: {asked}{limits}; {run.manifest['strategy']}, {many(run.asked, 'trial')}"
    small = ""
    if run.best() is not None:
        seeds = many(len(run.best()["test_seeds"]), "training")  # type: ignore[index]
        small = f"± is the standard deviation over {seeds} with different seeds. Networks were chosen on validation data; test data were read once, at the end."
    sentences = "".join(tag("li", _text(s)) for s in verdict(run))
    return tag("p", escape(over), cls="over") + tag("h1", _title(run)) + tag("ul", sentences, cls="said") + (tag("p", escape(small), cls="note") if small else "")


def _title(run: Run) -> str:
    """The title sentence, its first part with the most weight."""
    first, mark, rest = title(run).partition(";")
    return _text(first) + (tag("span", _text(mark + rest)) if rest else "")


def _fronts(run: Run) -> str:
    figures = []
    for cost in costs_shown(run):
        said = "every trial by its score on validation after its short training"
        figures.append(_figure("During the search", said, partial(search_plot, run, cost), _search_legend(run)))
        said = "finalists, control and baselines trained alike, scored on test"
        figures.append(_figure("After the final trainings", said, partial(final_plot, run, cost), _final_legend(run)))
    if not any(figures):
        return ""
    return _section("The front" if len(run.objectives) > 1 else "Scores against size", tag("div", *figures, cls="pair"))


def _search_legend(run: Run) -> list[tuple[str, str, str]]:
    control = [("hollow", "control", "trial of the control (random search)")] if run.control else []
    pruned = [("cross", "search", "stopped early, at its last score")] if any(ledger.count("pruned") for ledger in run.ledgers.values()) else []
    named = [("ring", "finalist", "goes into the final trainings")] if run.summary else [("ring", "finalist", "best so far")]
    baseline = [("square", "baseline", "baseline that is a point of the space")] if any(r.baseline for r in run.search.records.values()) else []
    return [("dot", "search", "trial of the search"), *control, *pruned, *named, *baseline, ("down", "search", "outside of the frame")]


def _final_legend(run: Run) -> list[tuple[str, str, str]]:
    roles = (("dot", "finalist", "finalist of the search"), ("diamond", "control", "best of the control"), ("square", "baseline", "baseline"))
    return [entry for entry in roles if run.rows(entry[1])]


def _finals(run: Run) -> str:
    rows = run.rows()
    if not rows:
        return ""
    tests = [v for r in rows for v in r["test_seeds"]]
    low, high = (min(tests), max(tests)) if tests else (0.0, 1.0)
    latency = any(r["latency_ms"] is not None for r in rows)
    head = ["network", "parameters", "multiply-adds", *(["latency"] if latency else []), "val, search", "val", "test", f"seeds, {percent(low)} to {percent(high)}"]
    best = run.best()
    body: list[list[Cell | str]] = []
    notes = ["; ".join([*(f"breaks {x}" for x in r["refused"]), *(["failed, see below"] if r["errors"] else [])]) for r in rows]
    for row, note in zip(rows, notes, strict=True):
        name = Cell(tag("span", escape(row["name"]), cls=f"{row['role']}-name"), html=True)
        main = row["metric"]
        body.append([
            name, Cell.number(value("params", row["params"])), Cell.number(value("macs", row["macs"])),
            *([Cell.number(value("latency_ms", row["latency_ms"]))] if latency else []),
            Cell.number(value(main, row["search_val"])), Cell.number(value(main, row["val"])),
            Cell.number(spread(row["test_mean"], row["test_std"], len(row["test_seeds"]))), Cell(seed_strip(row, low, high), html=True),
            *([note] if any(notes) else []),
        ])  # fmt: skip
    head += ["note"] * any(notes)
    winner = next((i for i, r in enumerate(rows) if best is not None and r["name"] == best["name"]), None)
    chosen = "The winner is the finalist with the best mean validation score after the final trainings (of equal ones the smallest), not the one with the best test score."
    return _section("Finalists, control and baselines", table(head, body, winner) + tag("p", escape(chosen), cls="note"))


def _network(run: Run) -> str:
    leader = run.leader()
    if leader is None:
        return ""
    best = run.best()
    name = best["name"] if best else f"trial {leader.number}"
    origin = f"{name} is trial {leader.number} of the search{f', the baseline {leader.baseline}' if leader.baseline else ''}." if best else "The best network so far."
    return _section(f"The network: {name}", tag("p", escape(origin)) + network(run.arch(leader), name))


def _progress(run: Run) -> str:
    best = _figure("Best so far", "of networks that were trained to the end and keep all limits", partial(best_plot, run), [])
    volume = _figure("Front so far", "the box reaches from the worst to the best values seen; costs count as powers of ten", partial(volume_plot, run), [])
    explained = "trials thin, dashed where stopped early; final trainings bold, the mean of their seeds"
    curves = _figure("Learning curves", explained, partial(curve_plot, run), [])
    return _section("Progress", tag("div", best, volume, curves, cls="pair")) if best or volume or curves else ""


def _insights(run: Run) -> str:
    found, why_not = importances(run)
    rows = [[_path(i.name), Cell(bars([i.share]), html=True, cls="bar"), Cell.number(percent(i.share, 0)), Cell.number(f"{i.drawn} of {i.of}")] for i in found if i.share >= 0.005]
    told = table(["opening", "", "share", "drawn in"], rows[:14], cls="bars") if found else tag("p", escape(f"Not computed: {why_not}."), cls="note")
    note = f"How differently the best trials (by {word(run.first.metric)}) draw an opening from all finished ones, as a share of 1 (PED-ANOVA). From so few trials a hint, no proof."
    left = tag("div", tag("h3", "What mattered"), tag("p", escape(note), cls="note") if found else "", told)
    best, which = good(run)
    if not best:
        return _section("What the search learnt", left)
    words = f"Blue: the {len(best)} networks {which}; grey: all {len(trained(run))} that were trained. The largest differences first."
    shares = _shares("layer", operator_shares(run)) + _shares("choice", choice_shares(run))
    right = tag("div", tag("h3", "What good networks have in common"), tag("p", escape(words), cls="note"), shares)
    return _section("What the search learnt", tag("div", left, right, cls="pair"))


def _shares(what: str, shares: Sequence[Share]) -> str:
    rows = [[_path(s.name), Cell(bars([s.good, s.all]), html=True, cls="bar"), Cell.number(percent(s.good, 0)), Cell.number(percent(s.all, 0))] for s in shares if s.lead][:8]
    return table([what, "", "of these", "of all"], rows, cls="bars") if rows else ""


def _account(run: Run) -> str:
    kinds = [k for k in KINDS if any(numbers[k] for _, numbers in counts(run))]
    trials = table(["trials", *(name for name, _ in counts(run))], [[KINDS[k], *(Cell.number(str(numbers[k])) for _, numbers in counts(run))] for k in kinds])
    times = table(["spent", ""], [[what, Cell.number(long)] for what, long in spent(run)])
    saved = table(["saved, estimated", "", ""], [[what, Cell.number(str(n)), Cell.number(clock(seconds))] for what, n, seconds in savings(run)])
    note = "Estimates take the mean time of a whole training of this run for a network that was not trained, and the missing epochs of one that was stopped."
    return _section("Spent and saved", tag("div", tag("div", trials), tag("div", times, saved, tag("p", escape(note), cls="note")), cls="pair"))


def _failures(run: Run) -> str:
    parts = []
    for words, groups in (("Failed trainings", failures(run)), ("Networks that could not be built", unbuildable(run))):
        if groups:
            parts.append(tag("h3", words) + table(["times", "message", "where"], [_failure(g) for g in groups]))
    return _section("Failures", *parts) if parts else ""


def _failure(group: Group) -> list[Cell | str]:
    message, who = group
    return [Cell.number(str(len(who))), Cell(message, cls="long"), Cell(", ".join(who[:4]) + (f" and {len(who) - 4} more" if len(who) > 4 else ""), cls="long")]


def _further(run: Run) -> str:
    commands = "".join(tag("p", escape(words)) + tag("pre", tag("code", escape(command)), tabindex="0") for words, command in go_on(run))
    told = run.manifest
    facts = {
        "data": f"{told['data']['spec']}, key {told.get('data_key')}",
        "seed": f"{told['seed']}" + (f"; final trainings with the seeds 0 to {len(run.best()['test_seeds']) - 1}" if run.best() else ""),  # type: ignore[index]
        "strategy": f"{told['strategy']}, evaluator {told['evaluator']}, early stopping {told['pruner']}",
        "recipe": ", ".join(f"{k} {v}" for k, v in told.get("recipe", {}).items()) or "default",
        "space": f"{run.folder / 'space.yaml'}, key {told.get('space')}",
        "versions": ", ".join(f"{k} {v}" for k, v in told.get("versions", {}).items()),
        "machine": ", ".join(f"{k} {v}" for k, v in told.get("machine", {}).items()),
        "commit": told.get("commit") or "not known",
    }
    listed = tag("dl", *(tag("dt", escape(k)) + tag("dd", escape(str(v))) for k, v in facts.items()))
    return _section("Going on", commands) + _section("Made with", listed)


# ---------------------------------------------------------------- pieces


def _text(words: str) -> str:
    return escape(tied(words))


def _path(words: str) -> Cell:
    """A path of a space, which may break after its dots."""
    return Cell(escape(words).replace(".", ".<wbr>"), html=True)


def _section(words: str, *children: str) -> str:
    return tag("section", tag("h2", escape(words)), *children)


def _figure(words: str, explained: str, plot: Callable[[float], str], legend: Sequence[tuple[str, str, str]]) -> str:
    """A plot with its caption and legend, drawn once for wide and once for narrow pages; nothing where there is nothing to plot."""
    wide, narrow = plot(WIDE), plot(NARROW)
    if not wide:
        return ""
    items = "".join(tag("li", tag("svg", mark(kind, 8.0, 8.0, says, cls, 4.0), width=16, height=16, aria_hidden="true"), escape(says)) for kind, cls, says in legend)
    caption = tag("figcaption", tag("b", escape(words)), ": ", escape(explained), tag("ul", items, cls="legend") if items else "")
    return tag("figure", caption, tag("div", wide, cls="plot wide"), tag("div", narrow, cls="plot narrow"))
