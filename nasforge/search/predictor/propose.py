"""The default strategy: what models of architectures expect to better the best, with regard to limits and to what is running.

Two kinds of models take turns: a Gaussian process sees fine differences near what is known, trees are right in the large. Where one has
settled on a wrong corner, the other still looks elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from nasforge.choosers import replay
from nasforge.cost import count
from nasforge.errors import UserError
from nasforge.search.history import Brief, History, Seen
from nasforge.search.objectives import COSTS
from nasforge.search.predictor.acquire import Vector, directions, feasibility, improvement, scalar_improvement
from nasforge.search.predictor.candidates import Candidate, candidates
from nasforge.search.predictor.encoder import Encoder, Row
from nasforge.search.predictor.evidence import Evidence, known_before, teaches
from nasforge.search.predictor.learner import Learner, bound
from nasforge.search.predictor.models import Belief
from nasforge.search.proposer import Propose
from nasforge.search.proposers.moves import STARTED, newcomer, started
from nasforge.search.proposers.ranking import fronts
from nasforge.space import Choices

STARTS = 10  # random networks to begin with
TRIES = 20  # at a random network of a new function
LOOKS = 6  # candidates whose costs are counted before one is taken
COUNTED = tuple(name for name in COSTS if name != "activation_bytes")  # at once, on paper


def predict(brief: Brief) -> Propose:
    """The strategy of a search."""
    predictor = Predictor(brief)
    return predictor.propose


class Predictor:
    """Proposes by models. What it remembers spares work only: a proposal follows from the history and the random numbers."""

    def __init__(self, brief: Brief) -> None:
        self.brief = brief
        self.encoder = Encoder(brief.space)
        self.learner = Learner(brief, self.encoder)
        self.starts = max(3, min(STARTS, brief.trials // 4))

    def propose(self, history: History, rng: Random) -> Choices:
        """The choices to ask next."""
        asked = {row.name for row in self.learner.rows(history.trials)}
        trials = [t for t in (*self.brief.prior, *history.trials) if teaches(t)]
        known = self.learner.evidence(trials)
        finished = sum(t.kind == "finished" for t in known.trials)
        if finished < 3 or len(self.brief.prior) + started(history) < self.starts:
            return self.new_draw(history, asked, rng)
        found = candidates(history, self.encoder, asked, rng)
        if not found:
            return newcomer(history, rng)
        return self.first_within(found, self.worth(found, history, trials, rng))

    def new_draw(self, history: History, asked: set[str], rng: Random) -> Choices:
        """A random network of a function that was not asked for."""
        for _ in range(TRIES):
            choices = newcomer(history, rng)
            row = self.encoder.row(choices)
            if row is not None and row.name not in asked:
                break
        return choices

    # ------------------------------------------------------------ worth

    def worth(self, found: Sequence[Candidate], history: History, trials: Sequence[Seen], rng: Random) -> Vector:
        """How much each candidate is worth trying."""
        basis = self.learner.basis(trials)
        numbers = self.encoder.dense([c.row for c in found], basis.columns.places)
        by_trees = rng.random() < 0.5
        beliefs = [self.belief(i, by_trees, history, trials, numbers) for i in range(len(self.brief.objectives))]
        known = self.learner.evidence(trials)
        out = self.gain(beliefs, known, rng)
        for limit in self.brief.limits:
            model = self.learner.metric(history.trials, limit.metric, basis.columns)
            if model is not None:
                out = out * feasibility(model(numbers), bound(limit), limit.upper)
        return out

    def belief(self, i: int, by_trees: bool, history: History, trials: Sequence[Seen], numbers: np.ndarray) -> Belief:
        """What is believed of an objective, as a target: larger is better."""
        if by_trees:
            return self.learner.trees(trials, i)(numbers)
        return self.learner.process(trials, self._running(history), i)(numbers)

    def _running(self, history: History) -> list[Row]:
        return self.learner.rows(history.running)

    def gain(self, beliefs: Sequence[Belief], known: Evidence, rng: Random) -> Vector:
        """The improvement expected of each candidate."""
        targets = self.learner.targets(known.points)
        own = np.array([i for i, t in enumerate(known.trials) if t.kind == "finished"])
        if len(beliefs) == 1:
            return improvement(beliefs[0], float(targets[own, 0].max()))
        losses = -targets[own]
        front = losses[fronts_first(losses)]
        ideal, reach = front.min(axis=0), np.maximum(np.ptp(front, axis=0), 1e-3)
        scaled = [Belief((-b.mean - ideal[i]) / reach[i], b.spread / reach[i]) for i, b in enumerate(beliefs)]
        draws = np.random.default_rng(rng.randrange(2**32))
        return scalar_improvement(scaled, (losses - ideal) / reach, directions(len(beliefs), draws), draws)

    # ------------------------------------------------------------ limits

    def first_within(self, found: Sequence[Candidate], worth: Vector) -> Choices:
        """The choices of the worthiest candidate whose counted costs keep the limits; of the worthiest where the first few do not."""
        order = np.argsort(-worth, kind="stable")
        limits = [limit for limit in self.brief.limits if limit.metric in COUNTED]
        for i in order[: LOOKS if limits else 0]:
            try:
                cost = count(self.brief.space.draw(replay(found[i].choices))[0])
            except UserError:
                continue
            if all(limit.excess(float(getattr(cost, limit.metric))) <= 0 for limit in limits):
                return found[i].choices
        return found[order[0]].choices


def fronts_first(losses: np.ndarray) -> list[int]:
    """The places of points that no other dominates."""
    return next(fronts(losses))


__all__ = ["STARTED", "Predictor", "known_before", "predict"]
