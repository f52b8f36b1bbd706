"""How a search got better with its trials: the best value so far, and the share of the seen box its front covers."""

from __future__ import annotations

import math

from nasforge.objectives.objective import scaled
from nasforge.objectives.pareto import Front, hypervolume
from nasforge.report.run import Run
from nasforge.search.records import COUNTED, Ledger, TrialRecord


def counted(ledger: Ledger) -> list[TrialRecord]:
    """Return the trials that count against the asked number, in the order in which they were asked."""
    return [r for _, r in sorted(ledger.records.items()) if r.kind in COUNTED]


def best_so_far(run: Run, ledger: Ledger) -> list[tuple[int, float]]:
    """Return (trials done, best value of the main objective among networks that keep all limits), from the first on."""
    better = max if run.first.maximize else min
    out: list[tuple[int, float]] = []
    for done, record in enumerate(counted(ledger), 1):
        if record.kind == "finished" and ledger.feasible(record.metrics):
            value = record.metrics[run.first.metric]
            out.append((done, better(out[-1][1], value) if out else value))
        elif out:
            out.append((done, out[-1][1]))
    return out


def volume_so_far(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Return for search and control (trials done, share of the box from the worst to the best seen that the front covers)."""
    points = {name: {r.number: scaled(r.metrics, run.objectives) for r in ledger.finished()} for name, ledger in run.ledgers.items()}
    everything = [p for some in points.values() for p in some.values()]
    if len(run.objectives) < 2 or not everything:
        return {}
    worst = [max(side) for side in zip(*everything, strict=True)]
    box = math.prod(w - min(side) for w, side in zip(worst, zip(*everything, strict=True), strict=True))
    if box <= 0:
        return {}
    out: dict[str, list[tuple[int, float]]] = {}
    for name, ledger in run.ledgers.items():
        front, share = Front(), 0.0
        out[name] = []
        for done, record in enumerate(counted(ledger), 1):
            point = points[name].get(record.number)
            if point is not None and front.join(point):
                share = hypervolume(front.points, worst) / box
            out[name].append((done, share))
    return out
