"""From strategies to Optuna samplers, so that every ask depends on nothing but the study, the seed and the place in the order.

Ours *propose*: `propose(history, rng)` gives whole choices. Optuna's are made anew for each ask. Either way a search that was killed and
goes on asks what it would have asked uninterrupted, and a run can be replayed from its journal.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Choices
from nasforge.strategies.base import History, Problem, Reader, kind_of

Propose = Callable[[History, Random], Choices]


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

    def _of(self, study: optuna.Study, trial: FrozenTrial) -> BaseSampler:
        if self._made[0] != trial.number:
            place = ordinal(study.get_trials(deepcopy=False), trial.number)
            self._made = (trial.number, self.make(self.problem.rng(place).randrange(2**31)))
        return self._made[1]

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._of(study, trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        return self._of(study, trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._made[1].after_trial(study, trial, state, values)


def ordinal(trials: list[FrozenTrial], before: int) -> int:
    """How many trials were asked before this one, those not counted that were interrupted and are asked again."""
    return sum(t.number < before and kind_of(t) != "interrupted" for t in trials)
