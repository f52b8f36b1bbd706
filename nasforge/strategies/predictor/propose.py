"""The default strategy: what models of architectures expect to better the best, with regard to limits and to what is running.

Two kinds of models take turns: a Gaussian process sees fine differences near what is known, trees are right in the large. Where one has
settled on a wrong corner, the other still looks elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import numpy as np

from nasforge.objectives.metrics import Known
from nasforge.objectives.objective import Objective
from nasforge.spaces.space import Choices
from nasforge.strategies.base import History, Problem, Propose, TrialKind
from nasforge.strategies.moves import newcomer, started
from nasforge.strategies.predictor.acquire import Vector, directions, feasibility, improvement, scalar_improvement
from nasforge.strategies.predictor.candidates import PARENTS, Candidate, Pool, best
from nasforge.strategies.predictor.cases import Case, Cases
from nasforge.strategies.predictor.encoder import Columns, Encoder, Row
from nasforge.strategies.predictor.evidence import Evidence, evidence, targets
from nasforge.strategies.predictor.learner import LEAST, Learner, Model, logarithm
from nasforge.strategies.predictor.models import Belief
from nasforge.strategies.ranking import fronts

STARTS = 10  # random networks to begin with
HINTED = 4  # networks to begin with where hints say which
NEARNESS = 1.25  # what a hint loses of a network that is just like one asked for
ROUNDS = 3  # of breeding what hints say most of
TRIES = 20  # at a random network of a new function
TREES = 0.5  # share of asks that trees judge
LOOKS = 6  # candidates whose costs are counted before one is taken

Judge = Callable[[Sequence[Candidate]], Vector]


def predict(problem: Problem) -> Propose:
    """Return the strategy of a search."""
    return Predictor(problem).propose


class Predictor:
    """Proposes by models. What it remembers spares work only: a proposal follows from the history and the random numbers."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.encoder = Encoder(problem.space, problem.scores, problem.seed)
        self.cases = Cases(problem, self.encoder)
        self.learner = Learner(problem, self.encoder)
        self.starts = max(LEAST, min(HINTED if self.learner.hinted else STARTS, problem.trials // 4))

    def propose(self, history: History, rng: Random) -> Choices:
        """Return the choices to ask next."""
        cases = self.cases.of(history)
        asked = {c.row.name for c in cases}
        known = evidence([c for c in (*self.cases.prior, *cases) if c.teaches])
        enough = sum(c.final is not None for c in known.cases) >= LEAST
        begins = not enough or len(self.cases.prior) + started(history) < self.starts
        if begins and not self.learner.hinted:
            return self.drawn(history, asked, rng)
        judge = self.first(cases) if begins else self.judge(known, cases, rng)
        pool = Pool(self.encoder, asked)
        pool.draw(history)
        pool.breed(best(history), rng)
        found = pool.take()
        worth = judge(found)
        for _ in range(ROUNDS if begins else 1):
            pool.breed([found[i].choices for i in np.argsort(-worth, kind="stable")[:PARENTS]], rng)
            more = pool.take()
            found, worth = [*found, *more], np.concatenate([worth, judge(more)])
        return self.first_within(found, worth) if found else newcomer(history, rng)

    def drawn(self, history: History, asked: set[str], rng: Random) -> Choices:
        """A random network of a function that was not asked for."""
        for _ in range(TRIES):
            choices = newcomer(history, rng)
            row = self.encoder.row(choices)
            if row is not None and row.name not in asked:
                break
        return choices

    # ------------------------------------------------------------ worth

    def judge(self, known: Evidence, cases: Sequence[Case], rng: Random) -> Judge:
        """Return how much candidates are worth trying, by models of one kind."""
        by_trees, seed = rng.random() < TREES, rng.randrange(2**32)
        columns = self.learner.basis(known.cases).columns
        told = {c.name for c in known.cases}
        running = [c.row for c in cases if c.seen.kind == TrialKind.RUNNING and c.name not in told]
        models = [self.model(i, known, cases, running, by_trees) for i in range(len(self.problem.objectives))]
        trained = [i for i, o in enumerate(self.problem.objectives) if not on_paper(o)]
        within = self.within(cases, columns)

        def worth(found: Sequence[Candidate]) -> Vector:
            if not found:
                return np.zeros(0)
            rows = [c.row for c in found]
            out = gain([model(rows) for model in models], known, trained, np.random.default_rng(seed))
            if running:
                out = out * (1 - self.learner.alike(known.cases, running, rows))
            return out * within(rows)

        return worth

    def first(self, cases: Sequence[Case]) -> Judge:
        """Return how much networks are worth to begin with: by what hints say, and unlike what was asked for."""
        columns, asked = self.learner.usual, [c.row for c in cases]
        within = self.within(cases, columns)

        def worth(found: Sequence[Candidate]) -> Vector:
            if not found:
                return np.zeros(0)
            rows = [c.row for c in found]
            near = self.learner.nearness(columns, asked, rows) if asked else np.zeros(len(rows))
            return self.learner.hints.voice(rows, len(asked)) - NEARNESS * near + np.log(within(rows) + 1e-9)

        return worth

    def model(self, i: int, known: Evidence, cases: Sequence[Case], running: Sequence[Row], by_trees: bool) -> Model:
        """Return the model of an objective: of its target where it is the only one, else of its scaled loss."""
        objective, single = self.problem.objectives[i], len(self.problem.objectives) == 1
        counted = self.learner.metric(cases, objective.metric, self.learner.basis(known.cases).columns) if on_paper(objective) else None
        if counted is not None and not single:
            return counted
        model = self.learner.trees(known.cases, i) if by_trees else self.learner.process(known, i, running)
        if single:
            return model
        target = targets(known.points)[i]

        def back(rows: Sequence[Row]) -> Belief:
            belief = model(rows)
            return Belief(target.middle - target.spread * belief.mean, target.spread * belief.spread)

        return back

    # ------------------------------------------------------------ limits

    def within(self, cases: Sequence[Case], columns: Columns) -> Callable[[Sequence[Row]], Vector]:
        """Return how likely networks keep all limits that are known well enough."""
        models = [(limit, self.learner.metric(cases, limit.metric, columns)) for limit in self.problem.limits]

        def likely(rows: Sequence[Row]) -> Vector:
            out = np.ones(len(rows))
            for limit, model in models:
                if model is not None:
                    out = out * feasibility(model(rows), logarithm(limit.metric, limit.bound), limit.upper)
            return out

        return likely

    def first_within(self, found: Sequence[Candidate], worth: Vector) -> Choices:
        """The choices of the worthiest candidate whose counted costs keep the limits; of the worthiest where the first few do not."""
        order = np.argsort(-worth, kind="stable")
        looked = order[: LOOKS if self.problem.limits else 0]
        return next((found[i].choices for i in looked if self.problem.keeps(found[i].choices)), found[order[0]].choices)


def on_paper(objective: Objective) -> bool:
    """Return whether a linear model of the metric's logarithm gives the scaled loss: a cost that is known before training."""
    return objective.described.known is Known.PAPER and not objective.maximize


def gain(beliefs: Sequence[Belief], known: Evidence, trained: Sequence[int], draws: np.random.Generator) -> Vector:
    """Return the improvement expected of each candidate: of the target, or with several objectives of a random scalarisation.

    Beyond what this search has reached: what earlier ones found is to be found again first.
    """
    reached, finished = known.reached, known.finished
    if not len(reached) and any(c.own for c in known.cases):
        return np.ones(len(beliefs[0].mean))  # nothing keeps the limits yet: what may keep them is as good as anything
    start = reached if len(reached) else finished.max(axis=0, keepdims=True)
    if len(beliefs) == 1:
        return improvement(beliefs[0], float(targets(known.points)[0].at(start[:, 0]).max()))
    pareto = finished[next(fronts(finished))]
    ideal, reach = pareto.min(axis=0), np.maximum(np.ptp(pareto, axis=0), 1e-3)
    scaled = [Belief((b.mean - ideal[i]) / reach[i], b.spread / reach[i]) for i, b in enumerate(beliefs)]
    return scalar_improvement(scaled, (start - ideal) / reach, directions(len(beliefs), trained, draws), draws)
