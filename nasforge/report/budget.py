"""What a run spent and saved, and what went wrong in it."""

from __future__ import annotations

from collections.abc import Iterable

from nasforge.report.format import clock, percent
from nasforge.report.run import Run
from nasforge.search.records import alike

LEAST_S = 0.1  # of seconds that are worth a line
Group = tuple[str, list[str]]  # a message, and whose it is

# ---------------------------------------------------------------- what went wrong


def failures(run: Run) -> list[Group]:
    """Return the messages of failed trials and trainings, alike ones together (numbers aside), the most frequent first."""
    said = [
        (f"{name} trial {r.number}", r.message)
        for name, ledger in run.ledgers.items()
        for r in ledger.records.values()
        if r.kind == "failed"
    ]
    names = {row["key"]: row["name"] for row in reversed(run.rows())}
    for key, results in run.finals.items():
        said += [(f"{names.get(key, key)} with seed {s}", r["error"]) for s, r in sorted(results.items()) if r["error"]]
    return _grouped(said)


def unbuildable(run: Run) -> list[Group]:
    """Return the reasons why drawn architectures could not be built at all, alike ones together."""
    return _grouped(
        (f"{name} trial {r.number}", r.message)
        for name, ledger in run.ledgers.items()
        for r in ledger.records.values()
        if r.kind == "infeasible" and r.message
    )


def _grouped(said: Iterable[tuple[str, str]]) -> list[Group]:
    groups: dict[str, Group] = {}
    for who, message in said:
        text = message or "no message"
        groups.setdefault(alike(text), (text, []))[1].append(who)
    return sorted(groups.values(), key=lambda g: -len(g[1]))


# ---------------------------------------------------------------- what it cost and saved


def savings(run: Run) -> list[tuple[str, int, float]]:
    """Return (what, how many, estimated seconds not spent) of duplicates, infeasible and pruned trials, control included; those that saved
    nothing are left out."""
    records = [r for ledger in run.ledgers.values() for r in ledger.records.values()]
    full = [r for r in records if r.kind == "finished" and r.seconds.get("training")]
    mean = sum(r.seconds["training"] for r in full) / len(full) if full else 0.0
    epochs = max((len(r.curve) for r in full), default=0)
    cut = [r for r in records if r.kind == "pruned" and r.curve]
    rest = sum(r.seconds.get("training", 0.0) / len(r.curve) * max(0, epochs - len(r.curve)) for r in cut)
    counts = {kind: sum(r.kind == kind for r in records) for kind in ("duplicate", "infeasible")}
    found = [
        ("duplicate{s} of a network already seen, not trained again", counts["duplicate"], counts["duplicate"] * mean),
        ("network{s} over a limit or impossible to build, not trained", counts["infeasible"], counts["infeasible"] * mean),
        ("training{s} stopped early", len(cut), rest),
    ]
    return [(what.format(s="" if n == 1 else "s"), n, seconds) for what, n, seconds in found if n and seconds >= LEAST_S]


def spent(run: Run) -> list[tuple[str, str]]:
    """Return (what, how long) of the time that the whole run took."""
    names = {
        "total": "wall time in all",
        "busy": "wall time with something training or measuring",
        "overhead": "wall time with neither (choosing, counting, writing)",
        "training": "workers training",
        "measuring": "workers measuring latency",
    }
    out = [(text, clock(run.seconds[name])) for name, text in names.items() if run.seconds.get(name)]
    if run.seconds.get("total"):
        out = [(t, f"{c} ({percent(run.seconds['overhead'] / run.seconds['total'])})" if "neither" in t else c) for t, c in out]
    return out


def counts(run: Run) -> list[tuple[str, dict[str, int]]]:
    """Return (search or control, trials of each kind)."""
    kinds = ("finished", "pruned", "failed", "duplicate", "infeasible", "interrupted")
    return [(name, {kind: ledger.count(kind) for kind in kinds}) for name, ledger in run.ledgers.items()]
