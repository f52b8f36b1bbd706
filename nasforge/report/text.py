"""The report in plain words for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from nasforge.report.answers import told
from nasforge.report.budget import counts, failures, savings, spent
from nasforge.report.format import clock, on_test, percent, score, tied, value, word
from nasforge.report.insights import good, importances, operator_shares
from nasforge.report.next_steps import go_on
from nasforge.report.run import Run, collect
from nasforge.report.verdict import title, verdict

WIDTH = 110


def words(run: Run | Path, storage: str | None = None) -> str:
    """Return the whole report in some 30 lines of text."""
    found = run if isinstance(run, Run) else collect(run, storage)
    said = "\n".join([_wrap(title(found)), *(_wrap(f"- {s}", "  ") for s in verdict(found))])
    further = "\n".join(f"{what}:\n  {command}" for what, command in go_on(found)[:4])
    parts = [said, _networks(found), _learnt(found), _account(found), _failed(found), further]
    return "\n\n".join(part for part in parts if part)


def _networks(run: Run) -> str:
    rows, best = run.rows(), run.best()
    if not rows:
        front = sorted(run.search.front(), key=lambda r: r.metrics[run.first.metric], reverse=run.first.maximize)[:6]
        cells = [[f"trial {r.number}", *(value(o.metric, r.metrics[o.metric]) for o in run.objectives)] for r in front]
        return _table(["front so far", *(word(o.metric) for o in run.objectives)], cells) if cells else ""
    latency = ["latency_ms"] * any(r["latency_ms"] is not None for r in rows)
    costs = ["params", "macs", *latency]
    cells = []
    for r in rows:
        mark = "winner" if best is not None and r["name"] == best["name"] else "; ".join(f"breaks {x}" for x in r["refused"])
        scores = [value(r["metric"], r["val"]), on_test(r)]
        cells.append([r["name"], *(value(c, r[c]) for c in costs), *scores, mark])
    parts = [_table(["network", *map(word, costs), "val", "test", ""], cells)]
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
    lines += [f"saved about {clock(seconds)}: {n} {what}" for what, n, seconds in savings(run) if n]
    return "\n".join(lines)


def _failed(run: Run) -> str:
    groups = failures(run)
    lines = [
        _wrap(f"{len(who)} x {message} ({', '.join(who[:3])}{', ...' if len(who) > 3 else ''})", "    ") for message, who in groups[:5]
    ]
    return "\n".join(["failed:", *(f"  {line}" for line in lines)]) if lines else ""


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(tied(text), WIDTH, subsequent_indent=indent, break_on_hyphens=False).replace("\u00a0", " ")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, all but the first and last to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    last = len(head) - 1 if head[-1] == "" else len(head)
    return "\n".join(
        "  ".join(c.ljust(w) if i in (0, last) else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in (head, *rows)
    )
