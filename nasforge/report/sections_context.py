"""Sections of the page with what lies behind: what was learnt, spent and saved, what failed, how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nasforge.report.budget import counts, failures, savings, spent, unbuildable
from nasforge.report.format import clock, percent, word
from nasforge.report.html import Cell, paragraph, section, table
from nasforge.report.insights import Share, choice_shares, good, importances, operator_shares, trained
from nasforge.report.next_steps import go_on
from nasforge.report.run import Run
from nasforge.report.svg import tag

KINDS = {
    "finished": "trained to the end",
    "pruned": "stopped early",
    "failed": "failed",
    "duplicate": "duplicates, not trained",
    "infeasible": "over a limit or impossible, not trained",
    "interrupted": "cut off with the search, asked again",
}
MOST_ROWS = 12  # rows of a table of domains
OPEN = 2  # commands that are shown at once; others are folded


def insights(run: Run) -> str:
    """Return which domains mattered, and what good networks have in common; nothing where too few trials tell it."""
    parts = [part for part in (_mattered(run), _common(run)) if part]
    return section("What the search learnt", tag("div", *parts, cls="pair") if len(parts) > 1 else parts[0]) if parts else ""


def _mattered(run: Run) -> str:
    found, _ = importances(run)
    if not found:
        return ""
    note = (
        f"How differently the best trials (by {word(run.first.metric)}) draw a domain from all finished ones, as a "
        f"share of 1 (PED-ANOVA). From {found[0].finished} trials: a hint, no proof."
    )
    rows = [
        [Cell.path(i.name), Cell.bars(i.share), Cell.number(percent(i.share, 0)), Cell.number(f"{i.drawn} of {i.finished}")]
        for i in found
        if i.share >= 0.005
    ]
    drawn = table(["domain", "", "share", "drawn in"], rows[:MOST_ROWS], cls="bars")
    return tag("div", tag("h3", "What mattered"), paragraph(note, "note"), drawn)


def _common(run: Run) -> str:
    best, which = good(run)
    if not best:
        return ""
    words = f"Blue: the {len(best)} networks {which}; grey: all {len(trained(run))} that were trained."
    tables = _shares("layer", operator_shares(run)) + _shares("choice", choice_shares(run))
    if not tables:
        return ""
    return tag(
        "div",
        tag("h3", "What good networks have in common"),
        paragraph(f"{words} The largest differences first.", "note"),
        tables,
    )


def _shares(what: str, shares: Sequence[Share]) -> str:
    rows = [
        [Cell.path(s.name), Cell.bars(s.good, s.all), Cell.number(percent(s.good, 0)), Cell.number(percent(s.all, 0))]
        for s in shares
        if s.lead
    ]
    return table([what, "", "of these", "of all"], rows[:8], cls="bars") if rows else ""


def account(run: Run) -> str:
    """Return trials by kind, time spent and saved."""
    numbers = counts(run)
    kinds = [k for k in KINDS if any(count[k] for _, count in numbers)]
    rows: list[list[Cell | str]] = [[KINDS[k], *(Cell.number(count[k]) for _, count in numbers)] for k in kinds]
    trials = table(["trials", *(name for name, _ in numbers)], rows)
    times = table(["spent", ""], [[what, Cell.number(long)] for what, long in spent(run)])
    rows = [[what, Cell.number(n), Cell.number(clock(seconds))] for what, n, seconds in savings(run)]
    note = (
        "Estimated: the mean time of a whole training of this run for a network that was not trained, the missing "
        "epochs for one that was stopped."
    )
    saved = table(["saved, about", "", ""], rows) + paragraph(note, "note") if rows else ""
    right = tag("div", times, saved)
    return section("Spent and saved", tag("div", tag("div", trials), right, cls="pair"))


def failed(run: Run) -> str:
    """Return messages of failed trials, alike ones together; nothing where none failed."""
    parts = []
    for words, groups in (("Failed trainings", failures(run)), ("Networks that could not be built", unbuildable(run))):
        rows: list[list[Cell | str]] = []
        for message, who in groups:
            where = ", ".join(who[:4]) + (f" and {len(who) - 4} more" if len(who) > 4 else "")
            rows.append([Cell.number(len(who)), Cell(message, "long"), Cell(where, "long")])
        if rows:
            parts.append(tag("h3", words) + table(["times", "message", "where"], rows))
    return section("Failures", *parts) if parts else ""


def going_on(run: Run) -> str:
    """Return commands to go on with, the first of them open."""
    parts = [paragraph(words) + tag("pre", tag("code", escape(line)), tabindex="0") for words, line in go_on(run)]
    folded = tag("details", tag("summary", "More commands"), *parts[OPEN:]) if len(parts) > OPEN else ""
    return section("What to do next", *parts[:OPEN], folded)


def made_with(run: Run) -> str:
    """Return the manifest in a list."""
    told, best = run.manifest, run.best()
    finals = f"; final trainings with the seeds 0 to {len(best['test_seeds']) - 1}" if best and best["test_seeds"] else ""
    facts = {
        "data": f"{told['data']['spec']}, key {told.get('data_key')}",
        "seed": f"{told['seed']}{finals}",
        "strategy": f"{told['strategy']}, evaluator {told['evaluator']}, early stopping {told['pruner']}",
        "recipe": _listed(told.get("recipe")) or "default",
        "space": f"{run.folder / 'space.yaml'}, key {told.get('space')}",
        "versions": _listed(told.get("versions")),
        "machine": _listed(told.get("machine")),
        "commit": told.get("commit") or "not known",
        **({"plugins": _listed(told["plugins"])} if told.get("plugins") else {}),
    }
    return section("Made with", tag("dl", *(tag("dt", escape(k)) + tag("dd", escape(str(v))) for k, v in facts.items())))


def _listed(values: dict[str, object] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (values or {}).items())
