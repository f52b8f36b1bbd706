"""The trials of one study while a runner works on them: what to train next, when to stop or pause it, how it ended."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from nasforge.errors import UserError
from nasforge.evaluation.base import Job, Report, Result, Stop, numbers, unfit
from nasforge.evaluation.train import recipe_of
from nasforge.latency import check_conditions, read_profile
from nasforge.objectives.objective import epoch_losses, told, validation, with_limits
from nasforge.search.context import RunContext
from nasforge.search.plan import Plan
from nasforge.search.progress import OFTEN_S, Ended, Pace, Running, Status
from nasforge.search.records import COUNTED, Ledger, TrialRecord, alike
from nasforge.search.screening import HERE, Candidate, Predict, Screen, arch_key
from nasforge.search.study import FrozenTrial, waiting
from nasforge.spaces.choosers import replay
from nasforge.spaces.space import Space
from nasforge.strategies.base import TrialKind
from nasforge.strategies.schedulers import FIDELITIES, Decision, InTraining, rank, scheduler_of, share
from nasforge.train import Recipe
from nasforge.train.checkpoint import read_checkpoint

MOST_ALIKE = 5  # failures in a row for one reason, with nothing finished, before a search ends with it
MOST_SLOW = 100  # networks in a row over a latency limit, before a search says so
OTHERS_S = 0.5  # between two looks at what other drivers do
MOST_LOST = 2  # times that a trial is taken again after its worker died, unless it came further in between


@dataclass
class Work:
    """One trial between its ask and its end."""

    candidate: Candidate
    recipe: Recipe  # in full fidelity
    steps: Sequence[int]  # the epochs at its rungs
    curve: list[dict[str, float]] = field(default_factory=list)
    lost: int = 0  # times that its worker died while it came no further
    lost_at: int = 0  # epochs after which it did
    seconds: dict[str, float] = field(default_factory=dict)
    unfit: str | None = None  # why its last report is none

    @cached_property  # a look into a trial of Optuna copies all of it
    def place(self) -> int:
        """Its place in the order of asks, which it keeps, and with it its bracket, when it is asked again."""
        return int(self.candidate.trial.user_attrs.get("first", self.candidate.trial.number))


class TrialDriver:
    """The trials of one study: hands jobs to a runner and takes its results; everything that must survive is in the study at once."""

    def __init__(self, run: RunContext, ledger: Ledger, phase: str) -> None:
        self.run, self.plan, self.ledger, self.phase, self.drivers = run, run.plan, ledger, phase, run.drivers
        claim = lambda trial, key: self.drivers.claim(trial, key, self.plan.trials)  # noqa: E731
        self.screen = Screen(Space(self.plan.space), ledger, run.folder, claim, predictors(self.plan))
        self.scheduler = scheduler_of(self.plan.scheduler)
        self.judged = with_limits(self.plan.objectives, self.plan.limits)
        self.running: dict[int, Work] = {}
        self.paused: dict[int, Work] = {}
        self.waiting: dict[int, InTraining] = {}  # the paused ones, as a scheduler sees them
        self.again: dict[int, Work] = {}  # their worker died
        self.grown: list[Work] = []  # since a scheduler was asked which of the paused to promote
        self.left = sum("curve" in trial.user_attrs for trial in waiting(ledger.study))
        self.exhausted = False
        self.reached = any(self._reaches(record) for record in ledger.records.values())
        self.failures: list[str] = []  # of one kind in a row, in this session
        self.slow = 0  # networks in a row that were measured too slow
        self.pace, self.shown = Pace(), -math.inf  # when the state was told
        self.had = self._done()

    # ------------------------------------------------------------ what is next

    def next_job(self) -> tuple[int, Job] | None:
        """Return the next job; None where there is none for now, and for good when nothing runs."""
        self._take_up_paused()
        number = next(iter(self.again), None)
        if number is not None:
            return self._start(number, self.again.pop(number))
        number = self._promoted(drain=False)
        if number is None and (new := self._new()) is not None:
            return self._start(new.candidate.trial.number, new)
        if number is None:
            number = self._promoted(drain=True)
        if number is not None:
            return self._start(number, self.paused.pop(number))
        if not self.running:
            self._close_paused()
        if self.slow >= MOST_SLOW and not self._done() and not self.running:
            limits = ", ".join(str(limit) for limit in self.plan.limits if limit.metric == "latency_ms")
            raise UserError(
                f"constraints: {self.slow} networks in a row broke {limits}; "
                f"the nearest seen: {self.screen.nearest_seen()}; relax the limit"
            )
        return None

    def _take_up_paused(self) -> None:
        """Ask again for the trials that were paused when a driver died: they wait for their promotion as before."""
        for _ in range(self.left):
            work = self._new()
            if work is not None:
                (self.paused if work.curve else self.again)[work.candidate.trial.number] = work
                self.grown.append(work)
        self.left = 0

    def _new(self) -> Work | None:
        """A new trial; None where there is no more to ask."""
        self._look_around()
        while not self._ended() and self._open() < self.plan.trials:
            candidate = None if self.slow >= MOST_SLOW else self.screen.next()
            if candidate is None:
                self.exhausted = not self.screen.enough
                break
            try:
                recipe = recipe_of(self._job(candidate), self.run.data, self.run.task)
            except UserError as error:  # a recipe that the space opens may be wrong at some values
                self.screen.running.pop(candidate.key, None)
                record = TrialRecord(candidate.trial.number, TrialKind.FAILED, candidate.key, candidate.metrics, message=str(error))
                self.ledger.close(candidate.trial, record)
                self.run.tracking.end_trial(self.phase, record, candidate.arch)
                self._check_failures(record)
                continue
            if self.scheduler.pauses and "first" not in candidate.trial.user_attrs:
                candidate.trial.set_user_attr("first", candidate.trial.number - self.ledger.count(TrialKind.INTERRUPTED))
            steps = [] if candidate.baseline else FIDELITIES[self.plan.fidelity](recipe.epochs)
            return Work(candidate, recipe, steps, list(candidate.trial.user_attrs.get("curve", [])))
        return None

    def _ended(self) -> bool:
        """Whether no more trials are begun: the space has no more, the time is over for more than one, or what was wanted is reached."""
        return self.exhausted or self.reached or (self.run.clock.over(self.phase) and self._open() > 0)

    def _open(self) -> int:
        """How many trials have ended or are on their way."""
        return self._done() + len(self.running) + len(self.paused) + self.drivers.others(self.ledger.study)

    def _look_around(self) -> None:
        """Take over the trials of drivers that died, and take in what others have ended."""
        if self.drivers.shared:
            self.exhausted &= not self.drivers.take_over(self.ledger.study, ask_again, self._epochs_of)  # there is something to ask again
            self.ledger.refresh()
            self.run.tracking.make_up(self.phase, self.ledger)

    def _epochs_of(self, trial: FrozenTrial) -> int:
        return epochs_of(self.run, self.phase, trial)

    def waits(self) -> bool:
        """Return whether other drivers still work on trials: the study may need this one again."""
        self._look_around()
        if not self.drivers.shared or (not self.drivers.others(self.ledger.study) and (self._ended() or self._open() >= self.plan.trials)):
            return False
        time.sleep(OTHERS_S)
        return True

    def _promoted(self, drain: bool) -> int | None:
        if not self.paused or self.run.clock.over(self.phase):
            return None
        self.ledger.curves()
        curves = self.ledger.begun
        for work in self.grown:
            curves[work.place] = self._losses(work)
        self.grown.clear()
        for number in self.paused.keys() - self.waiting.keys():
            self.waiting[number] = self._in_training(self.paused[number])
        found = self.scheduler.promote(curves, list(self.waiting.values()), drain)
        return next((number for number, trial in self.waiting.items() if trial.place == found), None)

    def _in_training(self, work: Work) -> InTraining:
        return InTraining(work.place, self._losses(work), work.steps, work.recipe.epochs)

    def _start(self, number: int, work: Work) -> tuple[int, Job]:
        self.running[number] = work
        self.waiting.pop(number, None)
        if work.curve and self.scheduler.pauses:
            work.candidate.trial.set_user_attr("promoted", len(work.curve))
        self.run.timing.started(number)
        known, choices = work.candidate.metrics, dict(work.candidate.trial.params)
        self.run.tracking.begin(f"{self.phase}-{number}", work.candidate.arch, work.curve, choices=choices, metrics=known)
        self._show_often()
        return number, self._job(work.candidate, fidelity_of(self.plan.fidelity, work.recipe, len(work.curve), work.steps))

    def _job(self, candidate: Candidate, fidelity: Mapping[str, float] | None = None) -> Job:
        wanted = [limit for limit in self.plan.limits if limit.metric == "latency_ms" and limit.upper]
        latency = bool(wanted) or any("latency_ms" in o.reads for o in self.plan.objectives)
        return Job(
            candidate.arch, self.plan.seed, recipe={**self.plan.recipe, **self.run.monitor, **self.time, **(fidelity or {})},
            usual=self.run.usual.get("short", {}), latency=latency, runtime=self.plan.runtime,
            latency_limit_ms=min((limit.bound for limit in wanted), default=None),
            checkpoint=str(self._checkpoint(candidate)),
            choices=dict(candidate.trial.params), **self._family(candidate),
        )  # fmt: skip

    @cached_property
    def time(self) -> dict[str, float]:
        """How long a training may take, where there is a limit: the same again when the search was interrupted."""
        study = self.ledger.study
        minutes = study.user_attrs.get("trial_minutes") or self.run.clock.trial_minutes(self.run.workers)
        if minutes is None:
            return {}
        study.set_user_attr("trial_minutes", minutes)
        return {"minutes": minutes}

    def _family(self, candidate: Candidate) -> dict[str, Any]:
        """Where the weights go, and those of the nearest network that was trained: the one with the most choices alike."""
        if not self.plan.inherit:
            return {}
        own, best, parent = dict(candidate.trial.params), 0, None
        for record in self.ledger.records.values():
            alike = sum(record.choices.get(k) == v for k, v in own.items()) if record.kind in (TrialKind.FINISHED, TrialKind.PRUNED) else 0
            if alike > best:
                best, parent = alike, record.key
        out = {"weights": str(self._weights(candidate.key)), "inherit": self.plan.inherit}
        return out if parent is None else {**out, "parent": str(self._weights(parent))}

    def _weights(self, key: str) -> Path:
        return self.run.folder / "weights" / f"{self.phase}-{key}.safetensors"

    def _checkpoint(self, candidate: Candidate) -> Path:
        return self.run.folder / "checkpoints" / f"{self.phase}-{candidate.key}.pt"

    # ------------------------------------------------------------ what comes of it

    def on_report(self, number: int, report: Report) -> Decision:
        """Return how a training goes on after an epoch."""
        work = self.running[number]
        if report.epoch <= len(work.curve):  # reported again after a restart from a checkpoint
            return Decision.CONTINUE
        work.unfit = unfit({**work.candidate.metrics, **told(report.row)}, self.judged)
        if work.unfit:
            return Decision.STOP
        work.curve.append({**numbers(report.row), "epoch": report.epoch})
        self.run.tracking.epoch(f"{self.phase}-{number}", work.curve[-1])
        self._show_often()
        if self.scheduler.pauses:
            self.grown.append(work)
        if self.run.clock.over(self.phase):
            return Decision.STOP
        if work.candidate.baseline:
            return Decision.CONTINUE
        return self.scheduler.on_report(self.ledger.curves(), self._in_training(work))

    def last_epoch(self, number: int) -> int:
        """Return after how many epochs a training ends by itself."""
        return self.running[number].recipe.epochs

    def loss(self, number: int, report: Report) -> float:
        """Return one number for those who compare trainings after an epoch, smaller is better: of several objectives how many dominate."""
        own = epoch_losses(dict(report.row), self.running[number].candidate.metrics, self.judged)
        if len(own) == 1:
            return own[0]
        curves = [*self.ledger.curves().values(), *(self._losses(work) for n, work in self.running.items() if n != number)]
        return float(rank(own, [curve[report.epoch - 1] for curve in curves if len(curve) >= report.epoch]))

    def on_end(self, number: int, result: Result) -> None:
        """Write down how a job ended."""
        if self.run.watch is not None:
            self.run.watch.check(now=False)
        work = self.running.pop(number)
        before = work.seconds.get("training", 0.0)  # a result counts the seconds before a pause too
        self.run.timing.ended(number, {k: v - (before if k == "training" else 0.0) for k, v in result.seconds.items()})
        work.seconds |= result.seconds
        self.ledger.study.set_user_attr("seconds", self.run.timing.totals())
        if result.stopped is Stop.LOST and len(work.curve) > work.lost_at:  # it had come further since
            work.lost, work.lost_at = 0, len(work.curve)
        if result.stopped is Stop.LOST and work.lost < MOST_LOST:
            work.lost += 1
            self.again[number] = work
        elif result.stopped is Stop.PAUSED:
            work.candidate.trial.set_user_attr("curve", work.curve)
            work.candidate.metrics.update(result.metrics)
            self.paused[number] = work
        else:
            self.show(ended=self._end(number, work, result))
            return
        self.show()

    def _end(self, number: int, work: Work, result: Result) -> Ended:
        candidate = work.candidate
        self.screen.running.pop(candidate.key, None)
        self.grown = [other for other in self.grown if other is not work]  # the ledger has its curve now
        result.error = result.error or work.unfit
        if result.error is None and result.stopped in (None, Stop.EARLY):
            known = {**candidate.metrics, **result.metrics}
            result.error = unfit(known, [o for o in self.judged if o in self.plan.objectives or o.metric in known])
        result.metrics, result.curve = numbers(result.metrics), [numbers(row) for row in result.curve]
        self.slow = self.slow + 1 if result.stopped is Stop.TOO_SLOW else 0
        self.screen.note(result.metrics, candidate.arch)
        if result.stopped is Stop.OUT_OF_MEMORY:
            result.metrics["out_of_memory"] = 1.0
        record = TrialRecord(
            number, _kind(result), candidate.key, {**candidate.metrics, **result.metrics}, result.curve or work.curve,
            {**work.seconds, **result.seconds}, result.error or "", baseline=candidate.baseline, choices=dict(candidate.trial.params),
            first=candidate.trial.user_attrs.get("first"),
        )  # fmt: skip
        self.ledger.close(candidate.trial, record)
        self.run.tracking.end_trial(self.phase, record, candidate.arch)
        if record.kind not in (TrialKind.FINISHED, TrialKind.PRUNED) and work.place in self.ledger.begun:
            del self.ledger.begun[work.place]
        self._check_failures(record)
        self.reached |= self._reaches(record)
        self._checkpoint(candidate).unlink(missing_ok=True)
        metrics = {name: record.metrics[name] for o in self.judged for name in sorted(o.reads) if name in record.metrics}
        return Ended(_named(number), str(record.kind), metrics, len(record.curve), sum(record.seconds.values()), record.message)

    def _check_failures(self, record: TrialRecord) -> None:
        """Raise UserError where so many trials failed in a row for one reason, and nothing has finished: the others would too."""
        same = record.kind == TrialKind.FAILED and (not self.failures or alike(self.failures[0]) == alike(record.message))
        self.failures = [*self.failures, record.message] if same else [record.message] if record.kind == TrialKind.FAILED else []
        if len(self.failures) >= MOST_ALIKE and self.phase == "search" and not self.ledger.count(TrialKind.FINISHED, TrialKind.PRUNED):
            raise UserError(f"{self.run.folder}: {len(self.failures)} trials in a row failed alike and none has finished: {record.message}")

    def _reaches(self, record: TrialRecord) -> bool:
        """Whether a trial is what the search was to go on until."""
        wanted = self.plan.until
        return bool(wanted) and record.kind == TrialKind.FINISHED and all(
            limit.metric in record.metrics and limit.excess(record.metrics[limit.metric]) <= 0 for limit in wanted
        )  # fmt: skip

    def _close_paused(self) -> None:
        """End the trials that were never promoted."""
        for number, work in sorted(self.paused.items()):
            self._end(number, work, Result(told(work.curve[-1]), curve=work.curve, stopped=Stop.PRUNED))
        self.paused.clear()
        self.waiting.clear()

    def interrupt(self) -> None:
        """Write down that the open trials were cut off; they are asked again when the run goes on."""
        for number, work in {**self.paused, **self.running, **self.again}.items():  # a running one is judged among the paused
            ask_again(self.ledger.study, self.ledger.study.get_trials(deepcopy=False)[number])
            self.ledger.close(work.candidate.trial, TrialRecord(number, TrialKind.INTERRUPTED, work.candidate.key))

    # ------------------------------------------------------------ the state in numbers

    def _losses(self, work: Work) -> list[tuple[float, ...]]:
        return [epoch_losses(row, work.candidate.metrics, self.judged) for row in work.curve]

    def _done(self) -> int:
        return self.ledger.count(*COUNTED)

    def _show_often(self) -> None:
        """Tell the state while trainings go on, no more often than somebody can read it: it is worked out anew each time."""
        if time.monotonic() - self.shown >= OFTEN_S:
            self.show()

    def show(self, last: bool = False, ended: Ended | None = None) -> None:
        self.shown = time.monotonic()
        running = [Running(_named(n), len(w.curve), w.recipe.epochs, self._score(w)) for n, w in sorted(self.running.items())]
        done = self._done() - self.had + sum(one.share for one in running)
        left = self.pace.left_s(self.shown, done, self.plan.trials - self.had)
        if self.plan.minutes is not None:
            left = max(0.0, self.run.clock.left_s(self.phase))
        more = {"running": running, "ended": ended, "time": self.run.clock.told()}
        self.run.show(Status.from_ledger(self.phase, self.ledger, self.plan, left, last, **more))

    def _score(self, work: Work) -> dict[str, float]:
        """The metric by which a training is judged after its last epoch."""
        found = validation(work.curve[-1]) if work.curve else {}
        return {self.run.metric.name: found[self.run.metric.name]} if self.run.metric.name in found else {}


def _named(number: int) -> str:
    return f"trial {number}"


def fidelity_of(fidelity: str, recipe: Recipe, epochs: int, steps: Sequence[int]) -> dict[str, float]:
    """Return what a recipe has less of below the last rung, besides epochs, for a training that goes on after so many epochs."""
    part = share(epochs, steps)
    if fidelity == "data":
        return {"data_fraction": part * recipe.data_fraction}
    return {"resolution": math.sqrt(part) * recipe.resolution} if fidelity == "resolution" else {}


def predictors(plan: Plan) -> dict[str, Predict]:
    """Return what predicts latency by the profiles of a plan. Raises UserError for a profile of this machine under other conditions."""
    out: dict[str, Predict] = {}
    for name, path in plan.profiles.items():
        profile = read_profile(path)
        if name == HERE:
            check_conditions(profile, runtime=plan.runtime, device=plan.device, batch=1, precision="float32")
        out[name] = profile.predictor
    return out


def epochs_of(run: RunContext, phase: str, trial: FrozenTrial) -> int:
    """Return the epochs after which a trial that was cut off goes on: those of its checkpoint, or of its pause."""
    paused = len(trial.user_attrs.get("curve", ()))
    try:
        arch, _ = Space(run.plan.space).draw(replay(trial.params))
        state = read_checkpoint(run.folder / "checkpoints" / f"{phase}-{arch_key(arch)}.pt", {}, torch.device("cpu"))
    except UserError:  # it had not been asked for all choices, or half a file
        return paused
    return max(paused, 0 if state is None else len(state.get("curve", ())))


def ask_again(study: Any, trial: Any, marks: Mapping[str, int] | None = None) -> None:
    """Queue the choices of a trial again, with what it was and how far it came, and with marks of this."""
    choices = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    kept: dict[str, Any] = {k: v for k, v in trial.user_attrs.items() if k in ("baseline", "curve", "first", "deaths", "reached")}
    kept |= marks or {}
    if choices:
        study.enqueue_trial(choices, user_attrs=dict(kept))


def _kind(result: Result) -> TrialKind:
    if result.stopped in (Stop.TOO_SLOW, Stop.OUT_OF_MEMORY):
        return TrialKind.INFEASIBLE
    if result.error:
        return TrialKind.FAILED
    return TrialKind.PRUNED if result.stopped is Stop.PRUNED else TrialKind.FINISHED
