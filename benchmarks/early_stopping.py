"""What early stopping saves in a search with two objectives: epochs trained, and the hypervolume reached, with and without it.

    python benchmarks/early_stopping.py [SPACE] [--trials 40] [--seeds 3] [--strategy random] [--epochs N] [--workers 1]

Accuracy against parameters on digits. Every rule sees the same networks where the strategy is `random`: it does not depend on results.
Hypervolume: share of the box spanned by everything seen under any rule with that seed (errors and parameters as powers of ten).
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from pathlib import Path

import optuna

from nasforge.commands.common import space_named, table
from nasforge.evaluate import DataSpec, data_of, fit_to_data
from nasforge.runners.local import LocalRunner
from nasforge.search.ledger import Ledger
from nasforge.search.objectives import hypervolume, parse_objectives, scaled
from nasforge.search.plan import Plan
from nasforge.search.pruners import PRUNERS
from nasforge.search.session import search
from nasforge.search.storage import open_storage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("space", nargs="?", default="digits")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--strategy", default="random")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ledgers = {(rule, seed): _run(rule, seed, args) for seed in range(args.seeds) for rule in PRUNERS}
    rows = []
    for rule in PRUNERS:
        epochs = [_epochs(ledgers[rule, s]) for s in range(args.seeds)]
        full = [_epochs(ledgers["none", s]) for s in range(args.seeds)]
        volumes = [_volume(ledgers[rule, s], [ledgers[r, s] for r in PRUNERS]) for s in range(args.seeds)]
        ratios = [f / e for f, e in zip(full, epochs, strict=True)]
        rows.append((rule, round(statistics.fmean(epochs)), f"{statistics.fmean(ratios):.2f}",
                     f"{statistics.fmean(volumes):.3f}", " ".join(f"{v:.3f}" for v in volumes)))  # fmt: skip
    print(f"{args.space}, {args.strategy}, {args.trials} networks, {args.seeds} seeds, accuracy against params on digits")
    print(table(("rule", "epochs", "times fewer", "hypervolume", "by seed"), rows))


def _run(rule: str, seed: int, args: argparse.Namespace) -> Ledger:
    spec = DataSpec("digits")
    objectives = tuple(parse_objectives("accuracy,-params"))
    recipe = {"early_stopping": None} | ({} if args.epochs is None else {"epochs": args.epochs})
    plan = Plan(
        fit_to_data(space_named(args.space), data_of(spec)), spec, objectives, strategy=args.strategy, pruner=rule, trials=args.trials,
        seed=seed, recipe=recipe, final_recipe={"epochs": 1}, finalists=1, final_seeds=1, control=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        search(plan, Path(folder), lambda: LocalRunner(args.workers, 1), lambda status: None)
        study = optuna.load_study(study_name="search", storage=open_storage(Path(folder), None, write=False))
        return Ledger(study, objectives, ())


def _epochs(ledger: Ledger) -> int:
    return sum(len(r.curve) for r in ledger.records.values() if r.kind in ("finished", "pruned"))


def _volume(ledger: Ledger, everyone: list[Ledger]) -> float:
    points = [[scaled(r.metrics, of.objectives) for r in of.finished()] for of in everyone]
    every = [p for some in points for p in some]
    worst, best = ([pick(axis) for axis in zip(*every, strict=True)] for pick in (max, min))
    box = math.prod(w - b for w, b in zip(worst, best, strict=True))
    return hypervolume([scaled(r.metrics, ledger.objectives) for r in ledger.finished()], worst) / box


if __name__ == "__main__":
    main()
