"""Progressive search: networks grow from the smallest, a few changes a level; a small model says which to try of all that could grow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from random import Random

import numpy as np
from numpy.typing import NDArray

from nasforge.errors import UserError
from nasforge.networks.cost import count
from nasforge.spaces.choosers import replay
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Choices, Space
from nasforge.strategies.base import History, News, Problem, Propose, Trial, TrialKind
from nasforge.strategies.moves import STARTED, Catalog, asked, changed, newcomer
from nasforge.strategies.ranking import crowding, fronts, leading, ranked, scale
from nasforge.strategies.surrogate import Surrogate

LEVELS = 5  # of growth
SHARE = 20  # a level gets one of so many parts of the trials
DRAWN = 30  # candidates that the model ranks at an ask
LEARNT = 500  # trials that the model is fitted to, the last ones
FEWEST = 4  # finished trials before the model is asked
PARENTS = 10  # networks that others grow from, at most
PATIENCE = 2  # asks a trial that a level may take before the next begins


def progress(problem: Problem) -> Propose:
    """Progressive search. Source: Liu et al. 2018, algorithm 1 (5 levels); with several objectives Dong et al. 2018 (PPP-Net).

    A network's complexity is the number of its choices that are not the smallest possible. Each level gets a
    twentieth of the trials and grows from the best of the level below; the others go to changes of the best of all levels.
    """
    growth = Growth(problem.space)

    def propose(history: History, rng: Random) -> Choices:
        level = growth.level(history)
        pool = [c for c in candidates(history, growth, level, rng) if not history.has(c)]
        return best_of(history, growth.catalog, pool, rng) if pool else newcomer(history, rng)

    return propose


class Growth:
    """How far choices are from the smallest ones; worked out at the first ask."""

    def __init__(self, space: Space) -> None:
        self.space, self.catalog = space, Catalog(space)
        self._smallest: Choices = {}
        self._levels: dict[int, int] = {}  # of trials that have ended
        self._news = News()
        self._here, self._trained = Counter[int](), Counter[int]()  # trials that have ended by level; those of them that cost a training

    def smallest(self) -> Choices:
        """Return the choices of the smallest network."""
        if not self._smallest:
            self._smallest = smallest_choices(self.space)
        return self._smallest

    def least(self, domain: Domain) -> Scalar:
        """Return the value of a domain in the smallest network, or its first where that does not ask it."""
        return self.smallest().get(domain.name, first(domain))

    def complexity(self, choices: Mapping[str, Scalar]) -> int:
        return sum(choices[o.name] != self.least(o) for o in self.catalog.domains(choices))

    def target(self, level: int) -> int:
        """Return the complexity of a level from 1 to LEVELS."""
        return math.ceil(len(self.smallest()) * level / LEVELS)

    def level_of(self, choices: Mapping[str, Scalar]) -> int:
        """Return the level to which choices belong."""
        return next((n for n in range(1, LEVELS) if self.complexity(choices) <= self.target(n)), LEVELS)

    def level_of_trial(self, trial: Trial) -> int:
        """Return the same of a trial, worked out once."""
        if trial.kind == TrialKind.RUNNING:
            return self.level_of(trial.choices)
        if trial.number not in self._levels:
            self._levels[trial.number] = self.level_of(trial.choices)
        return self._levels[trial.number]

    def level(self, history: History) -> int:
        """Return the level of the next ask; LEVELS + 1 when all have had their share."""
        share = math.ceil(history.problem.trials / SHARE)
        other, ended = self._news.of(history)
        if other:
            self._here, self._trained = Counter(), Counter()
        self._here.update(self.level_of_trial(t) for t in ended)
        self._trained.update(self.level_of_trial(t) for t in ended if t.kind in STARTED)
        running = Counter(map(self.level_of_trial, history.running))
        for level in range(1, LEVELS + 1):
            more = running[level]
            if self._trained[level] + more < share and self._here[level] + more < PATIENCE * share:
                return level
        return LEVELS + 1


def candidates(history: History, growth: Growth, level: int, rng: Random) -> list[Choices]:
    """Networks of a level that grow from the best of the level below; after the last, changes of the best."""
    space, share = growth.space, math.ceil(history.problem.trials / SHARE)
    best: Iterator[Trial] = chain.from_iterable(leading(history))
    if level <= LEVELS:
        best = ranked([t for t in history.finished if growth.level_of_trial(t) == level - 1], history.problem.objectives)
    parents: list[Mapping[str, Scalar]] = [t.choices for t in islice(best, min(share, PARENTS))]
    if level > LEVELS:
        return [changed(space, rng.choice(parents), rng, rng.choice((1, 1, 2))) for _ in range(DRAWN)] if parents else []
    parents = parents or [growth.smallest()]
    return [grown(growth, rng.choice(parents), level, rng) for _ in range(DRAWN)]


def grown(growth: Growth, choices: Mapping[str, Scalar], level: int, rng: Random) -> Choices:
    """Return the choices with as many of the smallest values replaced as the level allows; what opens with these is smallest."""
    floor = growth.target(level - 1) if level > 1 else 0
    wanted = rng.randint(floor + 1, max(floor + 1, growth.target(level)))
    small = [o for o in growth.catalog.domains(choices) if choices[o.name] == growth.least(o) and o.size() > 1]
    chosen = rng.sample(small, max(0, min(len(small), wanted - growth.complexity(choices))))
    changes = {o.name: larger(o, choices[o.name], rng) for o in chosen}
    return growth.space.draw(replay({**choices, **changes}, growth.least))[1]


def larger(domain: Domain, value: Scalar, rng: Random) -> Scalar:
    """Another value of a domain."""
    if domain.kind == "choose":
        return rng.choice([o for o in domain.options if o != value])
    if domain.kind == "float":
        return rng.uniform(domain.low, domain.high)
    return int(domain.low) + domain.step * rng.randrange(1, int(domain.size()))


def best_of(history: History, catalog: Catalog, pool: Sequence[Choices], rng: Random) -> Choices:
    """Return the candidate that the model likes best; of a front one of those with most room around them."""
    done = history.finished[-LEARNT:]
    if len(done) < FEWEST:
        return pool[rng.randrange(len(pool))]
    objectives = history.problem.objectives
    places = scale(done, objectives).argsort(axis=0).argsort(axis=0)
    targets = places / len(done)  # ranks: what failed to learn counts no more than the last
    points = Surrogate(catalog, [t.choices for t in done], targets).predict(pool)
    over = np.maximum(excesses(history, catalog, pool), 0).sum(axis=1)
    inside = np.flatnonzero(over <= over.min())
    if len(objectives) == 1:
        return pool[int(inside[points[inside, 0].argmin()])]
    front = inside[next(fronts(points[inside]))]
    return pool[int(front[np.argmax(crowding(points[front]) + rng.random() * 1e-9)])]


def excesses(history: History, catalog: Catalog, pool: Sequence[Choices]) -> NDArray[np.float64]:
    """By how much candidates are expected to break each limit, from what is known of the costs of trials."""
    columns = []
    for limit in history.problem.limits:
        known = [*islice((t for t in reversed(history.trials) if limit.metric in t.metrics), LEARNT)][::-1]
        if known:
            gaps = np.array([[limit.excess(t.metrics[limit.metric])] for t in known])
            columns.append(Surrogate(catalog, [t.choices for t in known], gaps).predict(pool))
    return np.hstack(columns) if columns else np.zeros((len(pool), 1))


# ---------------------------------------------------------------- the smallest network


def first(domain: Domain) -> Scalar:
    """Return the first option, or the least number."""
    if domain.kind == "choose":
        return domain.options[0]
    return int(domain.low) if domain.kind == "int" else domain.low


def smallest_choices(space: Space) -> Choices:
    """Return the choices with fewest parameters, then multiply-adds: one domain after another, from the first option of all."""
    choices = space.draw(first)[1]
    done: set[str] = set()
    while left := [o for o in asked(space, choices) if o.name not in done]:
        domain = left[0]
        done.add(domain.name)
        values = domain.options if domain.kind == "choose" else (first(domain),)
        tries = [space.draw(replay({**choices, domain.name: value}, first))[1] for value in values]
        choices = min(tries, key=lambda c: _size(space, c)) if len(tries) > 1 else choices
    return choices


def _size(space: Space, choices: Mapping[str, Scalar]) -> tuple[float, float]:
    try:
        cost = count(space.draw(replay(choices))[0])
    except UserError:  # shapes that do not fit
        return math.inf, math.inf
    return float(cost.params), float(cost.macs)
