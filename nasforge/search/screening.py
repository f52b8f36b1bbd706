"""Asking a study for the next architecture worth training: built on paper, not seen before, within its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from nasforge.blocks import BLOCKS
from nasforge.errors import UserError
from nasforge.latency import Prediction
from nasforge.networks.build import key
from nasforge.networks.cost import Cost, count
from nasforge.search.records import Ledger, TrialRecord
from nasforge.search.study import Trial, waiting
from nasforge.spaces.arch import Arch, digest
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.domains import Scalar
from nasforge.spaces.files import write
from nasforge.spaces.space import Choices, Space
from nasforge.storage.drivers import ENOUGH
from nasforge.strategies.base import TrialKind
from nasforge.strategies.optuna import trial_chooser

MOST_MISSES = 2000  # draws in a row that give nothing new and feasible, before a search says that there is nothing left
STUCK = 40  # of these, duplicates in a row before random draws
SAME_AGAIN = 300  # of these, duplicates in a row
MOST_DRAWN = 1000  # points of a space in which those that were not asked are looked for
Row = tuple[tuple[str, Scalar], ...]
Predict = Callable[[Arch], Prediction]
HERE = ""  # the name of this machine's profile

Claim = Callable[[Trial, str], int | None]  # who else trains that function; ENOUGH, or None for nobody


@dataclass(frozen=True)
class Candidate:
    """An architecture to train, its trial, and what is known of it on paper."""

    trial: Trial
    arch: Arch
    key: str
    metrics: dict[str, float]
    baseline: str | None = None


def costs(cost: Cost) -> dict[str, float]:
    """Return the metrics that are known before training."""
    return {name: float(getattr(cost, name)) for name in ("params", "macs", "weight_bytes", "peak_bytes")}


def arch_key(arch: Arch) -> str:
    """Return the key of an architecture together with the recipe that it brings."""
    recipe = arch.get("recipe")
    return key(arch) + (f"-{digest(recipe)[:6]}" if recipe else "")


def _row(choices: Choices) -> Row:
    return tuple(sorted(choices.items(), key=lambda item: item[0]))


class Screen:
    """Asks a study until an architecture is new and feasible; what is not costs no training and is written down."""

    def __init__(
        self, space: Space, ledger: Ledger, folder: Path, claim: Claim = lambda trial, key: None,
        predict: Mapping[str, Predict] | None = None,
    ) -> None:  # fmt: skip
        """folder: that of the run. predict: latencies by the profiles of devices; `HERE` is this machine."""
        self.space, self.ledger, self.folder, self.claim, self.predict = space, ledger, folder, claim, predict or {}
        self.enough = False  # other drivers have taken what was left to ask
        self.running: dict[str, int] = {}
        self.size = space.size()
        self.asked: set[Row] = set()  # sets of choices that need not be asked again
        self.read = 0  # records of the ledger that are among them
        self.nearest: dict[str, tuple[float, Arch]] = {}  # to each limit that was broken
        self.trouble = ""  # why the last one could not be built
        self.memory = any(limit.metric == "activation_bytes" for limit in ledger.limits) or any(
            "activation_bytes" in o.reads for o in ledger.objectives
        )

    def next(self) -> Candidate | None:
        """Return the next candidate; None where the space seems exhausted. Raises UserError where nothing in it is feasible."""
        repeats, asked, self.enough = self.ledger.repeats(), 0, False  # a run that goes on counts on
        while asked < MOST_MISSES and not self._all_asked():
            asked += 1
            candidate, record = self._ask()
            if candidate is not None:
                self.running[candidate.key] = candidate.trial.number
                return candidate
            if self.enough:
                return None
            repeats = repeats + 1 if record is not None and record.kind == TrialKind.DUPLICATE else 0
            if repeats >= STUCK and not self._all_asked():  # the strategy goes round in circles: a random draw instead
                self.ledger.study.enqueue_trial(self._unasked(Random(f"{repeats}/{self.ledger.asked()}")))
            if repeats >= SAME_AGAIN:
                break
        if not self.ledger.count(TrialKind.FINISHED, TrialKind.PRUNED, TrialKind.FAILED) and not self.running:
            limits = ", ".join(map(str, self.ledger.limits))
            raise UserError(
                f"constraints: none of the {len(self.asked)} architectures drawn keeps {limits or 'its own shapes'}; "
                f"the nearest seen: {self.nearest_seen() or self.trouble or 'none'}; relax the limit or widen the space"
            )
        return None

    def _all_asked(self) -> bool:
        """Whether every point of the space has been asked, and nothing is queued."""
        for record in islice(self.ledger.records.values(), self.read, None):
            if record.kind != TrialKind.INTERRUPTED and record.choices:
                self.asked.add(_row(record.choices))
        self.read = len(self.ledger.records)
        return len(self.asked) >= self.size and not waiting(self.ledger.study)

    def _unasked(self, rng: Random) -> Choices:
        """Random choices, of a small space such as have not been asked."""
        choices: Choices = {}
        for _ in range(MOST_DRAWN if self.size <= MOST_DRAWN else 1):
            _, choices = self.space.draw(random_chooser(rng))
            if _row(choices) not in self.asked:
                break
        return choices

    def _ask(self) -> tuple[Candidate | None, TrialRecord | None]:
        trial = self.ledger.study.ask()
        arch, choices = self.space.draw(trial_chooser(trial))
        self.asked.add(_row(choices))
        record = TrialRecord(trial.number, TrialKind.INFEASIBLE, baseline=trial.user_attrs.get("baseline"))
        try:
            check_arch(arch, BLOCKS)
            record.metrics, record.key = self._costs(arch), arch_key(arch)
        except UserError as error:
            record.message = self.trouble = str(error)
            self.ledger.close(trial, record)
            return None, record
        seen = self.ledger.by_key.get(record.key, self.running.get(record.key))
        if seen is not None:
            original = self.ledger.records.get(seen)
            record.kind, record.duplicate_of = TrialKind.DUPLICATE, seen
            record.metrics = dict(original.metrics) if original else {}
            self.ledger.close(trial, record)
            return None, record
        if not self.ledger.feasible(record.metrics) or self._too_large(record) or self._too_slow(record, arch):
            self.note(record.metrics, arch)
            self.ledger.close(trial, record)
            return None, record
        other = self.claim(trial, record.key)
        if other is None:
            return Candidate(trial, arch, record.key, record.metrics, record.baseline), None
        self.enough = other == ENOUGH
        record.kind, record.duplicate_of = (TrialKind.INTERRUPTED, None) if self.enough else (TrialKind.DUPLICATE, other)
        self.ledger.close(trial, record)
        return None, record

    def _too_large(self, record: TrialRecord) -> bool:
        """Whether a network that is nowhere larger has run out of memory: its size is the limit from then on."""
        for other in self.ledger.too_large:
            if all(other.metrics[n] <= record.metrics[n] for n in ("weight_bytes", "peak_bytes")):
                record.message = f"trial {other.number}, which is no larger, ran out of memory"
                return True
        return False

    def _too_slow(self, record: TrialRecord, arch: Arch) -> bool:
        """Whether this machine's profile is sure that a limit on latency is broken: its whole interval lies above."""
        if HERE not in self.predict:
            return False
        found = self.predict[HERE](arch)
        record.metrics["predicted_latency_ms"] = found.ms
        for limit in self.ledger.limits:
            if limit.metric == "latency_ms" and limit.upper and found.low_ms > limit.bound:
                record.message = f"{limit}: predicted {found.ms:.3g} ms, at least {found.low_ms:.3g}"
                self.note({"latency_ms": found.ms}, arch)
                return True
        return False

    def _costs(self, arch: Arch) -> dict[str, float]:
        cost = count(arch)
        out = costs(cost)
        if self.memory:
            out["activation_bytes"] = float(cost.activation_bytes)
        for name, predict in self.predict.items():
            if name != HERE:  # a limit is to hold on the device: the upper end of the interval counts
                out[f"latency_ms@{name}"] = predict(arch).high_ms
        return out

    def note(self, metrics: Mapping[str, float], arch: Arch) -> None:
        """Remember the network that came nearest to each limit."""
        for limit in self.ledger.limits:
            value, known = metrics.get(limit.metric), self.nearest.get(limit.metric)
            if value is not None and (known is None or limit.excess(value) < limit.excess(known[0])):
                self.nearest[limit.metric] = value, arch

    def nearest_seen(self) -> str:
        """Return the networks that came nearest to the limits, in words; each is written into the folder of the run."""
        found = [(name, value, write(arch, self.folder / f"nearest_{name}.yaml")) for name, (value, arch) in self.nearest.items()]
        return ", ".join(f"{name} {value:.3g} ({path})" for name, value, path in found)
