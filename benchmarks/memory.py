"""What a strategy keeps in memory as a study grows: the memory of a process that asks and tells, by number of trials.

    python benchmarks/memory.py [--space mobile] [--strategies predictor,random] [--trials 500,1000,2000,4000]

Each strategy runs in a process of its own; a network scores by its choices, nothing is trained. Counted is what Python and
NumPy hold (tracemalloc) after collection, in MB. The study itself, in memory here, grows with every trial: `random` keeps nothing else.
"""

from __future__ import annotations

import argparse
import gc
import math
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import Random

import optuna

from nasforge.api.named import space_named
from nasforge.commands.common import table
from nasforge.objectives.objective import Objective
from nasforge.spaces.space import Space
from nasforge.strategies.base import Problem
from nasforge.strategies.optuna import trial_chooser
from nasforge.strategies.registry import sampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--strategies", default="predictor,random")
    parser.add_argument("--trials", default="500,1000,2000,4000")
    args = parser.parse_args()
    sizes = [int(n) for n in args.trials.split(",")]
    rows = []
    for name in args.strategies.split(","):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows.append((name, *(f"{mb:.1f}" for mb in pool.submit(held_mb, args.space, name, sizes).result())))
    print(table(("strategy", *(f"MB at {n:,} trials" for n in sizes)), rows))


def held_mb(name: str, strategy_name: str, sizes: Sequence[int]) -> list[float]:
    """The memory beyond that of an empty study, each time so many trials were asked and told."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = Space(space_named(name))
    study = optuna.create_study(
        direction="maximize", sampler=sampler(strategy_name, Problem(space, 0, max(sizes), (Objective("value", True),)))
    )
    out = []
    tracemalloc.start()
    for number in range(1, max(sizes) + 1):
        trial = study.ask()
        choices = space.draw(trial_chooser(trial))[1]
        study.tell(trial, _score(choices))
        if number in sizes:
            gc.collect()
            out.append(tracemalloc.get_traced_memory()[0] / 1e6)
    return out


def _score(choices: object) -> float:
    """A number that similar choices share in part, so that models have something to learn."""
    assert isinstance(choices, dict)
    return math.fsum(Random(f"{name}={value}").random() for name, value in choices.items()) / max(len(choices), 1)


if __name__ == "__main__":
    main()
