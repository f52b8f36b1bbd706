"""A whole search: trials until the asked number, an equal-budget control, the finalists' retraining, the summary.

Every step is written to the storage as it ends, so that a killed search goes on where it stood.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from nasforge.arch import Arch
from nasforge.blocks import BLOCKS
from nasforge.errors import UserError
from nasforge.evaluate import Job, Result, data_of, recipe_of
from nasforge.locate import Misfit, locate
from nasforge.search.clock import Clock
from nasforge.search.finals import Finals
from nasforge.search.history import Brief
from nasforge.search.ledger import Ledger, Record
from nasforge.search.objectives import epoch_losses
from nasforge.search.plan import SUMMARY, Plan, write_manifest
from nasforge.search.pruners import PRUNERS
from nasforge.search.screen import Candidate, Screen
from nasforge.search.status import Status
from nasforge.search.storage import DriverLock, open_storage
from nasforge.search.strategies import strategy
from nasforge.space import Space

MOST_SLOW = 100  # networks in a row over a latency limit, before a search says so
Show = Callable[[Status], None]


class Runner(Protocol):
    """What carries jobs: see `nasforge.runners`."""

    def run(self, next_job: Any, on_epoch: Any, on_end: Any) -> None: ...

    def close(self) -> None: ...


def search(plan: Plan, run: Path, start_runner: Callable[[], Runner], show: Show) -> dict[str, Any]:
    """The summary of a search carried out in the folder `run`; an unfinished run there goes on.

    Raises UserError where the plan cannot be carried out, KeyboardInterrupt after writing down what was interrupted.
    """
    lock = DriverLock(run)
    try:
        storage = open_storage(run, plan.storage)
        run_id = write_manifest(plan, run, data_of(plan.data).key)
        prefix = "" if plan.storage is None else f"{run.resolve().name}-"
        clock = Clock()
        study = _study(storage, f"{prefix}search", plan, plan.strategy, run_id)
        done = study.user_attrs.get("summary")
        if done and done["asked"] >= plan.trials and done["settings"] == plan.final_settings():
            return done
        clock.carry(study.user_attrs.get("seconds", {}))
        runner = start_runner()
        try:
            return _run(plan, run, study, lambda: _study(storage, f"{prefix}control", plan, "random", run_id, 7919), runner, clock, show)
        finally:
            runner.close()
            study.set_user_attr("seconds", clock.totals())
    finally:
        lock.close()


def _run(
    plan: Plan, run: Path, study: optuna.Study, make_control: Callable[[], optuna.Study], runner: Runner, clock: Clock, show: Show
) -> dict[str, Any]:
    ledger = run_trials(plan, study, runner, clock, show, "search", _inside(plan))
    control = None
    if plan.control and plan.strategy != "random":
        control = run_trials(plan, make_control(), runner, clock, show, "control", {})
    finals = Finals(plan, run, ledger, control, runner, clock, show)
    summary = finals.summary()
    (run / SUMMARY).write_text(json.dumps(summary, indent=1), encoding="utf-8")
    study.set_user_attr("summary", summary)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    return summary


def _study(storage: Any, name: str, plan: Plan, strategy_name: str, run_id: str, other: int = 0) -> optuna.Study:
    """The study by its name, with its sampler. other: sets the random numbers of a second study of the run apart."""
    directions = [StudyDirection.MAXIMIZE if o.maximise else StudyDirection.MINIMIZE for o in plan.objectives]
    try:
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    except (ValueError, KeyError) as error:
        raise UserError(f"{name}: the storage has another study of that name ({error}); choose another --run") from None
    if study.user_attrs.get("run", run_id) != run_id:
        raise UserError(f"--storage: holds a study {name!r} of another run folder; rename this folder, or choose another storage")
    if "run" not in study.user_attrs:
        study.set_user_attr("run", run_id)
    study.sampler = strategy(strategy_name, Brief(Space(plan.space), plan.seed + other, plan.trials, plan.objectives, plan.limits))
    return study


def _inside(plan: Plan) -> dict[str, dict[str, Any]]:
    """The baselines that are points of the space, as choices."""
    space, out = Space(plan.space), {}
    for name, arch in plan.baselines.items():
        try:
            out[name] = locate(arch, space, BLOCKS)
        except Misfit:
            continue
    return out


def run_trials(
    plan: Plan, study: optuna.Study, runner: Runner, clock: Clock, show: Show, phase: str, seeds: Mapping[str, dict[str, Any]]
) -> Ledger:
    """The ledger of a study after the asked number of trials."""
    _ask_again(study)
    if seeds and not study.user_attrs.get("seeded"):
        for name, choices in seeds.items():
            study.enqueue_trial(choices, user_attrs={"baseline": name}, skip_if_exists=True)
        study.set_user_attr("seeded", sorted(seeds))
    trials = _Trials(plan, Ledger(study, plan.objectives, plan.limits), clock, show, phase)
    try:
        runner.run(trials.next_job, trials.on_epoch, trials.on_end)
    except KeyboardInterrupt:
        trials.interrupt()
        raise
    trials.show(force=True)
    return trials.ledger


def _ask_again(study: optuna.Study) -> None:
    """Close the trials that a dead driver left running, and put their choices first in the queue."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        record = trial.user_attrs.get("record")
        if record is None:  # without a record: interrupted
            _enqueue_again(study, trial)
        study.tell(trial.number, state=TrialState.FAIL)


