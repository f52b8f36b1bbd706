"""A whole search: trials until the asked number, an equal-budget control, the finalists' retraining, the summary.

Every step is written to the storage as it ends, so that a killed search goes on where it stood.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nasforge.blocks import BLOCKS
from nasforge.data import Dataset
from nasforge.errors import UserError
from nasforge.evaluation.zero_cost import zero_cost
from nasforge.files import write_whole
from nasforge.networks.build import key
from nasforge.runners.base import Driver, Runner
from nasforge.search.clock import Clock, in_minutes
from nasforge.search.context import DataWatch, RunContext, Show, usual_recipes
from nasforge.search.driver import TrialDriver, ask_again, epochs_of, predictors
from nasforge.search.finals import Finals
from nasforge.search.plan import (
    MANIFEST,
    SUMMARY,
    Plan,
    check_owner,
    moved,
    note_study,
    other_versions,
    shared_identity,
    write_manifest,
)
from nasforge.search.prior import seen_before
from nasforge.search.progress import steps_of
from nasforge.search.records import COUNTED, Ledger
from nasforge.search.study import Study, directions, load, name_objectives, owner_of, prefix_of
from nasforge.search.timing import Timing
from nasforge.search.tracking import Tracking
from nasforge.search.within import check_within
from nasforge.spaces.choosers import replay
from nasforge.spaces.domains import Scalar
from nasforge.spaces.locate import Misfit, locate
from nasforge.spaces.space import Space
from nasforge.storage.drivers import Drivers
from nasforge.storage.lock import DriverLock
from nasforge.storage.open import JOURNAL, open_storage
from nasforge.strategies.base import Problem, Scores, TrialKind
from nasforge.strategies.registry import sampler
from nasforge.tasks import Task, task_of
from nasforge.train import default_recipe

LEFT = (SUMMARY, "finalists", "weights")  # by what one sees that a run of an older version has begun
MOST_SCORED = 8000  # networks whose zero-cost scores are remembered
CONTROL_SEED = 7919  # added to the seed of the control: it must not draw what the search draws


def search(
    plan: Plan, folder: Path, start_runner: Callable[[], Runner], show: Show, workers: int = 1, began: float | None = None,
    say: Callable[[str], None] = lambda note: None,
) -> dict[str, Any]:  # fmt: skip
    """Carry out a search in a folder and return its summary; an unfinished run there is continued.

    Args:
        workers: jobs that the runner evaluates at once.
        began: when the command did, by `time.monotonic`: its minutes count from there.
        say: takes a note for the user.

    Raises:
        UserError: the plan cannot be carried out.
        KeyboardInterrupt: after writing down what was interrupted, and a summary of what there is.
    """
    it = _opened(plan, folder, say)
    plan, study, data, task, drivers = it.plan, it.study, it.data, it.task, it.drivers
    try:
        if not drivers.owns:
            log = f"; --log {','.join(plan.log)}: its trackers are told all trials" if plan.log else ""
            say(f"{folder}: joins the study {study.study_name!r}, which run {drivers.owner} began{log}")
        done = study.user_attrs.get("summary")
        if done and done["settings"] == plan.final_settings() and (plan.minutes is not None or done["asked"] >= plan.trials):
            done = moved(done, folder)
            if drivers.owns:
                control = Ledger(it.named("control", "random", CONTROL_SEED), plan.objectives, plan.limits) if plan.controlled else None
                tracking = Tracking(plan, folder, it.id)
                run = RunContext(plan, folder, data, task, Nothing(), Timing(began), drivers, show, usual=it.usual, tracking=tracking)
                finals = Finals(run, Ledger(study, plan.objectives, plan.limits), control)
                finals.restore(done)
                finals.tell_again(done)
                tracking.close(whole=True)
            return done
        timing = Timing(began)
        timing.carry(study.user_attrs.get("seconds", {}))
        clock = Clock(plan.minutes, timing, plan.controlled, timing.before["total"] if done else 0.0)
        if done and plan.minutes is not None:
            until = ", ".join(f"{phase} until {in_minutes(clock.until_s(phase))}" for phase in steps_of(plan))
            say(f"{folder}: goes on after {in_minutes(clock.since)} of an ended search: {until} of {plan.minutes:g} minutes in all")
        runner, whole = start_runner(), False
        tracking = Tracking(plan, folder, it.id) if drivers.owns else Tracking()
        try:
            run = RunContext(plan, folder, data, task, runner, timing, drivers, show, clock, workers, it.watch, it.usual, tracking)
            ledger = run_trials(run, study, "search", _inside(plan) if drivers.owns else {})
            control = None
            if plan.controlled:
                control = run_trials(run, it.named("control", "random", CONTROL_SEED), "control", {})
            if not drivers.owns:  # the driver that made the study trains the finalists
                return {"run": str(folder), "joined": study.study_name, **{str(kind): ledger.count(kind) for kind in COUNTED}}
            summary = Finals(run, ledger, control).summary()
            it.watch.check()
            tracking.outcome(summary, ledger)
            write_whole(folder / SUMMARY, json.dumps(summary, indent=1))
            study.set_user_attr("summary", summary)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            whole = True
            return summary
        except KeyboardInterrupt:
            if drivers.owns and not done:
                (folder / SUMMARY).write_text(json.dumps(_so_far(plan, folder, study), indent=1), encoding="utf-8")
            raise
        finally:
            runner.close()
            if drivers.owns:
                study.set_user_attr("seconds", timing.totals())
            drivers.close()
            tracking.close(whole)
    finally:
        it.lock.close()


def taken_up(plan: Plan, folder: Path) -> tuple[TrialDriver, Callable[[], None]]:
    """Return the driver of the trials of a run, new or begun before, for others to carry its jobs; and what closes it.

    Trials that ran when the run was left are asked again first. No control and no finals are made.

    Raises:
        UserError: as `search`.
    """
    it = _opened(plan, folder, lambda note: None)
    try:
        plan, study, timing = it.plan, it.study, Timing(None)
        timing.carry(study.user_attrs.get("seconds", {}))
        clock, silent = Clock(plan.minutes, timing, plan.controlled), lambda status: None
        run = RunContext(plan, folder, it.data, it.task, Nothing(), timing, it.drivers, silent, clock, 1, it.watch, it.usual)
        it.drivers.take_over(study, ask_again, lambda trial: epochs_of(run, "search", trial), first=True)
        driver = TrialDriver(run, Ledger(study, plan.objectives, plan.limits), "search")
    except BaseException:
        it.lock.close()
        raise

    def close() -> None:
        study.set_user_attr("seconds", timing.totals())
        it.drivers.close()
        it.lock.close()

    return driver, close


@dataclass(frozen=True)
class _Opened:
    """A run in a folder that is locked, with its plan as it began, its study, and others of it by name and strategy."""

    plan: Plan
    id: str
    data: Dataset
    task: Task
    watch: DataWatch
    lock: DriverLock
    drivers: Drivers
    usual: Mapping[str, Any]
    study: Study
    named: Callable[..., Study]


def _opened(plan: Plan, folder: Path, say: Callable[[str], None]) -> _Opened:
    """Open a run, new or begun before. Raise UserError where the plan cannot be carried out in it; nothing is left locked then."""
    watch = DataWatch(plan)
    data, task = watch.data, task_of(watch.data.spec, watch.data.name)
    if not (folder / MANIFEST).exists():
        check_within(plan, data, predictors(plan))
    lock = DriverLock(folder, needed=plan.storage is None)
    try:
        storage = open_storage(folder, plan.storage)
        manifest, prefix = _begun(plan, folder, storage, data, say)
        begun = replace(plan, measures=bool(manifest.get("measures")))
        drivers = Drivers(storage, manifest["id"])

        def named(name: str, strategy: str, other: int = 0) -> Study:
            return _study(storage, f"{prefix}{name}", begun, data.key, strategy, drivers, other)

        study = named("search", plan.strategy)
        if "study" not in manifest:
            note_study(folder, manifest, prefix, drivers.owner)
        return _Opened(begun, manifest["id"], data, task, watch, lock, drivers, usual_recipes(manifest, task, data), study, named)
    except BaseException:
        lock.close()
        raise


def _begun(plan: Plan, folder: Path, storage: Any, data: Dataset, say: Callable[[str], None]) -> tuple[dict[str, Any], str]:
    """The manifest of the run, old or new, and what the names of its studies begin with.

    Raises UserError where the storage is not the one that the run began in: a study would be begun again, or another one gone on with.
    """
    old = (folder / MANIFEST).exists()
    if not old and plan.storage is None and load(storage, "search") is not None:
        raise UserError(
            f"{folder / MANIFEST}: is missing, and {JOURNAL} beside it holds a search; restore it from a copy, or start anew with "
            "another --run"
        )
    task = task_of(data.spec, data.name)
    recipes = {name: default_recipe(task, data, full=name == "full").to_dict() for name in ("short", "full")}
    manifest = write_manifest(plan, folder, data.key, data.spec, recipes)
    prefix = prefix_of(storage, manifest, folder.resolve().name, plan.storage is not None)
    study = load(storage, f"{prefix}search")
    if old and study is None and ("study" in manifest or any((folder / name).exists() for name in LEFT)):
        place, name = folder / JOURNAL if plan.storage is None else "--storage", f"{prefix}search"
        raise UserError(
            f"{place}: holds no study {name!r}, and the run in {folder} ({manifest['id']}) has begun; restore it from a copy, give the "
            "storage in which it began, or start anew with another --run"
        )
    if study is not None:
        check_owner(study, manifest, folder)
        if plan.storage is None and owner_of(study) not in (None, manifest["id"]):
            raise UserError(f"{folder / JOURNAL}: is of run {owner_of(study)}, the folder of {manifest['id']}; restore it from a copy")
    if old and (changed := other_versions(manifest)):
        say(f"{folder}: {changed}")
    return manifest, prefix


class Nothing:
    """The runner of a search in which nothing is left to evaluate."""

    def run(self, driver: Driver) -> None:
        raise AssertionError("nothing is left to evaluate")

    def close(self) -> None:
        pass


def _so_far(plan: Plan, folder: Path, study: Study) -> dict[str, Any]:
    """The summary of a search that was interrupted: no winner yet, the trials that had ended and those of them that no other dominates."""
    ledger = Ledger(study, plan.objectives, plan.limits)
    return {
        "run": str(folder),
        "unfinished": True,
        "asked": plan.trials if plan.minutes is None else sum(ledger.count(kind) for kind in COUNTED),
        **{str(kind): ledger.count(kind) for kind in (*COUNTED, TrialKind.INFEASIBLE, TrialKind.INTERRUPTED)},
        "minutes": plan.minutes,
        "objectives": [str(o) for o in plan.objectives],
        "constraints": [str(limit) for limit in plan.limits],
        "best": None,
        "front": [{"number": r.number, "key": r.key, **r.metrics} for r in ledger.front()],
    }


def _study(storage: Any, name: str, plan: Plan, data_key: str, strategy: str, drivers: Drivers, other: int) -> Study:
    """The study by its name, with its sampler. other: sets the random numbers of a second study of the run apart."""
    try:
        study = drivers.study(storage, name, directions(plan.objectives), {**shared_identity(plan), "data_key": data_key})
    except UserError:
        raise
    except (ValueError, KeyError) as error:
        raise UserError(f"{name}: the storage has another study of that name ({error}); choose another --run") from None
    if drivers.owns:
        name_objectives(study, plan.objectives)
    study.sampler = sampler_of(plan, strategy, other)
    return study


def sampler_of(plan: Plan, strategy: str, other: int) -> Any:
    """Return the sampler of a strategy for a plan; `other` as in `_study`."""
    prior = seen_before(plan.prior, plan.space, plan.objectives) if not other else []
    problem = Problem(Space(plan.space), plan.seed + other, plan.expected, plan.objectives, plan.limits, prior, measures=plan.measures)
    if plan.scores and not other:
        problem = replace(problem, scores=_zero_cost(plan, problem))
    return sampler(strategy, problem)


def _zero_cost(plan: Plan, problem: Problem) -> Scores:
    """The zero-cost scores that a plan asks for, worked out once for networks that compute the same.

    None of a network that breaks a limit on paper: it may be too large to be built.
    """
    data, known = plan.load(), dict[str, Mapping[str, float]]()

    def scores(choices: Mapping[str, Scalar]) -> Mapping[str, float]:
        arch, _ = problem.space.draw(replay(choices))
        name = key(arch)
        if name not in known:
            if len(known) >= MOST_SCORED:
                del known[next(iter(known))]
            known[name] = zero_cost(arch, data, plan.seed, plan.scores) if problem.keeps(choices) else {}
        return known[name]

    return scores


def _inside(plan: Plan) -> dict[str, dict[str, Any]]:
    """The baselines that are points of the space, as choices."""
    space, out = Space(plan.space), {}
    for name, arch in plan.baselines.items():
        try:
            out[name] = locate(arch, space, BLOCKS)
        except Misfit:
            continue
    return out


def run_trials(run: RunContext, study: Study, phase: str, seeds: Mapping[str, dict[str, Any]]) -> Ledger:
    """Run the trials of a study until the asked number is done, and return its ledger. seeds: choices to ask first, by name."""
    run.drivers.take_over(study, ask_again, lambda trial: epochs_of(run, phase, trial), first=True)
    if seeds and not study.user_attrs.get("seeded"):
        for name, choices in seeds.items():
            study.enqueue_trial(choices, user_attrs={"baseline": name}, skip_if_exists=True)
        study.set_user_attr("seeded", sorted(seeds))
    driver = TrialDriver(run, Ledger(study, run.plan.objectives, run.plan.limits), phase)
    run.tracking.make_up(phase, driver.ledger)
    try:
        run.runner.run(driver)
        while driver.waits():
            run.runner.run(driver)
    except KeyboardInterrupt:
        driver.interrupt()
        raise
    driver.show(last=True)
    return driver.ledger
