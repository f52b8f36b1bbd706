"""Ways to new choices, and what a trial counts for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import nsmallest
from random import Random

from nasforge.spaces.choosers import mutate, random_chooser
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Choices, Space
from nasforge.strategies.base import History, Trial, TrialKind

TRIES = 30  # at choices that are new
STARTED = (TrialKind.FINISHED, TrialKind.PRUNED, TrialKind.FAILED, TrialKind.RUNNING)  # kinds of trials that cost a training


def draw(space: Space, rng: Random) -> Choices:
    """Random choices."""
    return space.draw(random_chooser(rng))[1]


def changed(space: Space, choices: Mapping[str, Scalar], rng: Random, count: int = 1) -> Choices:
    """Return the choices with `count` of them drawn anew, and whatever opens with these."""
    return space.draw(mutate(choices, rng, count))[1]


def asked(space: Space, choices: Mapping[str, Scalar]) -> list[Domain]:
    """Return the domains that these choices answer, in the order of the file."""
    found: list[Domain] = []

    def ask(domain: Domain) -> Scalar:
        found.append(domain)
        return choices[domain.name]

    space.draw(ask)
    return found


class Catalog:
    """The domains of a space by name, learnt from the choices met so far (repeats of a stage are not in the file)."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._known: dict[str, Domain] = {}

    def domains(self, choices: Mapping[str, Scalar]) -> list[Domain]:
        """Return the domains that these choices answer."""
        if any(name not in self._known for name in choices):
            self._known |= {domain.name: domain for domain in asked(self.space, choices)}
        return [self._known[name] for name in choices]


def unseen(history: History, make: Callable[[int], Choices]) -> Choices:
    """What `make(attempt)` gives first that no trial was asked for; its last where all were."""
    for attempt in range(TRIES):
        choices = make(attempt)
        if not history.has(choices):
            break
    return choices


def mutant(history: History, parent: Trial, rng: Random) -> Choices:
    """One change of a parent; more where its neighbours were asked for already."""
    return unseen(history, lambda attempt: changed(history.problem.space, parent.choices, rng, 1 + attempt // 10))


def started(history: History) -> int:
    """Return how many trials cost a training, those that run now included."""
    return history.count(*STARTED)


def newcomer(history: History, rng: Random) -> Choices:
    """A random draw; where most of them break a limit, every other time a change of one that broke them least."""
    space = history.problem.space
    few = history.count(TrialKind.INFEASIBLE) <= max(10, len(history.trials) // 2)
    outside = [] if few else [t for t in history.trials if t.kind == TrialKind.INFEASIBLE and t.metrics]
    if len(outside) > max(10, len(history.trials) // 2) and rng.random() < 0.5:
        nearest = nsmallest(5, outside, key=lambda t: excess(history, t))
        return mutant(history, rng.choice(nearest), rng)
    return unseen(history, lambda attempt: draw(space, rng))


def excess(history: History, trial: Trial) -> float:
    """By how much a trial breaks the limits, relative to their bounds."""
    return sum(max(0.0, limit.excess(trial.metrics[limit.metric])) for limit in history.problem.limits if limit.metric in trial.metrics)
