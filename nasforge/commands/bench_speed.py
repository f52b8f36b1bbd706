"""nasforge bench --speed: how long a strategy takes to ask and to be told, by how many trials its study holds.

The trials are random draws of the space with drawn scores: only time is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, create_trial

from nasforge.commands.common import print_json, table
from nasforge.objectives.objective import Objective
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Chooser, Space
from nasforge.strategies.base import Problem
from nasforge.strategies.registry import strategy, trial_chooser

SIZES = (10, 100, 1_000, 10_000)
MOST_ASKS = 20
MOST_SECONDS = 5.0  # of asks at one size, the first excepted


def run(space: Space, names: Sequence[str], as_json: bool) -> int:
    """Carry out the command."""
    out: dict[str, Any] = {"unit": "ms for one ask and tell, median", "trials": list(SIZES), "strategies": {}}
    trials = drawn_trials(space, max(SIZES))
    for name in names:
        out["strategies"][name] = {str(size): round(ask_and_tell_ms(space, name, trials[:size]), 2) for size in SIZES}
    if as_json:
        print_json(out)
    else:
        rows = [[name, *(f"{ms[str(size)]:.1f}" for size in SIZES)] for name, ms in out["strategies"].items()]
        print("median time of one ask and tell in ms, by number of trials\n")
        print(table(["strategy", *(f"{size:,}" for size in SIZES)], rows))
    return 0


def ask_and_tell_ms(space: Space, name: str, trials: Sequence[FrozenTrial]) -> float:
    """The median over some asks, each told at once; the first, which reads the study, is not counted."""
    rng = Random(len(trials))
    objective = Objective("value", True)
    study = optuna.create_study(direction="maximize", sampler=strategy(name, Problem(space, 0, len(trials) + MOST_ASKS, (objective,))))
    study.add_trials(trials)
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) < 1 + MOST_ASKS and sum(seconds[1:]) < MOST_SECONDS):
        began = time.perf_counter()
        trial = study.ask()
        space.draw(trial_chooser(trial))
        study.tell(trial, rng.random())
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[1:])


def drawn_trials(space: Space, count: int) -> list[FrozenTrial]:
    """So many finished trials of random networks."""
    rng = Random(count)
    out = []
    for _ in range(count):
        ranges: dict[str, BaseDistribution] = {}
        choices = space.draw(_noting(random_chooser(rng), ranges))[1]
        out.append(create_trial(params=choices, distributions=ranges, value=rng.random()))
    return out


def _noting(choose: Chooser, ranges: dict[str, BaseDistribution]) -> Chooser:
    """The chooser, with what Optuna calls the range of each domain written down."""

    def ask(domain: Domain) -> Scalar:
        if domain.kind == "choose":
            ranges[domain.name] = CategoricalDistribution(domain.options)
        elif domain.kind == "int":
            ranges[domain.name] = IntDistribution(int(domain.low), int(domain.high), domain.log, domain.step)
        else:
            ranges[domain.name] = FloatDistribution(domain.low, domain.high, domain.log)
        return choose(domain)

    return ask
