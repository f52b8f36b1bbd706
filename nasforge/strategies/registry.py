"""Strategies by name. Each is a function from a `Problem` to `propose(history, rng) -> choices`, or to a sampler of Optuna."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nasforge.errors import UserError, nearest
from nasforge.spaces.choosers import random_chooser
from nasforge.strategies.base import Problem, Propose
from nasforge.strategies.evolution import evolve
from nasforge.strategies.grid import enumerate_all
from nasforge.strategies.local import climb
from nasforge.strategies.nsga import nsga2, nsga3
from nasforge.strategies.optuna import Proposer, tpe
from nasforge.strategies.progressive import progress
from nasforge.strategies.reinforce import reinforce


def random(problem: Problem) -> Propose:
    """Return the strategy that draws every domain uniformly."""
    return lambda history, rng: problem.space.draw(random_chooser(rng))[1]


def predictor(problem: Problem) -> Propose:
    """Return the strategy of models of architectures: see `nasforge.strategies.predictor`."""
    from nasforge.strategies.predictor.propose import predict  # scikit-learn takes a second to import, and the others do not need it

    return predict(problem)


STRATEGIES: dict[str, Callable[[Problem], Any]] = {
    "predictor": predictor,
    "random": random,
    "tpe": tpe,
    "evolution": evolve,
    "local": climb,
    "nsga2": nsga2,
    "nsga3": nsga3,
    "reinforce": reinforce,
    "progressive": progress,
    "grid": enumerate_all,
}


OF_TUNE = ("hyperopt", "bohb", "ax", "nevergrad", "bayesopt", "optuna", "zoopt")  # searchers of Ray Tune, as `tune:NAME`


def strategy_names() -> tuple[str, ...]:
    """Return what `--strategy` takes."""
    return (*STRATEGIES, *(f"tune:{one}" for one in OF_TUNE))


def check_strategy(name: str, option: str = "--strategy") -> None:
    """Raise UserError where no strategy is called so."""
    names = strategy_names()
    if name not in names:
        raise UserError(f"{option} {name}: no such strategy; {nearest(name, names)}")


def sampler(name: str, problem: Problem) -> Any:
    """Return the strategy of a search as a sampler of Optuna.

    Raises:
        UserError: no strategy is called so.
    """
    check_strategy(name)
    if name.startswith("tune:"):
        from nasforge.strategies.tune import driven  # the libraries are extras

        return Proposer(problem, driven(name.removeprefix("tune:"), problem))
    made = STRATEGIES[name](problem)
    return Proposer(problem, made) if callable(made) else made
