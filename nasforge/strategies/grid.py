"""Enumeration: every set of choices of a small space once, in an order shuffled by the seed."""

from __future__ import annotations

import math
from random import Random

from nasforge.errors import UserError
from nasforge.spaces.choosers import every
from nasforge.spaces.space import Choices
from nasforge.strategies.base import History, Problem, Propose
from nasforge.strategies.moves import newcomer

MOST_CHOICES = 200_000  # sets of choices: they are kept in memory



def enumerate_all(problem: Problem) -> Propose:
    """Return all choices in a fixed order, those asked before left out. Raises UserError for a space that cannot be enumerated."""
    size = problem.space.size()
    if size > MOST_CHOICES:
        endless = [o.name for o in problem.space.domains() if o.kind == "float"]
        why = f"{endless[0]} is a float" if endless and math.isinf(size) else f"this one has {size:.3g}"
        raise UserError(
            f"--strategy grid: a space must have at most {MOST_CHOICES:,} sets of choices, {why}; use local, or choose fewer values"
        )
    order: list[Choices] = []  # made at the first ask
    place = 0  # all before it were asked for: it spares work only

    def propose(history: History, rng: Random) -> Choices:
        nonlocal place
        if not order:
            order.extend(every(lambda ask: problem.space.draw(ask)[1]))
            Random(problem.seed).shuffle(order)
        while place < len(order) and history.has(order[place]):
            place += 1
        return order[place] if place < len(order) else newcomer(history, rng)

    return propose
