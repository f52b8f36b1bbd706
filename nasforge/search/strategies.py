"""Strategies: Optuna samplers by name. A strategy sees parameters of a study and never knows what a block is."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler

from nasforge.choosers import random_chooser
from nasforge.errors import UserError, nearest
from nasforge.openings import Opening, Scalar
from nasforge.search.history import Brief
from nasforge.search.proposer import Fresh, Proposer
from nasforge.search.proposers.evolution import evolve
from nasforge.search.proposers.local import climb
from nasforge.space import Chooser


def random(brief: Brief) -> BaseSampler:
    """Every opening drawn alike."""
    return Proposer(brief, lambda history, rng: brief.space.draw(random_chooser(rng))[1])


def tpe(brief: Brief) -> BaseSampler:
    """Tree-structured Parzen estimator on groups of openings that occur together. Source: Bergstra et al. 2011; Watanabe 2023."""

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # `group`: conditional openings are modelled together
            return TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=max(5, min(10, brief.trials // 3)))

    return Fresh(brief, make)


def evolution(brief: Brief) -> BaseSampler:
    """Regularised evolution; with several objectives the fittest survive. Source: Real et al. 2019; Deb et al. 2002."""
    return Proposer(brief, evolve(brief))


def local(brief: Brief) -> BaseSampler:
    """Local search from the best of some random starts. Source: White et al. 2021."""
    return Proposer(brief, climb(brief))


def nsga2(brief: Brief) -> BaseSampler:
    """NSGA-II with a population that leaves room for several generations. Source: Deb et al. 2002."""
    return Fresh(brief, lambda seed: NSGAIISampler(seed=seed, population_size=max(6, min(50, brief.trials // 4))))


STRATEGIES: dict[str, Callable[[Brief], BaseSampler]] = {
    "random": random,
    "tpe": tpe,
    "nsga2": nsga2,
    "evolution": evolution,
    "local": local,
}


def strategy(name: str, brief: Brief) -> BaseSampler:
    """The sampler of a strategy for a search."""
    if name not in STRATEGIES:
        raise UserError(f"--strategy {name}: no such strategy; {nearest(name, STRATEGIES)}")
    return STRATEGIES[name](brief)


def trial_chooser(trial: optuna.Trial) -> Chooser:
    """The driver of a space that asks an Optuna trial."""

    def ask(opening: Opening) -> Scalar:
        if opening.kind == "choose":
            return trial.suggest_categorical(opening.name, opening.options)
        if opening.kind == "int":
            step = {} if opening.log else {"step": opening.step}
            return trial.suggest_int(opening.name, int(opening.low), int(opening.high), log=opening.log, **step)
        return trial.suggest_float(opening.name, opening.low, opening.high, log=opening.log)

    return ask
