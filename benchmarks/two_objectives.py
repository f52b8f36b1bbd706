"""Strategies on tables with two objectives, accuracy against parameters: how much of the best hypervolume they have missed, by evaluations.

    python benchmarks/two_objectives.py [--tables nb201.csv.gz:c10_valid_e12:params_cifar10,digits] [--strategies predictor,nsga2,random]
        [--seeds 20] [--first 0] [--evals 24,50,100] [--half] [--proxies nb201_proxies.npz]

A table is named by its file, its accuracy in % and its parameters; `digits` is the packaged one. Printed: the share, in %, of the
hypervolume of all networks of the table that a run has not reached, mean over seeds with its standard error. The reference point is the
worst of the table in each objective, with `--half` the median of the accuracy; errors and parameters count as powers of ten. With
`--proxies` the predictor reads zero-cost scores of NAS-Bench-201 (`zero_cost.py`).
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import TrialState
from zero_cost import NAMES, scores_of

from nasforge.commands.common import table
from nasforge.evaluation.tables import OURS, Table, read_table
from nasforge.objectives.objective import parse_objectives, scaled
from nasforge.objectives.pareto import hypervolume
from nasforge.spaces.space import Choices
from nasforge.strategies.base import Problem
from nasforge.strategies.optuna import trial_chooser
from nasforge.strategies.registry import sampler

OBJECTIVES = tuple(parse_objectives("accuracy,-params"))
MOST_MISSES = 3000  # duplicates, and networks that the table does not hold
Point = tuple[float, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default="digits")
    parser.add_argument("--strategies", default="predictor,nsga2,random")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--evals", default="24,50,100")
    parser.add_argument("--half", action="store_true", help="only the more accurate half of the table counts")
    parser.add_argument("--proxies", type=Path)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    evals = [int(n) for n in args.evals.split(",")]
    rows = []
    for name in args.tables.split(","):
        file, accuracy, params = name.split(":") if ":" in name else (str(OURS), "val", "params")
        of = _Trained(file, accuracy, params, args.half)
        for one in args.strategies.split(","):
            runs = [_run(of, one, seed, max(evals), args.proxies) for seed in range(args.first, args.first + args.seeds)]
            rows.append((Path(of.table.name).name, one, *(_words([of.missed(run[:n]) for run in runs]) for n in evals)))
    print(table(("table", "strategy", *(f"missed after {n}, %" for n in evals)), rows))


class _Trained:
    """A table with its best hypervolume."""

    def __init__(self, file: str, accuracy: str, params: str, half: bool) -> None:
        self.table: Table = read_table(Path(file))
        self.names = {"accuracy": accuracy, "params": params}
        metrics = [self._metrics(a, p) for a, p in zip(*(self.table.column(c) for c in self.names.values()), strict=True)]
        points = [scaled(m, OBJECTIVES) for m in metrics if m is not None]
        errors, sizes = (sorted(axis) for axis in zip(*points, strict=True))
        self.worst = [errors[len(errors) // 2 if half else -1], sizes[-1]]
        self.whole = hypervolume(_front(points), self.worst)

    def metrics(self, choices: Choices) -> dict[str, float] | None:
        """The accuracy and the parameters of a network; None where the table does not hold them."""
        return self._metrics(*(self.table.evaluate(choices, c) for c in self.names.values()))

    @staticmethod
    def _metrics(accuracy: float, params: float) -> dict[str, float] | None:
        known = math.isfinite(accuracy) and math.isfinite(params)
        return {"accuracy": accuracy / 100, "params": params} if known else None

    def missed(self, points: Sequence[Point]) -> float:
        """The share of the hypervolume that these points do not reach, in %."""
        return 100 * (1 - hypervolume(_front(points), self.worst) / self.whole)


def _front(points: Sequence[Point]) -> list[Point]:
    """The points that no other dominates."""
    out: list[Point] = []
    for point in sorted(points):
        if not out or point[1] < out[-1][1]:
            out.append(point)
    return out


def _run(of: _Trained, name: str, seed: int, evals: int, proxies: Path | None) -> list[Point]:
    """What one run evaluated, in order; as in a search, a network that computes what an earlier one did costs nothing."""
    scores = scores_of(of.table, proxies, NAMES, {}) if proxies else None
    problem = Problem(of.table.space, seed, evals, OBJECTIVES, scores=scores)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(name, problem))
    seen: dict[str, dict[str, float]] = {}
    misses = 0
    while len(seen) < evals and misses < MOST_MISSES:
        trial = study.ask()
        _, choices = of.table.space.draw(trial_chooser(trial))
        key = of.table.key(choices)
        new = key not in seen
        found = of.metrics(choices) if new else seen[key]
        misses += not new or found is None
        if found is None:
            study.tell(trial, state=TrialState.PRUNED)
            continue
        seen[key] = found
        trial.set_user_attr("record", {"kind": "finished" if new else "duplicate", "metrics": found})
        study.tell(trial, list(found.values()))
    return [scaled(m, OBJECTIVES) for m in seen.values()]


def _words(values: Sequence[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):.2f} ± {error:.2f}"


if __name__ == "__main__":
    main()
