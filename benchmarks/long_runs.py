"""What long runs cost: CPU time a trial as a study grows, the opening of its journal, its page, and the memory of the driver.

    python benchmarks/long_runs.py [--strategies random,evolution] [--trials 500,3000,10000] [--scheduler asha]

Each strategy drives one search in a process of its own, by the code of a search, into a journal. A training takes no time: it gives a
curve of eight epochs, better for larger networks. A row tells the CPU milliseconds of a trial over the last trials before each number,
the memory of the process there, and at the end how long the journal takes to open, how long the page takes, and how large it is.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

import optuna

from nasforge.commands.common import table
from nasforge.data import Source
from nasforge.evaluation.base import Job, OnReport, Report, Result
from nasforge.evaluation.train import STOPS, fit_to_data
from nasforge.networks.cost import count
from nasforge.objectives.objective import parse_objectives, validation
from nasforge.report import collect
from nasforge.report.page import report
from nasforge.runners import Driver
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.storage.open import open_storage
from nasforge.tasks import load_data

EPOCHS = 8
WINDOW = 200  # trials that a figure is the mean of
LAYER = {"conv": {"out": {"choose": [4, 8, 12, 16]}, "kernel": {"choose": [1, 3, 5]}}}


class Instant:
    """A runner whose trainings take no time; it notes the CPU time at each job of the search."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.megabytes: list[float] = []

    def run(self, driver: Driver) -> None:
        while (asked := driver.next_job()) is not None:
            number, job = asked
            if not job.test:
                self.cpu.append(time.process_time())
                self.megabytes.append(resident_mb())
            driver.on_end(number, self.result(job, lambda report, n=number: driver.on_report(n, report)))

    def result(self, job: Job, on_report: OnReport) -> Result:
        rng, result = Random(str(job.arch)), Result()
        top = 1 - 40 / (60 + count(job.arch).params ** 0.5) + rng.gauss(0, 0.01)
        for epoch in range(1, EPOCHS + 1):
            accuracy = top * (1 - 0.6**epoch) + rng.gauss(0, 0.005)
            row = {"epoch": epoch, "loss": 1 - accuracy, "val_loss": 1 - accuracy, "accuracy": accuracy, "seconds": 0.01 * epoch}
            result.curve.append(row)
            result.stopped = STOPS[on_report(Report(epoch, row))]
            if result.stopped is not None:
                break
        result.metrics, result.seconds = validation(result.curve[-1]), {"training": 0.01 * len(result.curve)}
        if job.test:
            result.test = {"accuracy": top, "loss": 1 - top}
        return result

    def close(self) -> None:
        pass


def resident_mb() -> float:
    """The memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(strategy: str, scheduler: str, sizes: Sequence[int]) -> list[str]:
    """The row of a strategy."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    source, runner = Source("digits", limit=300), Instant()
    layers = [LAYER] * (4 if strategy == "grid" else 8)  # a grid is of at most 200,000 points
    space = fit_to_data({"input": [1, 8, 8], "classes": 10, "body": layers, "head": ["gap_head"]}, load_data(source))
    plan = Plan(space, source, tuple(parse_objectives("accuracy,-params")), strategy=strategy, trials=max(sizes), scheduler=scheduler,
                control=False, recipe={"epochs": EPOCHS})  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        search(plan, folder, lambda: runner, lambda status: None)
        cells = []
        for size in sizes:
            at = min(size, len(runner.cpu)) - 1
            cells += [f"{1e3 * (runner.cpu[at] - runner.cpu[at - WINDOW]) / WINDOW:.1f}", f"{runner.megabytes[at]:.0f}"]
        began = time.process_time()
        optuna.load_study(study_name="search", storage=open_storage(folder, None))
        opened = time.process_time()
        collect(folder)
        read = time.process_time()
        page = report(folder)
        cells += [f"{opened - began:.1f}", f"{read - opened:.1f}", f"{time.process_time() - read:.1f}", f"{page.stat().st_size / 1e6:.2f}"]
    return [strategy, *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default="random,evolution")
    parser.add_argument("--trials", default="500,3000,10000")
    parser.add_argument("--scheduler", default="none")
    args = parser.parse_args()
    sizes = [int(n) for n in args.trials.split(",")]
    head = ("strategy", *(what for n in sizes for what in (f"ms at {n:,}", f"MB at {n:,}")), "opens s", "read s", "page s", "page MB")
    for strategy in args.strategies.split(","):  # a process for each, so that none inherits the memory of another
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            print(table(head, [tuple(pool.submit(measure, strategy, args.scheduler, sizes).result())]), flush=True)


if __name__ == "__main__":
    main()
