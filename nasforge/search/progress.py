"""The state of a search in a few numbers, for whoever watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OFTEN_S = 0.25  # a state is told no more often while trainings go on


@dataclass(frozen=True)
class Running:
    """A training that goes on: the epochs that it has run and will run at most, and the metric on val that it is judged by."""

    name: str
    epoch: int
    epochs: int
    score: Mapping[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """How much of it is done."""
        return min(1.0, self.epoch / max(1, self.epochs))


@dataclass(frozen=True)
class Ended:
    """A training that has just ended, and how."""

    name: str
    kind: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Status:
    """One moment of a phase: counts of trials, the objectives of the best so far on the first one, the size of the front.

    Attributes:
        steps: the phases of the whole search, in order.
        running: what is being trained. ended: what ended with this moment, None where nothing did.
        last: whether the phase is over.
        time: seconds that a search with a time limit has taken, and may take.
    """

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
    steps: Sequence[str] = ()
    running: Sequence[Running] = ()
    ended: Ended | None = None
    time: tuple[float, float] | None = None

    @property
    def share(self) -> float:
        """How much of the phase is done, or of the time."""
        if self.time is not None and self.phase != "finals":
            return min(1.0, self.time[0] / self.time[1])
        return (self.done + sum(one.share for one in self.running)) / max(1, self.total)

    @classmethod
    def from_ledger(cls, phase: str, ledger: Any, plan: Any, seconds_left: float | None, last: bool = False, **more: Any) -> Status:
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
            steps=steps_of(plan),
            **kinds,
            **more,
        )


def steps_of(plan: Any) -> tuple[str, ...]:
    """Return the phases of a search, in order."""
    return ("search", "control", "finals") if plan.controlled else ("search", "finals")


class Pace:
    """How fast work goes, from the first moment on at which some was done: before that, workers start."""

    def __init__(self) -> None:
        self.first: tuple[float, float] | None = None  # that moment, and how much was done

    def left_s(self, now: float, done: float, total: float) -> float | None:
        """Return the seconds that the rest takes where `done` of `total` is done now; None while that cannot be told."""
        if self.first is None and done > 0:
            self.first = now, done
        if self.first is None or done <= self.first[1]:
            return None
        return (now - self.first[0]) / (done - self.first[1]) * max(0.0, total - done)
