"""Strategies as Optuna samplers, so that every ask depends on nothing but the study, the seed and the place in the order.

Ours *propose*: `propose(history, rng)` gives whole choices. Optuna's are made anew for each ask. Either way a search that was killed and
is continued asks what it would have asked uninterrupted, and a run can be replayed from its journal.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nasforge.objectives.objective import Losses, Objective, losses
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Choices, Chooser
from nasforge.strategies.base import History, Problem, Propose, Standing, Trial, TrialKind

KINDS = {  # of a trial without a record: a table stores none, and a driver may have died between two lines of the journal
    TrialState.RUNNING: TrialKind.RUNNING, TrialState.WAITING: TrialKind.RUNNING, TrialState.COMPLETE: TrialKind.FINISHED,
    TrialState.PRUNED: TrialKind.INFEASIBLE, TrialState.FAIL: TrialKind.INTERRUPTED,
}  # fmt: skip


class Proposer(BaseSampler):
    """A sampler that asks `propose` once a trial for all choices; those it leaves out are drawn at random."""

    def __init__(self, problem: Problem, propose: Propose) -> None:
        self.problem, self.propose = problem, propose
        self._reader = Reader(problem)
        self._asked: tuple[int, Choices] = (-1, {})

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        if self._asked[0] != trial.number:  # only here: choices that were queued ask for nothing
            history = self._reader.read(study.get_trials(deepcopy=False), trial.number)
            rng = self.problem.rng(history.ordinal)
            proposed = self.propose(history, rng)
            self._asked = (trial.number, {**self.problem.space.draw(random_chooser(rng))[1], **proposed})
        return self._asked[1][param_name]


class Fresh(BaseSampler):
    """An Optuna sampler that is made anew for each trial, seeded by the place of the trial in the order."""

    def __init__(self, problem: Problem, make: Callable[[int], BaseSampler]) -> None:
        self.problem, self.make = problem, make
        self._made: tuple[int, BaseSampler] = (-1, make(problem.seed))

    def _sampler(self, study: optuna.Study, trial: FrozenTrial) -> BaseSampler:
        if self._made[0] != trial.number:
            place = ordinal(study.get_trials(deepcopy=False), trial.number)
            self._made = (trial.number, self.make(self.problem.rng(place).randrange(2**31)))
        return self._made[1]

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler(study, trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return self._sampler(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        return self._sampler(study, trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._made[1].after_trial(study, trial, state, values)


def ordinal(trials: list[FrozenTrial], before: int) -> int:
    """Return how many trials were asked before this one, those not counted that were interrupted and are asked again."""
    some = [t for t in trials[:before] if t.state not in (TrialState.COMPLETE, TrialState.PRUNED)]  # an interrupted one is neither
    return before - sum(kind_of(t) == TrialKind.INTERRUPTED for t in some)


def tpe(problem: Problem) -> BaseSampler:
    """Tree-structured Parzen estimator on groups of domains that occur together. Source: Bergstra et al. 2011; Watanabe 2023."""

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # `group`: conditional domains are modelled together
            return TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=max(5, min(10, problem.trials // 3)))

    return Fresh(problem, make)


# ---------------------------------------------------------------- what a study holds


class Reader:
    """Reads histories off one study; an ended trial is read once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._seen: list[Trial] = []  # by number
        self._open: dict[int, FrozenTrial] = {}  # those of them that had not ended, as they were
        self._known = Standing()

    def read(self, trials: Sequence[FrozenTrial], before: int) -> History:
        """Return what was known of the trials with numbers below `before`. `trials` are all of the study, in order."""
        changed = [number for number, seen in self._open.items() if trials[number] is not seen]  # a storage does not change one in place
        changed += range(len(self._seen), min(before, len(trials)))
        for number in changed:
            found = self._read(trials[number])
            self._seen[number : number + 1] = [found]
            if trials[number].state.is_finished():
                self._open.pop(number, None)
                self._ended(found)
            else:
                self._open[number] = trials[number]
        if changed:
            self._known.running[:] = [self._seen[number] for number in self._open]
        seen = self._seen[:before]
        if self._known.kinds[TrialKind.INTERRUPTED]:
            seen = [t for t in seen if t.kind != TrialKind.INTERRUPTED]
        return History(self.problem, seen, self._known if before >= len(self._seen) else None)

    def _ended(self, trial: Trial) -> None:
        """Note what follows from a trial that has ended."""
        known = self._known
        known.kinds[trial.kind] += 1
        if trial.kind != TrialKind.INTERRUPTED:
            known.ended.append(trial)
            known.choices.add(frozenset(trial.choices.items()))
        if trial.kind == TrialKind.FINISHED and History(self.problem, ()).feasible(trial):
            known.finish(trial)

    def _read(self, trial: FrozenTrial) -> Trial:
        if trial.state.is_finished():
            return trial_of(trial, self.problem.objectives)
        return Trial(trial.number, TrialKind.RUNNING, dict(trial.params), curve=tuple(trial.user_attrs.get("curve", ())))


def kind_of(trial: FrozenTrial) -> TrialKind:
    """Return the kind of a trial, from what the study stores of it."""
    return TrialKind(trial.user_attrs.get("record", {}).get("kind", KINDS[trial.state]))


def trial_of(trial: FrozenTrial, objectives: Sequence[Objective]) -> Trial:
    """An ended trial, from what the study stores of it."""
    record: dict[str, Any] = trial.user_attrs.get("record", {})
    kind, metrics, values = kind_of(trial), record.get("metrics", {}), None
    if kind == TrialKind.FINISHED:
        values = losses(metrics, objectives) if metrics else signed(trial.values or [], objectives)
    return Trial(trial.number, kind, dict(trial.params), values, metrics, tuple(record.get("curve", ())))


def signed(values: Sequence[float], objectives: Sequence[Objective]) -> Losses:
    """Values of a study as losses: smaller is better."""
    return tuple(-v if o.maximize else v for v, o in zip(values, objectives, strict=True))


def trial_chooser(trial: optuna.Trial) -> Chooser:
    """Return the driver of a space that asks an Optuna trial."""

    def ask(domain: Domain) -> Scalar:
        if domain.kind == "choose":
            return trial.suggest_categorical(domain.name, domain.options)
        if domain.kind == "int":
            step = {} if domain.log else {"step": domain.step}
            return trial.suggest_int(domain.name, int(domain.low), int(domain.high), log=domain.log, **step)
        return trial.suggest_float(domain.name, domain.low, domain.high, log=domain.log)

    return ask


def distribution(domain: Domain) -> BaseDistribution:
    """Return what a study calls a domain, as `trial_chooser` asks for it."""
    if domain.kind == "choose":
        return CategoricalDistribution(domain.options)
    if domain.kind == "int":
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=1 if domain.log else int(domain.step))
    return FloatDistribution(domain.low, domain.high, log=domain.log)
