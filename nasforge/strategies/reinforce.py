"""Reinforcement: a policy of one softmax a domain, moved towards what did better than the trials before it."""

from __future__ import annotations

import math
from collections import deque
from copy import deepcopy
from random import Random

from nasforge.objectives.objective import Losses
from nasforge.objectives.pareto import dominates
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Choices, Space
from nasforge.strategies.base import History, Problem, Propose, Trial, TrialKind
from nasforge.strategies.moves import Catalog, unseen
from nasforge.strategies.slots import slot_of, slots, value_in

STEP = 1.0  # of the logits, at a reward of 1
WINDOW = 50  # trials that a reward compares with
FAILED = -0.5  # reward of what failed, was stopped or broke a limit
EXPLORED = 0.1  # share of draws that ignore the policy


def reinforce(problem: Problem) -> Propose:
    """Policy gradient with a baseline. Source: Williams 1992; Zoph & Le 2017, section 3.2.

    In place of their recurrent controller each domain has its own softmax, learnt only where it is asked, as in TuNAS (Bender et
    al. 2020). The reward is the share of the last trials that a network dominates less the share that dominate it: of mean 0, whatever
    the scale and the number of objectives.
    """
    policy = Policy(problem.space)  # after the first `read` trials: it spares work only
    read = 0

    def propose(history: History, rng: Random) -> Choices:
        nonlocal read
        trials = history.trials
        while read < len(trials) and trials[read].kind != TrialKind.RUNNING:
            policy.learn(trials[read], history.feasible(trials[read]))
            read += 1
        ahead = [t for t in trials[read:] if t.kind != TrialKind.RUNNING]
        now = deepcopy(policy) if ahead else policy
        for trial in ahead:
            now.learn(trial, history.feasible(trial))
        return unseen(history, lambda attempt: now.draw(rng, 1 + attempt / 10))

    return propose


class Policy:
    """Logits by domain."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.logits: dict[str, list[float]] = {}
        self.past: deque[Losses] = deque(maxlen=WINDOW)
        self._catalog = Catalog(space)

    def __deepcopy__(self, memo: object) -> Policy:
        other = Policy(self.space)
        other.logits = {name: list(row) for name, row in self.logits.items()}
        other.past, other._catalog = self.past.copy(), self._catalog
        return other

    def draw(self, rng: Random, temperature: float) -> Choices:
        """Choices by the policy."""

        def ask(domain: Domain) -> Scalar:
            number = slots(domain)
            if domain.name not in self.logits or rng.random() < EXPLORED:
                return value_in(domain, rng.randrange(number), rng)
            return value_in(domain, rng.choices(range(number), softmax(self.logits[domain.name], temperature))[0], rng)

        return self.space.draw(ask)[1]

    def learn(self, trial: Trial, feasible: bool) -> None:
        """Move the logits of what a trial chose."""
        reward = self._reward(trial, feasible)
        if reward is None:
            return
        for domain in self._catalog.domains(trial.choices):
            row = self.logits.setdefault(domain.name, [0.0] * slots(domain))
            chosen, chances = slot_of(domain, trial.choices[domain.name]), softmax(row, 1.0)
            for slot, chance in enumerate(chances):
                row[slot] += STEP * reward * ((slot == chosen) - chance)

    def _reward(self, trial: Trial, feasible: bool) -> float | None:
        """None where there is nothing to learn from a trial."""
        if trial.kind == TrialKind.DUPLICATE:
            return None
        if trial.kind != TrialKind.FINISHED or trial.losses is None or not feasible:
            return FAILED
        losses = trial.losses
        won = sum(dominates(losses, other) - dominates(other, losses) for other in self.past)
        count = len(self.past)
        self.past.append(losses)
        return won / count if count else None


def softmax(logits: list[float], temperature: float) -> list[float]:
    """Chances that add up to 1."""
    top = max(logits)
    weights = [math.exp((x - top) / temperature) for x in logits]
    total = sum(weights)
    return [w / total for w in weights]
