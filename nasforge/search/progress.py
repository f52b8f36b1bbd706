"""The state of a search in a few numbers, for whoever watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Status:
    """One moment of a phase: counts of trials, the objectives of the best so far on the first one, the size of the front."""

    phase: str
    done: int
    total: int
    finished: int = 0
    pruned: int = 0
    failed: int = 0
    duplicates: int = 0
    infeasible: int = 0
    best: Mapping[str, float] = field(default_factory=dict)
    front: int = 0
    seconds_left: float | None = None
    last: bool = False

    @classmethod
    def from_ledger(cls, phase: str, ledger: Any, plan: Any, seconds_left: float | None, last: bool = False) -> Status:
        """Return the status of a study."""
        front = ledger.front()
        first = plan.objectives[0]
        best = (max if first.maximize else min)(front, key=lambda r: r.metrics[first.metric], default=None)
        kinds = {k: ledger.count(k) for k in ("finished", "pruned", "failed", "infeasible")}
        done = kinds["finished"] + kinds["pruned"] + kinds["failed"]
        return cls(
            phase,
            done,
            plan.trials if plan.minutes is None else done,
            duplicates=ledger.count("duplicate"),
            best={} if best is None else {o.metric: best.metrics[o.metric] for o in plan.objectives},
            front=len(front),
            seconds_left=seconds_left,
            last=last,
            **kinds,
        )
