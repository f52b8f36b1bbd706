"""Networks that might come next: changes and crosses of the best, and fresh draws; each function once, none that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from nasforge.choosers import crossover, mutate
from nasforge.search.history import History, Seen
from nasforge.search.predictor.encoder import Encoder, Row
from nasforge.search.proposers.ranking import ranked
from nasforge.space import Choices

PARENTS = 12
BRED = 100  # changes and crosses an ask
FRESH = 48  # draws an ask, renewed every so many asks:
RENEWED = 16
CROSSED = 0.15  # shares of what is bred
CHANGED_TWICE = 0.25


@dataclass(frozen=True)
class Candidate:
    """A network that might come next."""

    choices: Choices
    row: Row


def candidates(history: History, encoder: Encoder, asked: set[str], rng: Random) -> list[Candidate]:
    """New networks, in no order."""
    found: dict[str, Candidate] = {}
    for choices, row in encoder.sample(FRESH, f"{history.brief.seed}/fresh/{history.ordinal // RENEWED}"):
        found.setdefault(row.name, Candidate(choices, row))
    parents = _parents(history)
    for _ in range(BRED if parents else 0):
        choices = _bred(history, parents, rng)
        new = encoder.row(choices)
        if new is not None:
            found.setdefault(new.name, Candidate(choices, new))
    return [candidate for name, candidate in found.items() if name not in asked]


def _parents(history: History) -> Sequence[Seen]:
    """The best trials of this search and of earlier ones."""
    prior = [t for t in history.brief.prior if t.kind == "finished" and t.losses]
    return list(islice(ranked([*history.finished, *prior], history.brief.objectives), PARENTS))


def _bred(history: History, parents: Sequence[Seen], rng: Random) -> Choices:
    space = history.brief.space
    parent = parents[int(len(parents) * rng.random() ** 2)]
    way = rng.random()
    if way < CROSSED:
        ask = crossover(parent.choices, rng.choice(parents).choices, rng)
    else:
        ask = mutate(parent.choices, rng, 1 if way < 1 - CHANGED_TWICE else 2)
    return space.draw(ask)[1]
