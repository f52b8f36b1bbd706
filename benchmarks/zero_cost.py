"""What zero-cost scores are worth to the default strategy as features, on NAS-Bench-201: regret with and without them, the same seeds.

    python benchmarks/zero_cost.py --table nb201.csv.gz --proxies nb201_proxies.npz [--select c10_valid_e12]
        [--names nwot,synflow,jacov,grad_norm] [--seeds 50] [--first 0] [--evals 20,30,40,50,70] [--workers 1]

The scores are those that NAS-Bench-Suite-Zero published, of CIFAR-10; a search computes its own (`nasforge search --scores`). Cells that
have operations which nothing reads have none in the file: those of the cell that computes the same stand for them, and the least of all
for cells that compute nothing.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna

from nasforge.commands.common import table
from nasforge.openings import Scalar
from nasforge.search.history import Scores
from nasforge.search.race import race
from nasforge.tables import Table, read_table

DATA = "cifar10"


def main() -> None:
    args = _arguments()
    evals = [int(n) for n in args.evals.split(",")]
    of = read_table(args.table)
    kinds = {"without": None, "with scores": scores_of(of, args.proxies, args.names.split(","))}
    regrets = {}
    for name, scores in kinds.items():
        seeds = range(args.first, args.first + args.seeds)
        runs = [race(of, "predictor", seed, max(evals), args.select, args.select, args.workers, scores) for seed in seeds]
        regrets[name] = {n: [of.best(args.select) - run.best[run.at(n)] for run in runs] for n in evals}
    rows = [[name, *(told(regrets[name][n]) for n in evals)] for name in kinds]
    gained = [[b - a for a, b in zip(regrets["without"][n], regrets["with scores"][n], strict=True)] for n in evals]
    print(f"{args.select}: regret after so many evaluations, mean of {args.seeds} runs with its standard error")
    print(table(["predictor", *map(str, evals)], [*rows, ["difference, run by run", *map(told, gained)]]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--proxies", type=Path, required=True)
    parser.add_argument("--select", default="c10_valid_e12")
    parser.add_argument("--names", default="nwot,synflow,jacov,grad_norm")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--evals", default="20,30,40,50,70")
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args()


def scores_of(of: Table, proxies: Path, names: list[str]) -> Scores:
    """The scores of a cell of the table by its choices; none of a cell without any operation that is read."""
    columns = {name: np.load(proxies)[f"{DATA}/{name}"] for name in names}
    same = of.column("unique_id")
    first: dict[float, int] = {}
    for i, number in enumerate(same):
        if all(math.isfinite(c[i]) for c in columns.values()):
            first.setdefault(number, i)

    def scores(choices: Mapping[str, Scalar]) -> Mapping[str, float]:
        place = first.get(of.evaluate(dict(choices), "unique_id"))
        return {name: -math.inf if place is None else float(column[place]) for name, column in columns.items()}

    return scores


def told(values: list[float]) -> str:
    """The mean and its standard error."""
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}"


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
