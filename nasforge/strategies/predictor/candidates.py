"""Networks that might come next: changes and crosses of the best, and fresh draws; each function once, none that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from random import Random

from nasforge.spaces.choosers import crossover, mutate
from nasforge.spaces.domains import Scalar
from nasforge.spaces.space import Choices
from nasforge.strategies.base import History, TrialKind
from nasforge.strategies.moves import excess
from nasforge.strategies.predictor.encoder import Encoder, Row
from nasforge.strategies.ranking import ranked

PARENTS = 12
BRED = 48  # changes and crosses at a time
FRESH = 128  # draws, renewed every so many asks:
RENEWED = 16
CROSSED = 0.15  # shares of what is bred
CHANGED_TWICE = 0.25


@dataclass(frozen=True)
class Candidate:
    """A network that might come next."""

    choices: Choices
    row: Row


class Pool:
    """Networks of functions that were not asked for; each is given out once."""

    def __init__(self, encoder: Encoder, asked: set[str]) -> None:
        self.encoder, self.met = encoder, set(asked)
        self.found: list[Candidate] = []

    def take(self) -> list[Candidate]:
        """Return what came in since the last time."""
        taken, self.found = self.found, []
        return taken

    def add(self, choices: Mapping[str, Scalar], row: Row | None) -> None:
        """Take in a network if it is new and can be written down."""
        if row is not None and row.name not in self.met:
            self.met.add(row.name)
            self.found.append(Candidate(dict(choices), row))

    def draw(self, history: History) -> None:
        """Add random networks."""
        for choices, row in self.encoder.sample(FRESH, f"{history.problem.seed}/fresh/{history.ordinal // RENEWED}"):
            self.add(choices, row)

    def breed(self, parents: Sequence[Mapping[str, Scalar]], rng: Random) -> None:
        """Add parents, and changes and crosses of them, of the first ones most."""
        for choices in parents:
            self.add(choices, self.encoder.row(choices))
        for _ in range(BRED if parents else 0):
            parent = parents[int(len(parents) * rng.random() ** 2)]
            way = rng.random()
            if way < CROSSED:
                ask = crossover(parent, rng.choice(parents), rng)
            else:
                ask = mutate(parent, rng, 1 if way < 1 - CHANGED_TWICE else 2)
            choices = self.encoder.space.draw(ask)[1]
            self.add(choices, self.encoder.row(choices))


def best(history: History) -> list[Mapping[str, Scalar]]:
    """The choices of the best trials of this search and of earlier ones; where none keeps the limits, of those that break them least."""
    prior = [t for t in history.problem.prior if t.kind == TrialKind.FINISHED and t.losses]
    found = list(islice(ranked([*history.finished, *prior], history.problem.objectives), PARENTS))
    near = [] if history.finished else [t for t in history.trials if t.kind in (TrialKind.INFEASIBLE, TrialKind.FINISHED) and t.metrics]
    return [t.choices for t in (*found, *nsmallest(PARENTS, near, key=lambda t: excess(history, t)))]
