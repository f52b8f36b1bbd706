"""Two workers against one on the same two cores: trials an hour of whole searches on digits, interleaved.

    python benchmarks/workers.py [--trials 12] [--epochs 10] [--rounds 2]

Three ways in turns: one worker with one thread, two workers with one thread each, one worker with two threads. The asked trials are the
same (random strategy, one seed). Counted is the time of all trials on workers that have started and have read the data.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna

from nasforge.data import Source
from nasforge.evaluation.base import Context
from nasforge.evaluation.train import fit_to_data
from nasforge.objectives.objective import parse_objectives
from nasforge.runners.local import LocalRunner
from nasforge.search.context import RunContext
from nasforge.search.plan import Plan, shared_identity
from nasforge.search.session import run_trials, sampler_of
from nasforge.search.study import directions
from nasforge.search.timing import Timing
from nasforge.spaces.files import find_space, read
from nasforge.storage.drivers import Drivers
from nasforge.storage.open import open_storage
from nasforge.tasks import load_data, task_of

WAYS = {"1 worker, 1 thread": (1, 1), "2 workers, 1 thread each": (2, 1), "1 worker, 2 threads": (1, 2)}


def trials_an_hour(plan: Plan, runner: Any) -> float:
    """The rate of one search on workers that have already started."""
    data = load_data(plan.data)
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder), None)
        drivers = Drivers(storage, "workers")
        study = drivers.study(storage, "search", directions(plan.objectives), shared_identity(plan))
        study.sampler = sampler_of(plan, plan.strategy, 0)
        began = time.perf_counter()
        run = RunContext(plan, Path(folder), data, task_of(data.spec), runner, Timing(), drivers, lambda status: None)
        ledger = run_trials(run, study, "search", {})
        return 3600 * ledger.count("finished", "pruned", "failed") / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    source = Source("digits")
    plan = Plan(
        fit_to_data(read(find_space("digits")), load_data(source)), source, tuple(parse_objectives("accuracy,-params")), strategy="random",
        scheduler="none", trials=args.trials, recipe={"epochs": args.epochs, "early_stopping": None},
    )  # fmt: skip
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(args.rounds + 1):  # the first round only warms
        for way, (workers, threads) in WAYS.items():
            runner = LocalRunner(Context(source=source), workers, threads)
            try:
                trials_an_hour(plan if rates[way] else Plan(**{**vars(plan), "trials": 2 * workers}), runner)
                rates[way].append(trials_an_hour(plan, runner))
            finally:
                runner.close()
            print(f"{way}: {rates[way][-1]:.0f} trials an hour", flush=True)
    mean = {way: statistics.mean(found[1:]) for way, found in rates.items()}
    one = mean["1 worker, 1 thread"]
    for way, rate in mean.items():
        print(f"{way}: {rate:.0f} trials an hour, {rate / one:.2f} times one worker with one thread")


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
