"""Local search: all one-change neighbours of the best network, in random order; where none is better, those of the next best."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from random import Random

from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Choices, Space
from nasforge.strategies.base import History, News, Problem, Propose, Trial
from nasforge.strategies.moves import asked, changed, newcomer, started, unseen
from nasforge.strategies.ranking import leading

STARTS = 10  # random networks to begin with
ALL_VALUES = 9  # a whole number with no more values than this has all others as neighbours
REACHES = (1 / 16, 1 / 4)  # of the range of a number, how far its neighbours lie otherwise

Move = tuple[str, Scalar]  # a domain and its new value


def climb(problem: Problem) -> Propose:
    """Local search from the best of some random starts. Source: White et al. 2021 (Exploring the loss landscape in NAS).

    The center is always the best network known with neighbours left, so that a better neighbour is followed at once. At a local optimum
    every other ask is a kick, two changes at once (Lourenco et al. 2003), the others go on with the next best. With several objectives
    the center is a member of the front (Paquete et al. 2004).
    """
    starts = max(2, min(STARTS, problem.trials // 5))
    spent: set[int] = set()  # trials whose neighbours have all been asked for: it stays so, and spares work only
    tried: dict[int, Tried] = {}  # by center

    def propose(history: History, rng: Random) -> Choices:
        if started(history) < starts:
            return newcomer(history, rng)
        best: list[Trial] = []
        for peers in leading(history):
            best = best or peers
            for center in peers:
                if center.number in spent:
                    continue
                made = tried.setdefault(center.number, Tried(center)).by(history)
                left = open_moves(problem.space, center.choices, made)
                if left and (peers is best or rng.random() < 0.5):
                    return moved(problem.space, center.choices, rng.choice(left), rng)
                if left:
                    return kicked(history, rng.choice(best), rng)
                spent.add(center.number)
                del tried[center.number]
        return newcomer(history, rng)

    return propose


def kicked(history: History, center: Trial, rng: Random) -> Choices:
    """Two changes of a network at once."""
    return unseen(history, lambda attempt: changed(history.problem.space, center.choices, rng, 2 + attempt // 10))


class Tried:
    """The moves from a center that trials have made; what opens with a new option does not count. An ended trial is looked at once."""

    def __init__(self, center: Trial) -> None:
        self.center, self._news = center, News()
        self._made: set[Move] = set()

    def by(self, history: History) -> set[Move]:
        other, ended = self._news.of(history)
        self._made = self._moves(ended) | (set() if other else self._made)
        return self._made | self._moves(history.running)

    def _moves(self, trials: Sequence[Trial]) -> set[Move]:
        return {move for t in trials if (move := _only_change(self.center.choices, t.choices)) is not None}


def open_moves(space: Space, center: Mapping[str, Scalar], tried: Collection[Move]) -> list[Move]:
    """Return the changes of one choice that no trial has made yet."""
    return [move for move in moves(space, center) if move not in tried]


def _only_change(center: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> Move | None:
    """The one choice, of those that both have, in which the other differs; None where it is none or several."""
    found: Move | None = None
    for name, value in center.items():
        if name in other and other[name] != value:
            if found is not None:
                return None
            found = (name, other[name])
    return found


def moves(space: Space, center: Mapping[str, Scalar]) -> Iterator[Move]:
    """Yield every other value of every choice; of wide ranges only some values near and far."""
    for domain in asked(space, center):
        for value in others(domain, center[domain.name]):
            yield domain.name, value


def moved(space: Space, center: Mapping[str, Scalar], move: Move, rng: Random) -> Choices:
    """Return the choices after a move; what opens with it is drawn."""
    return space.draw(replay({**center, move[0]: move[1]}, random_chooser(rng)))[1]


def others(domain: Domain, value: Scalar) -> Sequence[Scalar]:
    """Return the neighbours of a value."""
    if domain.kind == "choose":
        return [o for o in domain.options if not (type(o) is type(value) and o == value)]
    if domain.kind == "int" and domain.size() <= ALL_VALUES:
        return [v for v in range(int(domain.low), int(domain.high) + 1, domain.step) if v != value]
    assert isinstance(value, int | float)
    near = {_shifted(domain, value, sign * reach) for reach in REACHES for sign in (-1, 1)}
    if domain.kind == "int":
        near |= {v for v in (value - domain.step, value + domain.step) if domain.low <= v <= domain.high}
    return sorted(near - {value})


def _shifted(domain: Domain, value: float, share: float) -> float:
    """A number this share of its (log) range away, inside the range and on the grid of its steps."""
    low, high = domain.low, domain.high
    if domain.log:
        moved_ = math.exp(math.log(value) + share * math.log(high / low))
    else:
        moved_ = value + share * (high - low)
    if domain.kind == "float":
        return min(max(moved_, low), high)
    steps = round((min(max(moved_, low), high) - low) / domain.step)
    return int(low) + domain.step * steps
