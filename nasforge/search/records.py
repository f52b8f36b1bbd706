"""What a study has seen: its trials as records, by canonical key, rebuilt from the storage alone.

Each trial carries one user attribute `record` with its key, kind, metrics, curve and seconds; a few of these stand beside it as
attributes of their own, for other readers of the study, and are never read here. Kinds: finished, pruned, failed (these
three are the asked trials), duplicate, infeasible (these cost nothing), interrupted (its driver died; it is asked again).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nasforge.errors import UserError
from nasforge.evaluation.base import numbers
from nasforge.objectives.metrics import metric_or_value
from nasforge.objectives.objective import Limit, Losses, Objective, epoch_losses, losses, with_limits
from nasforge.objectives.pareto import dominates
from nasforge.search.study import FrozenTrial, Study, Trial, end, ended, set_attributes
from nasforge.strategies.base import TrialKind
from nasforge.strategies.schedulers import Ended

COUNTED = (TrialKind.FINISHED, TrialKind.PRUNED, TrialKind.FAILED)


def alike(message: str) -> str:
    """Return what messages of one kind of failure have in common: all but the numbers."""
    return re.sub(r"\d+", "#", message)


@dataclass
class TrialRecord:
    """One trial in plain data."""

    number: int
    kind: TrialKind
    key: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    message: str = ""
    duplicate_of: int | None = None
    first: int | None = None  # its place in the order of asks, where trainings pause
    baseline: str | None = None
    choices: dict[str, Any] = field(default_factory=dict)


def _check(record: TrialRecord) -> None:
    """Raise TypeError for values that no record has; numbers that are none, as older versions stored them, are left out."""
    words, places = (record.key, record.message, record.baseline or ""), (record.duplicate_of or 0, record.first or 0)
    if not all(isinstance(word, str) for word in words) or not all(isinstance(place, int) for place in places):
        raise TypeError("a field has the wrong type")
    if not all(isinstance(values, dict) for values in (record.metrics, record.seconds, *record.curve)):
        raise TypeError("metrics, seconds and epochs must be mappings")
    record.metrics, record.seconds = numbers(record.metrics), numbers(record.seconds)
    record.curve = [numbers(row) for row in record.curve]


def _whole(name: str, value: float) -> float:
    """A count as a whole number."""
    return round(value) if metric_or_value(name).unit in ("count", "bytes") else value


class Ledger:
    """The records of a study, and what follows from them."""

    def __init__(self, study: Study, objectives: Sequence[Objective], limits: Sequence[Limit]) -> None:
        self.study, self.objectives, self.limits = study, list(objectives), list(limits)
        self.records: dict[int, TrialRecord] = {}
        self.by_key: dict[str, int] = {}
        self.too_large: list[TrialRecord] = []  # those that ran out of memory
        self._counts: Counter[str] = Counter()
        self._last = -1
        self._front: dict[int, Losses] = {}
        self._curves = Ended()
        self.begun = Ended()  # the same, and those that a driver adds of trials that have not ended
        self._unread: list[TrialRecord] = []  # trained, and not among the curves yet
        self._judged = with_limits(self.objectives, self.limits)
        for trial in ended(study):
            self._take(trial)

    def refresh(self) -> None:
        """Take in what other drivers have ended."""
        for trial in ended(self.study):
            if trial.number not in self.records:
                self._take(trial)

    def _take(self, trial: FrozenTrial) -> None:
        """Add what a storage holds of an ended trial. Raises UserError where that is no record."""
        stored = trial.user_attrs.get("record")
        if stored is None:  # its driver died between two lines of the journal
            stored = {"kind": TrialKind.INTERRUPTED}
        try:
            record = TrialRecord(number=trial.number, choices=dict(trial.params), **{**stored, "kind": TrialKind(stored["kind"])})
            _check(record)
            self._add(record)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
            raise UserError(
                f"trial {trial.number}: its record in the storage is damaged ({type(error).__name__}: {error}); "
                "restore the storage from a copy, or start anew with another --run"
            ) from None

    def _add(self, record: TrialRecord) -> None:
        self.records[record.number] = record
        self._counts[record.kind] += 1
        self._last = max(self._last, record.number)
        if "out_of_memory" in record.metrics:
            self.too_large.append(record)
        if record.curve and record.kind in (TrialKind.FINISHED, TrialKind.PRUNED):
            self._unread.append(record)
        if record.kind == TrialKind.FINISHED and self.feasible(record.metrics):
            self._join_front(record.number, losses(record.metrics, self.objectives))
        if record.key and record.kind not in (TrialKind.DUPLICATE, TrialKind.INTERRUPTED):
            self.by_key.setdefault(record.key, record.number)

    def count(self, *kinds: str) -> int:
        return sum(self._counts[kind] for kind in kinds)

    def repeats(self) -> int:
        """Return how many duplicates the last trials were, those not counted that are asked again or have not ended."""
        found = 0
        for number in range(self._last, -1, -1):
            kind = self.records[number].kind if number in self.records else TrialKind.INTERRUPTED
            if kind not in (TrialKind.DUPLICATE, TrialKind.INTERRUPTED):
                break
            found += kind == TrialKind.DUPLICATE
        return found

    def asked(self) -> int:
        """Return how many trials have ended, those not counted that are asked again."""
        return len(self.records) - self._counts[TrialKind.INTERRUPTED]

    def close(self, trial: Trial, record: TrialRecord) -> None:
        """Tell the study how a trial ended, and remember it."""
        record.metrics |= {o.metric: o.value(record.metrics) for o in self.objectives if o.factors and o.reads <= record.metrics.keys()}
        stored = {k: v for k, v in asdict(record).items() if k not in ("number", "choices") and v not in ({}, [], "", None)}
        for limit in self.limits:
            if limit.metric in record.metrics:
                trial.set_constraint(str(limit), limit.excess(record.metrics[limit.metric]))
        set_attributes(trial, {**self._beside(record), "record": stored})  # the record last: where it is, all are
        original = self.records.get(record.duplicate_of) if record.duplicate_of is not None else None
        kind = original.kind if original else record.kind
        values = [o.value((original or record).metrics) for o in self.objectives] if kind == TrialKind.FINISHED else None
        if not end(self.study, trial, kind, values):  # another driver took it over while this one stood still
            record.kind = TrialKind.INTERRUPTED
        self._add(record)

    def _beside(self, record: TrialRecord) -> dict[str, Any]:
        """What of a record other readers of the study, such as `optuna-dashboard`, show as columns."""
        wanted = dict.fromkeys([name for one in self._judged for name in sorted(one.reads)] + ["params", "macs"])
        told = {
            "kind": str(record.kind), **{name: _whole(name, record.metrics[name]) for name in wanted if name in record.metrics},
            "epochs": len(record.curve), "seconds": round(sum(record.seconds.values()), 3), "message": record.message,
            "duplicate_of": record.duplicate_of, "baseline": record.baseline,
        }  # fmt: skip
        return {name: value for name, value in told.items() if value not in ("", None, 0) or name in wanted}

    def feasible(self, metrics: dict[str, float]) -> bool:
        """Return whether no limit on a known metric is broken."""
        return all(limit.excess(metrics[limit.metric]) <= 0 for limit in self.limits if limit.metric in metrics)

    def finished(self) -> list[TrialRecord]:
        """Finished trials that keep all limits, in order."""
        return [r for _, r in sorted(self.records.items()) if r.kind == TrialKind.FINISHED and self.feasible(r.metrics)]

    def cut_off(self) -> list[TrialRecord]:
        """Return the trials that were stopped early and keep all limits, in order; their metrics are of the last epoch."""
        known = [r for _, r in sorted(self.records.items()) if r.kind == TrialKind.PRUNED and self.feasible(r.metrics)]
        return [r for r in known if all(o.metric in r.metrics for o in self.objectives)]

    def front(self) -> list[TrialRecord]:
        """Return the finished trials that no other dominates on val; of equal ones the first."""
        return [self.records[number] for number in sorted(self._front)]

    def _join_front(self, number: int, own: Losses) -> None:
        """Keep the front as trials end: to compare all with all at each end costs the square of their number."""
        for other, theirs in self._front.items():
            if dominates(theirs, own) or (theirs == own and other < number):
                return
        self._front = {n: p for n, p in self._front.items() if not dominates(own, p) and p != own} | {number: own}

    def curves(self) -> Ended:
        """Return the losses after each epoch of every trial that was trained, by its place in the order of asks or its number."""
        for record in self._unread:
            place = record.number if record.first is None else record.first
            self._curves[place] = self.begun[place] = [epoch_losses(row, record.metrics, self._judged) for row in record.curve]
        self._unread.clear()
        return self._curves
