"""How a search grows: simulated workers, 1 to 1,000, on the real study, strategy, screen, scheduler and journal.

    python benchmarks/growing.py [--workers 1,10,100,1000] [--per-worker 5] [--most 3000] [--seconds 60] [--strategy tpe] [--scheduler asha]

A discrete-event run: trainings take simulated time (log-normal, `--seconds` on average, five epochs), everything that the driver does is
really done, and the time it computes for that is added to the simulated clock, in which it serves one worker after the other.
Efficiency: the training time of all workers over that and the time that they waited for the driver. The driver's own time is told per
trial, and over the last tenth of the trials, where it would show what grows.
"""

from __future__ import annotations

import argparse
import cProfile
import heapq
import pstats
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import optuna

from nasforge.data import Source
from nasforge.evaluation.base import Job, Report, Result
from nasforge.evaluation.train import STOPS, fit_to_data
from nasforge.objectives.objective import parse_objectives
from nasforge.runners import Driver
from nasforge.search.context import RunContext
from nasforge.search.plan import Plan, shared_identity
from nasforge.search.session import run_trials, sampler_of
from nasforge.search.study import directions
from nasforge.search.timing import Timing
from nasforge.storage.drivers import Drivers
from nasforge.storage.open import open_storage
from nasforge.tasks import load_data, task_of

EPOCHS = 5


class Simulated:
    """A runner of workers that exist only on a simulated clock."""

    def __init__(self, workers: int, seconds: float) -> None:
        self.workers, self.seconds, self.rng = workers, seconds, Random(0)
        self.now = self.driver_free = self.trained = self.waited = 0.0
        self.spent: list[float] = []  # seconds of the driver, by trial

    def run(self, driver: Driver) -> None:
        events: list[tuple[float, int, int, float, float]] = []  # end of an epoch: time, trial, epoch, its length, quality
        idle = self.workers
        while True:
            while idle and (asked := self._serve(driver.next_job)) is not None:
                length = self.seconds / EPOCHS * self.rng.lognormvariate(-0.125, 0.5)
                heapq.heappush(events, (self.driver_free + length, asked[0], 1, length, _quality(asked[1])))
                idle -= 1
                self.spent.append(0.0)
            if not events:
                return
            self.now, number, epoch, length, quality = heapq.heappop(events)
            self.trained += length
            stopped = STOPS[self._serve(driver.on_report, number, Report(epoch, _row(epoch, quality)))]
            if stopped is not None or epoch == EPOCHS:
                row = _row(epoch, quality)
                result = Result({"accuracy": row["accuracy"], "loss": row["val_loss"]}, stopped=stopped)
                result.curve = [_row(e, quality) for e in range(1, epoch + 1)]
                self._serve(driver.on_end, number, result)
                idle += 1
            else:
                heapq.heappush(events, (self.driver_free + length, number, epoch + 1, length, quality))

    def _serve(self, what: Any, *args: Any) -> Any:
        """Let the driver do something, as soon as it is free, and add the time that it takes."""
        began = time.process_time()
        done = what(*args)
        took = time.process_time() - began
        self.driver_free = max(self.now, self.driver_free) + took
        if done is not None or what.__name__ != "next_job":
            self.waited += self.driver_free - self.now
        if self.spent:
            self.spent[-1] += took
        return done

    def close(self) -> None:
        pass


def _quality(job: Job) -> float:
    """What a network reaches, from its widths and kernels."""
    wide = sum(line["conv"]["out"] * line["conv"]["kernel"] ** 0.5 for line in job.arch["body"])
    return 1 - 1 / (1 + wide / 40) + Random(str(job.arch["body"])).gauss(0, 0.02)


def _row(epoch: int, quality: float) -> dict[str, float]:
    accuracy = max(0.0, min(1.0, quality * (1 - 0.5**epoch)))
    return {"epoch": epoch, "accuracy": accuracy, "val_loss": 1 - accuracy, "loss": 1 - accuracy}


def grow(plan: Plan, workers: int, seconds: float) -> dict[str, Any]:
    """One simulated search."""
    data = load_data(plan.data)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        storage = open_storage(run, None)
        drivers = Drivers(storage, "growing")
        study = drivers.study(storage, "search", directions(plan.objectives), shared_identity(plan))
        study.sampler = sampler_of(plan, plan.strategy, 0)
        runner = Simulated(workers, seconds)
        ledger = run_trials(
            RunContext(plan, run, data, task_of(data.spec), runner, Timing(), drivers, lambda status: None), study, "search", {}
        )
    late = runner.spent[-max(1, len(runner.spent) // 10) :]
    return {
        "workers": workers,
        "trials": ledger.count("finished", "pruned"),
        "efficiency": round(runner.trained / (runner.trained + runner.waited), 3),
        "hours": round(runner.now / 3600, 2),
        "driver ms/trial": round(1e3 * sum(runner.spent) / len(runner.spent), 1),
        "in the last tenth": round(1e3 * sum(late) / len(late), 1),
        "driver busy": round(sum(runner.spent) / runner.now, 3),
    }


def plan_of(args: argparse.Namespace, trials: int) -> Plan:
    layer = {"conv": {"out": {"choose": [4, 8, 12, 16]}, "kernel": {"choose": [1, 3, 5]}}}
    source = Source("digits", limit=300)
    space = fit_to_data({"input": [1, 8, 8], "classes": 10, "body": [layer] * 5, "head": ["gap_head"]}, load_data(source))
    return Plan(
        space, source, tuple(parse_objectives("accuracy,-params")), strategy=args.strategy, scheduler=args.scheduler, trials=trials,
        recipe={"epochs": EPOCHS},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,10,100,1000")
    parser.add_argument("--per-worker", type=int, default=5, help="trials for each worker")
    parser.add_argument("--most", type=int, default=3000, help="trials in all, at most")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a training")
    parser.add_argument("--strategy", default="tpe")
    parser.add_argument("--scheduler", default="asha")
    parser.add_argument("--profile", action="store_true", help="what the driver spends its time on")
    args = parser.parse_args()
    for workers in map(int, args.workers.split(",")):
        plan = plan_of(args, min(args.most, max(50, args.per_worker * workers)))
        watch = cProfile.Profile()
        found = watch.runcall(grow, plan, workers, args.seconds) if args.profile else grow(plan, workers, args.seconds)
        print(found, flush=True)
        if args.profile:
            pstats.Stats(watch).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
