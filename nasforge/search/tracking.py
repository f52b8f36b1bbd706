"""The trackers of a running search: each in a thread of its own, so that none makes the search wait, and none that fails ends it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from nasforge.objectives.objective import validation
from nasforge.search.plan import Plan
from nasforge.search.records import COUNTED, Ledger, TrialRecord
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import replay
from nasforge.spaces.files import dump
from nasforge.spaces.space import Space
from nasforge.trackers import tracker
from nasforge.trackers.base import Followed, Outcome, Tracker, Training

PATIENCE_S = 60.0  # without anything done, after which a tracker is left at the end
HURRY_S = 10.0  # for everything, where the search was interrupted
Row = Mapping[str, float]
Rows = Sequence[Row]


def warn(text: str) -> None:
    """Say on stderr what went wrong, in one line; also where the search itself says nothing."""
    print(f"nasforge search: {text}", file=sys.stderr, flush=True)


class Follower:
    """One tracker and its thread. What it is asked is done in order; the first error is told, and then nothing is done any more."""

    def __init__(self, name: str, search: Followed) -> None:
        self.name, self.search, self.left = name, search, False
        self.taken = 0  # how much of what was asked is done
        self.known: set[str] = set()  # trainings that the tracker has in full
        self.last: dict[str, float] = {}  # the epoch that it has, of those that began in this session
        self.todo: SimpleQueue[Callable[[Tracker], None] | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self.thread.start()

    def ask(self, what: Callable[[Tracker], None]) -> None:
        if not self.left:
            self.todo.put(what)

    def _work(self) -> None:
        try:
            one = tracker(self.name, self.search)
            self.known = one.open()
            while (what := self.todo.get()) is not None:
                what(one)
                self.taken += 1
        except Exception as error:  # of a library, the network, the disk: whatever it is, the search goes on
            self.leave(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")

    def leave(self, why: str) -> None:
        if not self.left:
            self.left = True
            warn(f"--log {self.name}: {why}; the search goes on without it, the same command makes up for it")

    def close(self, whole: bool) -> None:
        """Wait until everything is done that was asked; where the search was interrupted, or nothing is done any more, no longer."""
        self.ask(lambda one: one.close(whole))
        self.todo.put(None)
        seconds = PATIENCE_S if whole else HURRY_S
        self.thread.join(seconds)
        taken = -1
        while whole and self.thread.is_alive() and taken != self.taken:
            taken = self.taken
            self.thread.join(seconds)
        if self.thread.is_alive():
            self.leave(f"does not take what it is told within {seconds:g} s")

    # ------------------------------------------------------------ what is asked of it, in its thread

    def begin(self, training: Training, rows: Rows, one: Tracker) -> None:
        """Take a training that begins, or goes on in this session."""
        if training.name not in self.last:
            self.known.discard(training.name)
            one.begin(training)
            self.last[training.name] = 0
        self.epochs(training.name, rows, one)

    def epochs(self, name: str, rows: Rows, one: Tracker) -> None:
        """Take those rows of a learning curve that it has not."""
        for place, row in enumerate(rows, 1):
            epoch = row.get("epoch", place)
            if epoch > self.last[name]:
                one.epoch(name, int(epoch), _values(row))
                self.last[name] = epoch

    def end(self, training: Training, rows: Rows, one: Tracker) -> None:
        self.begin(training, rows, one)
        one.end(training)
        del self.last[training.name]
        self.known.add(training.name)

    def make_up(self, name: str, made: Callable[[], tuple[Training, Rows]], one: Tracker) -> None:
        """Take a training that ended when nobody followed it."""
        if name not in self.known:
            self.end(*made(), one)


class Tracking:
    """What a search tells those who follow it; with no names, nobody."""

    def __init__(self, plan: Plan | None = None, folder: Path = Path(), run: str = "") -> None:
        names = () if plan is None else plan.log
        self.space = None if plan is None else Space(plan.space)
        self.told: set[str] = set()  # of trials that have ended
        settings = {} if plan is None else _settings(plan)
        self.followers = [Follower(name, Followed(run, folder.resolve(), settings)) for name in names]

    def _ask(self, what: str, *args: Any) -> None:
        for one in self.followers:
            one.ask(partial(getattr(one, what), *args))

    def begin(self, name: str, arch: Arch, rows: Rows = (), **more: Any) -> None:
        """Tell that a training begins, or goes on after these epochs; `more` as in `Training`."""
        if self.followers:
            self._ask("begin", Training(name, dump(dict(arch)), **more), list(rows))

    def epoch(self, name: str, row: Row) -> None:
        """Tell a row of a learning curve."""
        if self.followers:
            self._ask("epochs", name, [row])

    def end(self, name: str, arch: Arch, rows: Rows, **more: Any) -> None:
        """Tell how a training ended; `rows`: its whole learning curve."""
        self.told.add(name)
        if self.followers:
            self._ask("end", Training(name, dump(dict(arch)), **more), list(rows))

    def end_trial(self, phase: str, record: TrialRecord, arch: Arch) -> None:
        """Tell how a trial ended."""
        if self.followers:
            self.end(f"{phase}-{record.number}", arch, record.curve, **_described(record))

    def make_up(self, phase: str, ledger: Ledger) -> None:
        """Tell the trials that trackers have not been told: of an earlier session without them or that was killed, of other drivers."""
        for record in list(ledger.records.values()) if self.followers else ():
            name = f"{phase}-{record.number}"
            if name not in self.told and (record.kind in COUNTED or record.seconds):
                self.told.add(name)
                self._ask("make_up", name, partial(self._whole, name, record))

    def _whole(self, name: str, record: TrialRecord) -> tuple[Training, Rows]:
        assert self.space is not None
        arch, _ = self.space.draw(replay(record.choices))
        return Training(name, dump(dict(arch)), **_described(record)), record.curve

    def make_up_final(self, name: str, network: str, choices: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
        """Tell a final training that trackers may not have been told. stored: what a study has of it."""
        if self.followers:
            training = Training(name, dump(dict(stored["arch"])), network=network, choices=choices, **described_final(stored))
            self._ask("make_up", name, lambda: (training, stored["curve"]))

    def outcome(self, summary: Mapping[str, Any], ledger: Ledger) -> None:
        """Tell what came of the search."""
        if not self.followers:
            return
        wanted = dict.fromkeys([*(o.metric for o in ledger.objectives), *(limit.metric for limit in ledger.limits), "params", "macs"])
        front = [
            {"training": f"search-{r.number}", "key": r.key, **{name: r.metrics[name] for name in wanted if name in r.metrics}}
            for r in ledger.front()
        ]
        rows = [
            {**{k: row[k] for k in ("name", "role", "key", "params", "macs", "val", "test_mean", "test_std", "latency_ms")},
             **{f"test_{name}": value for name, value in row["tests"].items()}}
            for row in (*summary["finalists"], *summary["control_finalists"], *summary["baselines"])
        ]  # fmt: skip
        best = summary["best"] and summary["best"]["name"]
        for one in self.followers:
            one.ask(lambda it: it.outcome(Outcome(front, rows, best)))

    def close(self, whole: bool) -> None:
        """End it. whole: whether the search came to its end."""
        for one in self.followers:
            one.close(whole)


def described_final(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a final training, as a study has it, what a `Training` has."""
    kind = "failed" if stored["error"] else "finished"
    return {"kind": kind, "message": stored["error"] or "", **{name: stored[name] for name in ("metrics", "test", "seconds")}}


def _described(record: TrialRecord) -> dict[str, Any]:
    return {
        "choices": record.choices, "network": record.baseline or "", "kind": str(record.kind), "metrics": record.metrics,
        "seconds": record.seconds, "message": record.message,
    }  # fmt: skip


def _values(row: Row) -> dict[str, float]:
    """A row of a learning curve by names that say of which part a metric is: `val/...`, `train/loss`, `lr`."""
    val = validation(row)
    rest = {name: value for name, value in row.items() if name not in ("epoch", "val_loss", *val)}
    return {**{f"val/{name}": value for name, value in val.items()}, **rest, **({"train/loss": row["loss"]} if "val_loss" in row else {})}


def _settings(plan: Plan) -> dict[str, str]:
    """What stays the same of a search, in words."""
    found = {
        "space": plan.name, "data": plan.data.spec, "objectives": ",".join(map(str, plan.objectives)),
        "constraints": ",".join(map(str, plan.limits)), "strategy": plan.strategy, "evaluator": plan.evaluator,
        "scheduler": plan.scheduler, "seed": str(plan.seed),
    }  # fmt: skip
    return {name: text for name, text in found.items() if text}