def _enqueue_again(study: optuna.Study, trial: Any) -> None:
    """Queue the choices of a trial, and that it is a baseline, again."""
    choices = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if choices:
        study.enqueue_trial(choices, user_attrs={k: v for k, v in trial.user_attrs.items() if k == "baseline"})


class _Trials:
    """The trials of one study while a runner works on them."""

    def __init__(self, plan: Plan, ledger: Ledger, clock: Clock, show: Show, phase: str) -> None:
        self.plan, self.ledger, self.clock, self.phase = plan, ledger, clock, phase
        self.screen = Screen(Space(plan.space), ledger)
        self.running: dict[int, Candidate] = {}
        self.curves: dict[int, list[dict[str, float]]] = {}
        self.epochs: dict[int, int] = {}
        self.prune = PRUNERS[plan.pruner]
        self.exhausted = False
        self.fastest = math.inf
        self.slow = 0  # networks in a row that were measured too slow
        self.began = time.monotonic()
        self.had = self._done()
        self._show = show

    def _done(self) -> int:
        return self.ledger.count("finished", "pruned", "failed")

    def next_job(self) -> tuple[int, Job] | None:
        while not self.exhausted and self._done() + len(self.running) < self.plan.trials:
            candidate = None if self.slow >= MOST_SLOW else self.screen.next()
            if candidate is None:
                self.exhausted = True
                break
            number = candidate.trial.number
            job = self._job(candidate.arch)
            try:
                self.epochs[number] = recipe_of(job, data_of(job.data)).epochs
            except UserError as error:  # a recipe that the space opens may be wrong at some values
                self.screen.running.pop(candidate.key, None)
                self.ledger.close(candidate.trial, Record(number, "failed", candidate.key, candidate.metrics, message=str(error)))
                continue
            self.running[number] = candidate
            self.curves[number] = []
            self.clock.started(number)
            return number, job
        if self.slow >= MOST_SLOW and not self._done() and not self.running:
            limits = ", ".join(str(limit) for limit in self.plan.limits if limit.metric == "latency_ms")
            raise UserError(
                f"constraints: {self.slow} networks in a row broke {limits}; the fastest took {self.fastest:.3g} ms; relax the limit"
            )
        return None

    def _job(self, arch: Arch) -> Job:
        wanted = [limit for limit in self.plan.limits if limit.metric == "latency_ms" and limit.upper]
        latency = bool(wanted) or any(o.metric == "latency_ms" for o in self.plan.objectives)
        return Job(
            arch, self.plan.data, self.plan.seed, recipe=self.plan.recipe, device=self.plan.device, latency=latency,
            latency_limit_ms=min((limit.bound for limit in wanted), default=None),
        )  # fmt: skip

    def on_epoch(self, number: int, row: dict[str, float]) -> bool:
        candidate = self.running[number]
        self.curves[number].append(row)
        if candidate.baseline:
            return False
        own = [epoch_losses(r, candidate.metrics, self.plan.objectives) for r in self.curves[number]]
        return self.prune(list(self.ledger.curves()), own, self.epochs[number])

    def on_end(self, number: int, result: Result) -> None:
        candidate = self.running.pop(number)
        self.screen.running.pop(candidate.key, None)
        self.clock.ended(number, result.seconds)
        self.slow = self.slow + 1 if result.stopped == "too slow" else 0
        self.fastest = min(self.fastest, result.metrics.get("latency_ms", math.inf))
        record = Record(
            number, _kind(result), candidate.key, {**candidate.metrics, **result.metrics}, result.curve, result.seconds,
            result.error or "", baseline=candidate.baseline, choices=dict(candidate.trial.params),
        )  # fmt: skip
        self.ledger.close(candidate.trial, record)
        self.ledger.study.set_user_attr("seconds", self.clock.totals())
        self.show()

    def interrupt(self) -> None:
        """Write down that the running trials were cut off; they are asked again when the run goes on."""
        for number, candidate in self.running.items():
            frozen = self.ledger.study.get_trials(deepcopy=False)[number]
            _enqueue_again(self.ledger.study, frozen)
            self.ledger.close(candidate.trial, Record(number, "interrupted", candidate.key))

    def show(self, force: bool = False) -> None:
        done = self._done()
        spent = time.monotonic() - self.began
        left = spent / max(1, done - self.had) * (self.plan.trials - done) if done > self.had else None
        self._show(Status.of(self.phase, self.ledger, self.plan, left, force))


def _kind(result: Result) -> str:
    if result.error:
        return "failed"
    if result.stopped == "too slow":
        return "infeasible"
    return "pruned" if result.stopped == "pruned" else "finished"
