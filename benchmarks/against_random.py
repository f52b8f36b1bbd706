"""The default strategy against random search with real trainings, at equal cost: accuracy against parameters, over seeds.

    python benchmarks/against_random.py --out FILE [--spaces cell,mobile,mixed] [--data digits] [--images 2000] [--trials 24] [--epochs 4]
        [--seeds 5] [--first 0] [--workers 2]

Whole searches by the code of `nasforge search`, without early stopping, so that every trial costs the same epochs. FILE keeps what has
been searched: a second call goes on, and only prints where nothing is missing. Printed: hypervolume of what each search trained, as a
share of the box between the best and the worst that any search of the space saw, and of how many seeds the strategy did better.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from nasforge.api.named import space_named
from nasforge.commands.common import table
from nasforge.data import Source
from nasforge.evaluation.base import Context
from nasforge.evaluation.train import fit_to_data
from nasforge.objectives.objective import limits_of, parse_objectives, scaled
from nasforge.objectives.pareto import hypervolume
from nasforge.runners.local import LocalRunner
from nasforge.search.context import RunContext
from nasforge.search.plan import Plan, shared_identity
from nasforge.search.records import Ledger
from nasforge.search.session import run_trials, sampler_of
from nasforge.search.study import directions
from nasforge.search.timing import Timing
from nasforge.storage.drivers import Drivers
from nasforge.storage.open import open_storage
from nasforge.tasks import load_data, task_of

OBJECTIVES = tuple(parse_objectives("accuracy,-params"))
STRATEGIES = ("predictor", "random")


def main() -> None:
    args = _arguments()
    found = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(r["space"], r["strategy"], r["seed"]) for r in found}
    runner = LocalRunner(Context(source=_source(args)), args.workers, 1)
    try:
        for seed in range(args.first, args.first + args.seeds):
            for space in args.spaces.split(","):
                for strategy in STRATEGIES:
                    if (space, strategy, seed) not in done:
                        row = {"space": space, "strategy": strategy, "seed": seed, **_search(args, space, strategy, seed, runner)}
                        found.append(row)
                        with args.out.open("a") as file:
                            file.write(json.dumps(row) + "\n")
    finally:
        runner.close()
    rows = [row for space in args.spaces.split(",") for row in _compared(space, [r for r in found if r["space"] == space])]
    head = ("space", "strategy", "hypervolume", "better on", "best accuracy", "seconds of training")
    print(table(head, rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spaces", default="cell,mobile,mixed")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, help="so many of them (default: all)")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def _source(args: argparse.Namespace) -> Source:
    return Source(args.data, limit=args.images)


def _search(args: argparse.Namespace, space: str, strategy: str, seed: int, runner: LocalRunner) -> dict[str, Any]:
    """The metrics of all that one search trained, in the order in which it ended, and the seconds that took."""
    source = _source(args)
    data = load_data(source)
    fitted = fit_to_data(space_named(space), data)
    plan = Plan(
        fitted, source, OBJECTIVES, tuple(limits_of(fitted.get("constraints", {}))), strategy=strategy, scheduler="none",
        trials=args.trials, seed=seed, recipe={"epochs": args.epochs, "early_stopping": None},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(Path(folder), None)
        drivers = Drivers(storage, "against random")
        study = drivers.study(storage, "search", directions(OBJECTIVES), shared_identity(plan))
        study.sampler = sampler_of(plan, strategy, 0)
        run = RunContext(plan, Path(folder), data, task_of(data.spec), runner, Timing(), drivers, lambda status: None)
        ledger: Ledger = run_trials(run, study, "search", {})
        drivers.close()
    trained = [r for _, r in sorted(ledger.records.items()) if r.kind in ("finished", "pruned", "failed")]
    metrics = [{m: r.metrics[m] for m in ("accuracy", "params")} for r in trained if r.kind == "finished"]
    return {"metrics": metrics, "seconds": sum(sum(r.seconds.values()) for r in trained), "failed": len(trained) - len(metrics)}


def _compared(space: str, found: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    points = {(r["strategy"], r["seed"]): [scaled(m, OBJECTIVES) for m in r["metrics"]] for r in found}
    worst, best = ([pick(axis) for axis in zip(*(p for ps in points.values() for p in ps), strict=True)] for pick in (max, min))
    box = math.prod(w - b for w, b in zip(worst, best, strict=True))
    share = {name: hypervolume(ps, worst) / box for name, ps in points.items()}
    rows = []
    for strategy in STRATEGIES:
        own = [r for r in found if r["strategy"] == strategy]
        volumes = [share[strategy, r["seed"]] for r in own]
        pairs = [(share["predictor", r["seed"]], share["random", r["seed"]]) for r in own]
        won = sum(a > b if strategy == "predictor" else b > a for a, b in pairs)
        tops = [max(m["accuracy"] for m in r["metrics"]) for r in own]
        seconds = statistics.fmean(r["seconds"] for r in own)
        rows.append((
            space, strategy, f"{statistics.fmean(volumes):.3f} ± {statistics.pstdev(volumes):.3f}", f"{won} of {len(pairs)} seeds",
            f"{100 * statistics.fmean(tops):.1f} ± {100 * statistics.pstdev(tops):.1f}", f"{seconds:.0f}",
        ))  # fmt: skip
    return rows


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
