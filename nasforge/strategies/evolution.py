"""Evolution: the winner of a small tournament is changed in one choice; the oldest die, or with several objectives the dominated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from random import Random

from nasforge.spaces.space import Choices
from nasforge.strategies.base import History, Problem, Propose, Trial
from nasforge.strategies.moves import mutant, newcomer, started
from nasforge.strategies.ranking import leading, ranked

POPULATION = 50
SAMPLE = 10


def evolve(problem: Problem) -> Propose:
    """Regularised evolution. Source: Real et al. 2019, algorithm 1 (population 50, sample 10; smaller for a short search).

    With several objectives the population is what survives in NSGA-II, and a tournament goes to the better front and the emptier place
    in it. Source: Deb et al. 2002, section III.
    """
    size = max(4, min(POPULATION, problem.trials // 8))  # a short search cannot afford so many at random
    fighters = max(2, min(SAMPLE, size * 2 // 5))

    def propose(history: History, rng: Random) -> Choices:
        population = alive(history, size)
        if started(history) < size or not population:
            return newcomer(history, rng)
        return mutant(history, population[tournament(len(population), fighters, rng)], rng)

    return propose


def alive(history: History, size: int) -> Sequence[Trial]:
    """Return the population, best first: the youngest trials, or with several objectives the best of all."""
    objectives = history.problem.objectives
    if len(objectives) == 1:
        return list(ranked(history.finished[-size:], objectives))
    return list(islice(chain.from_iterable(leading(history)), size))


def tournament(size: int, fighters: int, rng: Random) -> int:
    """Return the place of the best of some members, drawn with repetition, of a population in order from best to worst."""
    return min(rng.randrange(size) for _ in range(fighters))
