"""Short trials a second into each storage: a journal from one driver, SQLite and PostgreSQL from several drivers on one study.

    python benchmarks/storage.py [--drivers 8] [--trials 800] [--storages journal,sqlite,postgresql] [--strategy random]

A trial is asked, screened (key and costs, of a space of ten domains whose layers are soon all known), claimed, "trained" in no time
and written down, by the code of a search. Every trial is counted afterwards from the storage: lost and repeated ones are told.
PostgreSQL is started here from Debian's package.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import optuna

from nasforge.data import Source
from nasforge.evaluation.base import Job, Result
from nasforge.evaluation.train import fit_to_data
from nasforge.networks.cost import count
from nasforge.objectives.objective import parse_objectives
from nasforge.runners import Driver
from nasforge.search.context import RunContext
from nasforge.search.plan import Plan, shared_identity
from nasforge.search.session import run_trials
from nasforge.search.study import directions
from nasforge.search.timing import Timing
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Space
from nasforge.storage.drivers import Drivers
from nasforge.storage.open import open_storage
from nasforge.strategies.base import Problem
from nasforge.strategies.registry import sampler
from nasforge.tasks import load_data, task_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "slow"))
from servers import Postgres, binaries


class Instant:
    """A runner whose jobs take no time."""

    def run(self, driver: Driver) -> None:
        while (asked := driver.next_job()) is not None:
            driver.on_end(asked[0], self.evaluate(asked[1]))

    def evaluate(self, job: Job) -> Result:
        score = (hash(str(job.arch)) % 1000) / 1000
        return Result({"accuracy": score, "loss": 1 - score}, curve=[{"epoch": 1, "val_loss": 1 - score, "accuracy": score}])

    def close(self) -> None:
        pass


def drive(plan: Plan, folder: str, name: str, gate: Any, done: Any) -> None:
    """One driver: it works from the domain of the gate until the study has its trials, and tells how many were its own."""
    run = Path(folder) / name
    run.mkdir()
    storage = open_storage(run, plan.storage)
    drivers = Drivers(storage, name)
    study = drivers.study(storage, "bench", directions(plan.objectives), shared_identity(plan))
    study.sampler = sampler(plan.strategy, Problem(Space(plan.space), plan.seed, plan.trials, plan.objectives, plan.limits))
    data = load_data(plan.data)
    for number in range(200):  # so that all layers are known: what is measured is the storage
        count(Space(plan.space).draw(random_chooser(Random(number)))[0])
    mine: list[int] = []
    runner = Instant()
    evaluate = runner.evaluate
    runner.evaluate = lambda job: (mine.append(1), evaluate(job))[1]  # type: ignore[method-assign, func-returns-value]
    gate.wait()
    before = time.process_time()
    run_trials(RunContext(plan, run, data, task_of(data.spec), runner, Timing(), drivers, lambda status: None), study, "search", {})
    drivers.close()
    done.put((len(mine), time.process_time() - before))


def measure(plan: Plan, drivers: int) -> dict[str, Any]:
    """Trials a second from all drivers together, and what the storage holds in the end."""
    context = multiprocessing.get_context("spawn")
    gate, done = context.Barrier(drivers + 1), context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        workers = [context.Process(target=drive, args=(plan, folder, f"driver{i}", gate, done)) for i in range(drivers)]
        for worker in workers:
            worker.start()
        gate.wait()
        began = time.perf_counter()
        told = [done.get() for _ in workers]
        seconds = time.perf_counter() - began
        for worker in workers:
            worker.join()
        storage = open_storage(Path(folder) / "driver0", plan.storage, write=False)
        records = [t.user_attrs.get("record", {}) for t in optuna.load_study(study_name="bench", storage=storage).trials]
    ended = [r for r in records if r.get("kind") in ("finished", "pruned", "failed")]
    evaluated, computed = (sum(column) for column in zip(*told, strict=True))
    return {
        "trials/s": round(len(ended) / seconds, 1), "with duplicates/s": round(len(records) / seconds, 1), "ended": len(ended),
        "lost": evaluated - len(ended), "repeated": len(ended) - len({r["key"] for r in ended}), "drivers": drivers,
        "cpu ms/trial": round(1e3 * computed / len(ended), 1),
    }  # fmt: skip


@contextlib.contextmanager
def url_of(kind: str) -> Iterator[str | None]:
    """Where a storage of that kind lies."""
    if kind == "journal":
        yield None
    elif kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/studies.db"
    else:
        server = Postgres()
        try:
            yield server.url
        finally:
            server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drivers", type=int, default=8)
    parser.add_argument("--trials", type=int, default=800)
    parser.add_argument("--strategy", default="random")
    parser.add_argument("--storages", default="journal,sqlite,postgresql")
    args = parser.parse_args()
    source = Source("digits", limit=300)
    layer = {"conv": {"out": {"choose": [4, 8, 12, 16]}, "kernel": {"choose": [1, 3, 5]}}}
    space = fit_to_data({"input": [1, 8, 8], "classes": 10, "body": [layer] * 5, "head": ["gap_head"]}, load_data(source))
    plan = Plan(space, source, tuple(parse_objectives("accuracy,-params")), strategy=args.strategy, trials=args.trials, scheduler="none")
    for kind in args.storages.split(","):
        if kind == "postgresql" and binaries() is None:
            print("postgresql: no server programs here")
            continue
        with url_of(kind) as url:
            print(f"{kind:11}", measure(replace(plan, storage=url), 1 if kind == "journal" else args.drivers), flush=True)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
