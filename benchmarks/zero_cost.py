"""What zero-cost scores are worth to the default strategy as features, on NAS-Bench-201: regret with and without them, the same seeds.

    python benchmarks/zero_cost.py --table nb201.csv.gz --proxies nb201_proxies.npz [--select c10_valid_e12]
        [--names nwot,synflow,jacov,grad_norm] [--seeds 50] [--first 0] [--evals 20,30,40,50,70] [--workers 1]
    python benchmarks/zero_cost.py --time cell,mobile [--data digits]

The scores are those that NAS-Bench-Suite-Zero published, of CIFAR-10; a search computes its own (`nasforge search --scores`). Cells that
have operations which nothing reads have none in the file: those of the cell that computes the same stand for them, and the least of all
for cells that compute nothing. With --time: milliseconds of the processor for each score of a random network of packaged spaces, one
thread, building included.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np
import optuna
import torch

from nasforge.api.named import space_named
from nasforge.commands.common import table
from nasforge.data import Source
from nasforge.evaluation.tables import Table, read_table
from nasforge.evaluation.train import fit_to_data
from nasforge.evaluation.zero_cost import zero_cost
from nasforge.evaluation.zero_cost_scores import SCORES
from nasforge.search.simulate import simulate
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.domains import Scalar
from nasforge.spaces.space import Space
from nasforge.strategies.base import Scores
from nasforge.tasks import load_data

DATA = "cifar10"
NAMES = ("nwot", "synflow", "jacov", "grad_norm")
TIMED = 10  # networks
TIMED_IMAGES = 1000


def main() -> None:
    args = _arguments()
    if args.time:
        print(table(["space", *SCORES], [[name, *took(name, args.data)] for name in args.time.split(",")]))
        return
    evals = [int(n) for n in args.evals.split(",")]
    of = read_table(args.table)
    kinds = ("without", "with scores")
    regrets, scored = {}, 0
    for name in kinds:
        runs = []
        for seed in range(args.first, args.first + args.seeds):
            known: dict[str, Mapping[str, float]] = {}
            scores = scores_of(of, args.proxies, args.names.split(","), known) if name == "with scores" else None
            runs.append(simulate(of, "predictor", seed, max(evals), args.select, args.select, args.workers, scores))
            scored += len(known)
        regrets[name] = {n: [of.best(args.select) - run.best[run.at(n)] for run in runs] for n in evals}
    rows = [[name, *(told(regrets[name][n]) for n in evals)] for name in kinds]
    gained = [[b - a for a, b in zip(regrets["without"][n], regrets["with scores"][n], strict=True)] for n in evals]
    print(f"{args.select}: regret after so many evaluations, mean of {args.seeds} runs with its standard error")
    print(table(["predictor", *map(str, evals)], [*rows, ["difference, run by run", *map(told, gained)]]))
    print(f"networks scored in a run of {max(evals)}: {scored / args.seeds:.0f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--table", type=Path)
    what.add_argument("--time", metavar="SPACES")
    parser.add_argument("--proxies", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--select", default="c10_valid_e12")
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--evals", default="20,30,40,50,70")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    if args.table and not args.proxies:
        parser.error("--table needs --proxies FILE")
    return args


def scores_of(of: Table, proxies: Path, names: Sequence[str], known: dict[str, Mapping[str, float]]) -> Scores:
    """The scores of a cell of the table by its choices, kept in `known` by its key: cells that compute the same have those of the first."""
    columns = {name: np.load(proxies)[f"{DATA}/{name}"] for name in names}
    same = of.column("unique_id")
    first: dict[float, int] = {}
    for i, number in enumerate(same):
        if all(math.isfinite(c[i]) for c in columns.values()):
            first.setdefault(number, i)

    def scores(choices: Mapping[str, Scalar]) -> Mapping[str, float]:
        key = of.key(dict(choices))
        if key not in known:
            place = first.get(of.evaluate(dict(choices), "unique_id"))
            known[key] = {name: -math.inf if place is None else float(column[place]) for name, column in columns.items()}
        return known[key]

    return scores


def took(name: str, source: str) -> list[str]:
    """The median milliseconds of each score over random networks of a space."""
    data = load_data(Source(source, limit=TIMED_IMAGES))
    space = Space(fit_to_data(space_named(name), data))
    archs = [space.draw(random_chooser(Random(i)))[0] for i in range(TIMED)]
    out = []
    for score in SCORES:
        times = []
        for arch in archs:
            began = time.process_time()
            zero_cost(arch, data, 0, [score])
            times.append(1000 * (time.process_time() - began))
        out.append(f"{statistics.median(times):.0f}")
    return out


def told(values: list[float]) -> str:
    """The mean and its standard error."""
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}"


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    main()
