"""Strategies: Optuna samplers by name. A strategy sees parameters of a study and never knows what a block is."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler

from nasforge.errors import UserError, nearest
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Chooser
from nasforge.strategies.base import Problem
from nasforge.strategies.evolution import evolve
from nasforge.strategies.grid import enumerate_all
from nasforge.strategies.local import climb
from nasforge.strategies.nsga import nsga2, nsga3
from nasforge.strategies.optuna import Fresh, Propose, Proposer
from nasforge.strategies.progressive import progress
from nasforge.strategies.reinforce import reinforce


def random(problem: Problem) -> BaseSampler:
    """Every domain drawn alike."""
    return Proposer(problem, lambda history, rng: problem.space.draw(random_chooser(rng))[1])


def tpe(problem: Problem) -> BaseSampler:
    """Tree-structured Parzen estimator on groups of domains that occur together. Source: Bergstra et al. 2011; Watanabe 2023."""

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # `group`: conditional domains are modelled together
            return TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=max(5, min(10, problem.trials // 3)))

    return Fresh(problem, make)


def proposing(make: Callable[[Problem], Propose]) -> Callable[[Problem], BaseSampler]:
    """A strategy of our own as a sampler."""
    return lambda problem: Proposer(problem, make(problem))


def predictor(problem: Problem) -> BaseSampler:
    """Models of architectures by the features of their live graphs: see `nasforge.strategies.predictor`."""
    from nasforge.strategies.predictor.propose import predict  # scikit-learn takes a second to import, and the others do not need it

    return Proposer(problem, predict(problem))


STRATEGIES: dict[str, Callable[[Problem], BaseSampler]] = {
    "predictor": predictor,
    "random": random,
    "tpe": tpe,
    "evolution": proposing(evolve),
    "local": proposing(climb),
    "nsga2": proposing(nsga2),
    "nsga3": proposing(nsga3),
    "reinforce": proposing(reinforce),
    "progressive": proposing(progress),
    "grid": proposing(enumerate_all),
}


def strategy(name: str, problem: Problem) -> BaseSampler:
    """The sampler of a strategy for a search."""
    if name not in STRATEGIES:
        raise UserError(f"--strategy {name}: no such strategy; {nearest(name, STRATEGIES)}")
    return STRATEGIES[name](problem)


def trial_chooser(trial: optuna.Trial) -> Chooser:
    """The driver of a space that asks an Optuna trial."""

    def ask(domain: Domain) -> Scalar:
        if domain.kind == "choose":
            return trial.suggest_categorical(domain.name, domain.options)
        if domain.kind == "int":
            step = {} if domain.log else {"step": domain.step}
            return trial.suggest_int(domain.name, int(domain.low), int(domain.high), log=domain.log, **step)
        return trial.suggest_float(domain.name, domain.low, domain.high, log=domain.log)

    return ask
