"""nasforge bench --speed: how long a strategy takes to ask and to be told, by how many trials its study holds.

The trials are random draws of the space with drawn scores: only time is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from random import Random
from typing import Any

from nasforge.commands.common import print_json, table
from nasforge.objectives.objective import Objective
from nasforge.search.study import FrozenTrial, end, finished, in_memory
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Chooser, Space
from nasforge.strategies.base import Problem, TrialKind
from nasforge.strategies.optuna import trial_chooser
from nasforge.strategies.registry import sampler

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
    """Return the median over some asks, each told at once; the first, which reads the study, is not counted."""
    rng = Random(len(trials))
    objective = Objective("value", True)
    study = in_memory(sampler(name, Problem(space, 0, len(trials) + MOST_ASKS, (objective,))), objective)
    study.add_trials(trials)
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) < 1 + MOST_ASKS and sum(seconds[1:]) < MOST_SECONDS):
        began = time.perf_counter()
        trial = study.ask()
        space.draw(trial_chooser(trial))
        end(study, trial, TrialKind.FINISHED, [rng.random()])
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[1:])


def drawn_trials(space: Space, count: int) -> list[FrozenTrial]:
    """Return so many finished trials of random networks."""
    rng = Random(count)
    out = []
    for _ in range(count):
        domains: dict[str, Domain] = {}
        draw = random_chooser(rng)

        def ask(domain: Domain, draw: Chooser = draw, domains: dict[str, Domain] = domains) -> Scalar:
            domains[domain.name] = domain
            return draw(domain)

        choices = space.draw(ask)[1]
        out.append(finished(choices, domains, rng.random()))
    return out
