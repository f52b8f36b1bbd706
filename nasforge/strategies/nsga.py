"""NSGA-II and NSGA-III: two good parents are crossed and changed a little; of all networks the best fronts go on as parents.

Both in their steady-state form (Nebro & Durillo 2009): every network that ends may be a parent at once, which suits workers that end out of
order, and a population follows from the trials alone.
"""

from __future__ import annotations

from itertools import chain, combinations, islice, pairwise
from math import comb
from random import Random

import numpy as np

from nasforge.spaces.choosers import crossover, mutate, replay
from nasforge.spaces.space import Choices, Space
from nasforge.strategies.base import History, Problem, Propose, Trial
from nasforge.strategies.evolution import tournament
from nasforge.strategies.moves import newcomer, started, unseen
from nasforge.strategies.ranking import Points, leading, scale

POPULATION = 50
CROSSED = 0.9  # share of children with two parents


def nsga2(problem: Problem) -> Propose:
    """NSGA-II: tournaments of two by front and crowding. Source: Deb et al. 2002, section III (crossover 0.9, mutation 1 / length)."""
    size = population_size(problem)

    def propose(history: History, rng: Random) -> Choices:
        population = list(islice(chain.from_iterable(leading(history)), size))
        if started(history) < size or len(population) < 2:
            return newcomer(history, rng)
        mother, father = (population[tournament(len(population), 2, rng)] for _ in range(2))
        return unseen(history, lambda attempt: child(problem.space, mother, father, rng, 1 + attempt // 10))

    return propose


def nsga3(problem: Problem) -> Propose:
    """NSGA-III: parents alike, survivors spread over reference directions. Source: Deb & Jain 2014, algorithms 1 to 4.

    With one objective there is one direction, and the best survive.
    """
    size = population_size(problem)
    directions = reference_directions(len(problem.objectives), size)

    def propose(history: History, rng: Random) -> Choices:
        population = spread(history, size, directions)
        if started(history) < size or len(population) < 2:
            return newcomer(history, rng)
        mother, father = rng.sample(population, 2)
        return unseen(history, lambda attempt: child(problem.space, mother, father, rng, 1 + attempt // 10))

    return propose


def population_size(problem: Problem) -> int:
    """As many as leave room for several generations."""
    return max(4, min(POPULATION, problem.trials // 8))


def child(space: Space, mother: Trial, father: Trial, rng: Random, changes: int) -> Choices:
    """Choices of both parents, of which about so many are drawn anew."""
    choices = space.draw(crossover(mother.choices, father.choices, rng))[1] if rng.random() < CROSSED else dict(mother.choices)
    count = sum(rng.random() < changes / len(choices) for _ in choices)
    return space.draw(mutate(choices, rng, count) if count else replay(choices))[1]


# ---------------------------------------------------------------- survivors of NSGA-III


def reference_directions(objectives: int, size: int) -> Points:
    """Directions spread evenly over the simplex, at most `size` and at least one an objective. Source: Das & Dennis 1998."""
    steps = 1
    while objectives > 1 and comb(steps + objectives, objectives - 1) <= size:
        steps += 1
    rows = []
    for bars in combinations(range(steps + objectives - 1), objectives - 1):
        ends = (-1, *bars, steps + objectives - 1)
        rows.append([(b - a - 1) / steps for a, b in pairwise(ends)])
    return np.array(rows)


def spread(history: History, size: int, directions: Points) -> list[Trial]:
    """Return the best fronts; of the one that does not fit whole, those in the directions with fewest members."""
    objectives = history.problem.objectives
    kept: list[Trial] = []
    for peers in leading(history):
        if len(kept) + len(peers) > size:
            members = [*kept, *peers]
            chosen = fill(scale(members, objectives), len(kept), size, directions)
            return [members[i] for i in chosen]
        kept += peers
    return kept


def fill(points: Points, first: int, size: int, directions: Points) -> list[int]:
    """Return the indices of the first points and of as many of the others as give `size`, niche by niche."""
    low, reach = points.min(axis=0), np.ptp(points, axis=0)
    shares = (points - low) / np.where(reach > 0, reach, 1.0)
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    along = shares @ unit.T  # (points, directions)
    distance = np.sqrt(np.maximum((shares**2).sum(axis=1, keepdims=True) - along**2, 0))
    niche, gap = distance.argmin(axis=1), distance.min(axis=1)
    counts = np.bincount(niche[:first], minlength=len(unit))
    chosen, left = list(range(first)), list(range(first, len(points)))
    while len(chosen) < size:
        best = min(left, key=lambda i: (counts[niche[i]], gap[i], i))
        left.remove(best)
        chosen.append(best)
        counts[niche[best]] += 1
    return chosen
