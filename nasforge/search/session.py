"""A whole search: trials until the asked number, an equal-budget control, the finalists' retraining, the summary.

Every step is written to the storage as it ends, so that a killed search goes on where it stood.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.study import StudyDirection

from nasforge.blocks import BLOCKS
from nasforge.errors import UserError
from nasforge.evaluation.base import data_of, zero_cost
from nasforge.networks.build import key
from nasforge.search.driver import Show, Trials, ask_again
from nasforge.search.finals import Finals
from nasforge.search.plan import SUMMARY, Plan, shared_identity, write_manifest
from nasforge.search.prior import seen_before
from nasforge.search.records import COUNTED, Ledger
from nasforge.search.timing import Clock
from nasforge.spaces.choosers import replay
from nasforge.spaces.domains import Scalar
from nasforge.spaces.locate import Misfit, locate
from nasforge.spaces.space import Space
from nasforge.storage.drivers import Drivers
from nasforge.storage.open import DriverLock, open_storage
from nasforge.strategies.base import Problem, Scores
from nasforge.strategies.registry import strategy

MOST_SCORED = 8000  # networks whose zero-cost scores are remembered
CONTROL_SEED = 7919  # added to the seed of the control: it must not draw what the search draws


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
        drivers = Drivers(storage, write_manifest(plan, run, data_of(plan.data).key))
        prefix = "" if plan.storage is None else f"{run.resolve().name}-"
        clock = Clock()
        study = _study(storage, f"{prefix}search", plan, plan.strategy, drivers)
        done = study.user_attrs.get("summary")
        if done and done["asked"] >= plan.trials and done["settings"] == plan.final_settings():
            return done
        clock.carry(study.user_attrs.get("seconds", {}))
        runner = start_runner()
        try:
            return _run(
                plan,
                run,
                study,
                lambda: _study(storage, f"{prefix}control", plan, "random", drivers, CONTROL_SEED),
                runner,
                clock,
                show,
                drivers,
            )
        finally:
            runner.close()
            if drivers.owns:
                study.set_user_attr("seconds", clock.totals())
            drivers.close()
    finally:
        lock.close()


def _run(
    plan: Plan, run: Path, study: optuna.Study, make_control: Callable[[], optuna.Study], runner: Runner, clock: Clock, show: Show,
    drivers: Drivers,
) -> dict[str, Any]:  # fmt: skip
    ledger = run_trials(plan, run, study, runner, clock, show, "search", _inside(plan) if drivers.owns else {}, drivers)
    control = None
    if plan.control and plan.strategy != "random":
        control = run_trials(plan, run, make_control(), runner, clock, show, "control", {}, drivers)
    if not drivers.owns:  # the driver that made the study trains the finalists
        return {"run": str(run), "joined": study.study_name, **{kind: ledger.count(kind) for kind in COUNTED}}
    finals = Finals(plan, run, ledger, control, runner, clock, show)
    summary = finals.summary()
    (run / SUMMARY).write_text(json.dumps(summary, indent=1), encoding="utf-8")
    study.set_user_attr("summary", summary)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    return summary


def _study(storage: Any, name: str, plan: Plan, strategy_name: str, drivers: Drivers, other: int = 0) -> optuna.Study:
    """The study by its name, with its sampler. other: sets the random numbers of a second study of the run apart."""
    directions = [StudyDirection.MAXIMIZE if o.maximize else StudyDirection.MINIMIZE for o in plan.objectives]
    try:
        study = drivers.study(storage, name, directions, {**shared_identity(plan), "data_key": data_of(plan.data).key})
    except UserError:
        raise
    except (ValueError, KeyError) as error:
        raise UserError(f"{name}: the storage has another study of that name ({error}); choose another --run") from None
    study.sampler = sampler_of(plan, strategy_name, other)
    return study


def sampler_of(plan: Plan, strategy_name: str, other: int) -> Any:
    """The sampler of a strategy for a plan; `other` as in `_study`."""
    prior = seen_before(plan.prior, plan.space, plan.objectives) if not other else []
    problem = Problem(Space(plan.space), plan.seed + other, plan.trials, plan.objectives, plan.limits, prior)
    if plan.scores and not other:
        problem = replace(problem, scores=_zero_cost(plan, problem))
    return strategy(strategy_name, problem)


def _zero_cost(plan: Plan, problem: Problem) -> Scores:
    """The zero-cost scores that a plan asks for, worked out once for networks that compute the same.

    None of a network that breaks a limit on paper: it may be too large to be built.
    """
    known: dict[str, Mapping[str, float]] = {}

    def scores(choices: Mapping[str, Scalar]) -> Mapping[str, float]:
        arch, _ = problem.space.draw(replay(choices))
        name = key(arch)
        if name not in known:
            if len(known) >= MOST_SCORED:
                del known[next(iter(known))]
            known[name] = zero_cost(arch, plan.data, plan.seed, plan.scores) if problem.keeps(choices) else {}
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


def run_trials(
    plan: Plan, run: Path, study: optuna.Study, runner: Runner, clock: Clock, show: Show, phase: str, seeds: Mapping[str, dict[str, Any]],
    drivers: Drivers,
) -> Ledger:  # fmt: skip
    """The ledger of a study after the asked number of trials."""
    drivers.take_over(study, ask_again, first=True)
    if seeds and not study.user_attrs.get("seeded"):
        for name, choices in seeds.items():
            study.enqueue_trial(choices, user_attrs={"baseline": name}, skip_if_exists=True)
        study.set_user_attr("seeded", sorted(seeds))
    trials = Trials(plan, run, Ledger(study, plan.objectives, plan.limits), clock, show, phase, drivers)
    try:
        runner.run(trials.next_job, trials.on_epoch, trials.on_end)
        while trials.waits():
            runner.run(trials.next_job, trials.on_epoch, trials.on_end)
    except KeyboardInterrupt:
        trials.interrupt()
        raise
    trials.show(force=True)
    return trials.ledger
