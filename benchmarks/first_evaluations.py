"""Regret of the default strategy in its first evaluations: with the hints of other spaces, with these turned round, and without.

    python benchmarks/first_evaluations.py --table nb201_e200.csv.gz --select c10_valid_e200 --out FILE [--hints shipped,turned,none]
        [--seeds 100] [--first 0] [--evals 8,16,32,48]

FILE keeps a line of json for each run: a second call goes on, and only prints where nothing is missing. Hints that are turned round say of
every network the contrary of what they taught: what a search loses that is misled. Without them it is as before there were any.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from functools import partial
from pathlib import Path

import optuna

from nasforge.commands.common import table
from nasforge.evaluation.tables import read_table
from nasforge.search import simulate
from nasforge.strategies.base import Problem
from nasforge.strategies.predictor import hints

SHIPPED = hints.slopes()
TURNED = {kind: {name: -value for name, value in line.items()} for kind, line in SHIPPED.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--select", required=True, metavar="COLUMN")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hints", default="shipped,turned,none")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--evals", default="8,16,32,48")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    evals = [int(n) for n in args.evals.split(",")]
    of = read_table(args.table)
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    found = {(r["hints"], r["select"], r["seed"]): r["regret"] for r in rows if len(r["regret"]) >= max(evals)}
    told = []
    for kind in args.hints.split(","):
        hints.slopes = lambda kind=kind: TURNED if kind == "turned" else SHIPPED
        simulate.Problem = partial(Problem, measures=kind != "none")  # type: ignore[misc]
        runs = []
        for seed in range(args.first, args.first + args.seeds):
            if (kind, args.select, seed) not in found:
                trace = simulate.simulate(of, "predictor", seed, max(evals), args.select, args.select)
                regret = [abs(of.best(args.select) - best) for best in trace.best]
                found[kind, args.select, seed] = regret
                with args.out.open("a") as file:
                    row = {"hints": kind, "select": args.select, "seed": seed, "regret": [round(r, 4) for r in regret]}
                    file.write(json.dumps(row) + "\n")
            runs.append(found[kind, args.select, seed])
        told.append([kind, len(runs), *(_words([run[min(n, len(run)) - 1] for run in runs]) for n in evals)])
    print(f"{args.select}: regret after so many evaluations, mean with its standard error")
    print(table(["hints", "runs", *map(str, evals)], told))


def _words(values: list[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):.3f} ± {error:.3f}"


if __name__ == "__main__":
    main()
