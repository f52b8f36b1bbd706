"""The report in plain words for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasforge.report.answers import told
from nasforge.report.budget import counts, failures, savings, spent
from nasforge.report.columns import amount, asked_for, shown
from nasforge.report.format import clock, on_test, percent, score, tied, value, word
from nasforge.report.insights import good, importances, operator_shares
from nasforge.report.next_steps import go_on
from nasforge.report.noise import as_good, final_recipe
from nasforge.report.run import Run, collect
from nasforge.report.verdict import title, verdict
from nasforge.terminal import aligned, folded, width_of_terminal


def words(run: Run | Path, storage: str | None = None) -> str:
    """Return the whole report in some 30 lines of text."""
    found = run if isinstance(run, Run) else collect(run, storage)
    said = "\n".join([_wrap(title(found)), *(_wrap(f"- {s}", "  ") for s in verdict(found))])
    further = "\n".join(f"{what}:\n  {command}" for what, command in _commands(found))
    parts = [said, _networks(found), _learnt(found), _account(found), _failed(found), further]
    return "\n\n".join(part for part in parts if part)


def _commands(run: Run) -> list[tuple[str, str]]:
    """The commands of a run but for the one that does it all again."""
    return go_on(run)[:-1]


def _networks(run: Run) -> str:
    rows, best = run.rows(), run.best()
    if not rows:
        front = sorted(run.search.front(), key=lambda r: r.metrics[run.first.metric], reverse=run.first.maximize)[:6]
        names = asked_for(run)
        cells = [[f"trial {r.number}", *(value(n, r.metrics.get(n)) for n in names)] for r in front]
        return _table(["front so far", *map(word, names)], cells) if cells else ""
    costs, small = shown(run, run.score), as_good(run)
    cells = []
    for r in rows:
        mark = "winner" if best is not None and r["name"] == best["name"] else "; ".join(f"breaks {x}" for x in r["refused"])
        if small is not None and r["name"] == small.row["name"]:
            mark = "as good within the noise"
        scores = [value(r["metric"], r["search_val"]), value(r["metric"], r["val"]), on_test(r)]
        cells.append([r["name"], *(value(c, amount(run, r, c)) for c in costs), *scores, mark])
    parts = [_table(["network", *map(word, costs), "val in search", "val", "test", ""], cells)]
    if recipe := final_recipe(run):
        parts.append(_wrap(f"final trainings differ from those of the search: {recipe}", "  "))
    tests = (best or {}).get("tests") or {}
    others = ", ".join(score(name, tests[name]) for name in run.also_on_test() if name in tests)
    if best and others:
        parts.append(_wrap(f"{best['name']} also on test: {others}", "  "))
    return "\n".join([*parts, *(_wrap(line, "  ") for line in told(run))])


def _learnt(run: Run) -> str:
    found, _ = importances(run)
    shares_of = ", ".join(f"{i.name} {percent(i.share, 0)}" for i in found[:5])
    lines = [_wrap(f"what mattered for {word(run.first.metric)}: {shares_of}", "  ")] if found else []
    shares, (best, which) = [s for s in operator_shares(run) if abs(s.lead) >= 0.1][:4], good(run)
    if shares:
        have = ", ".join(f"{s.name} {percent(s.good, 0)} ({percent(s.all, 0)})" for s in shares)
        lines.append(_wrap(f"of the {len(best)} networks {which} (of all trained) have: {have}", "  "))
    return "\n".join(lines)


def _account(run: Run) -> str:
    lines = []
    for name, numbers in counts(run):
        lines.append(f"{name}: " + ", ".join(f"{n} {kind}" for kind, n in numbers.items() if n or kind in ("finished", "duplicate")))
    lines.append(_wrap("spent: " + ", ".join(f"{long} {what}" for what, long in spent(run)), "  "))
    lines += [f"saved about {clock(seconds)}: {n} {what}" for what, n, seconds in savings(run)]
    return "\n".join(lines)


def _failed(run: Run) -> str:
    groups = failures(run)
    lines = [
        _wrap(f"{len(who)} x {message} ({', '.join(who[:3])}{', ...' if len(who) > 3 else ''})", "    ") for message, who in groups[:5]
    ]
    return "\n".join(["failed:", *(f"  {line}" for line in lines)]) if lines else ""


def _wrap(text: str, indent: str = "") -> str:
    return folded(tied(text), indent).replace("\u00a0", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, all but the first and last to the right."""
    last = len(head) - 1 if head[-1] == "" else len(head)
    return aligned(head, rows, [i not in (0, last) for i in range(len(head))], width=width_of_terminal())
