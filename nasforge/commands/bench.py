"""nasforge bench: strategies on a tabular benchmark, regret against evaluations.

Each strategy is the Optuna study that a search would use, asked for choices of the same space; only the training is looked up. As in a
search, an architecture that computes what an earlier one did is told the earlier one's value and costs no evaluation.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from scipy.special import stdtrit

from nasforge.commands.common import print_json, table
from nasforge.errors import UserError, nearest
from nasforge.search.history import Brief
from nasforge.search.objectives import Objective
from nasforge.search.screen import MOST_MISSES, SAME_AGAIN
from nasforge.search.strategies import STRATEGIES, strategy, trial_chooser
from nasforge.search.tables import OURS, Table, read_table

OUR_COLUMNS = ("val", "test")  # selected, reported
THEIR_COLUMNS = ("c10_valid_e12", "c10_test_e200")  # of a table of NAS-Bench-201


@dataclass
class Trace:
    """One run of a strategy: after each evaluation the best of the selected column, and the reported one of the same network."""

    best: list[float] = field(default_factory=list)
    reported: list[float] = field(default_factory=list)
    duplicates: int = 0
    absent: int = 0

    def at(self, evals: int) -> int:
        """The place of the last evaluation that a budget allows; a space may be exhausted before."""
        return min(evals, len(self.best)) - 1


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names, evals = _strategies(args.strategies), _evals(args.evals)
    if args.seeds < 1:
        raise UserError(f"--seeds: must be at least 1, got {args.seeds}")
    of = read_table(Path(args.table) if args.table else OURS)
    usual = THEIR_COLUMNS if args.table else OUR_COLUMNS
    select, report = args.select or usual[0], args.report or usual[1]
    of.column(select, "--select")
    of.column(report, "--report")
    out: dict[str, Any] = {
        "table": args.table or "digits (packaged)", "networks": len(of.rows), "select": select, "report": report,
        "best": {"select": of.best(select), "report": of.best(report)}, "seeds": args.seeds, "evals": evals, "strategies": {},
    }  # fmt: skip
    for name in names:
        began = time.monotonic()
        traces = [race(of, name, seed, max(evals), select, report) for seed in range(args.seeds)]
        out["strategies"][name] = {**summary(traces, evals, of.best(select)), "seconds": round(time.monotonic() - began, 1)}
        if not args.json and sys.stderr.isatty():
            print(f"{name}: {args.seeds} runs in {time.monotonic() - began:.0f} s", file=sys.stderr)
    if args.json:
        print_json(out)
    else:
        print(words(out))
    return 0


def _strategies(text: str) -> list[str]:
    names = [n.strip() for n in text.split(",") if n.strip()]
    for name in names:
        if name not in STRATEGIES:
            raise UserError(f"--strategies {text}: {name!r} is no strategy; {nearest(name, STRATEGIES)}")
    if not names:
        raise UserError(f"--strategies: needs at least one; valid: {', '.join(STRATEGIES)}")
    return list(dict.fromkeys(names))


def _evals(text: str) -> list[int]:
    words_ = text.split(",")
    if not all(w.strip().isdigit() and int(w) > 0 for w in words_):
        raise UserError(f"--evals {text}: must be whole numbers >= 1 with commas between, such as 50,100,200")
    return sorted({int(w) for w in words_})


def race(of: Table, name: str, seed: int, evals: int, select: str, report: str) -> Trace:
    """One run of a strategy on a table until so many different networks are evaluated, or nothing new comes any more."""
    study = optuna.create_study(direction="maximize", sampler=strategy(name, Brief(of.space, seed, evals, (Objective("value", True),))))
    trace = Trace()
    seen: dict[str, float] = {}
    misses = repeats = 0
    while len(trace.best) < evals and misses < MOST_MISSES and repeats < SAME_AGAIN:
        trial = study.ask()
        _, choices = of.space.draw(trial_chooser(trial))
        key = of.key(choices)
        value = seen.get(key, of.evaluate(choices, select))
        misses, repeats = misses + 1, repeats + 1 if key in seen else 0
        if math.isnan(value):  # as an infeasible network: it costs nothing
            trace.absent += 1
            study.tell(trial, state=TrialState.PRUNED)
            continue
        study.tell(trial, value)
        if key in seen:
            trace.duplicates += 1
            continue
        seen[key] = value
        misses = 0
        better = not trace.best or value > trace.best[-1]
        trace.best.append(value if better else trace.best[-1])
        trace.reported.append(of.evaluate(choices, report) if better else trace.reported[-1])
    if not trace.best:
        raise UserError(f"{of.name}: none of {misses} networks drawn is in the table; is it of another space?")
    return trace


def summary(traces: Sequence[Trace], evals: Sequence[int], best: float) -> dict[str, Any]:
    """Means over runs by number of evaluations, 95 % confidence half-widths of the regret, and how many draws were duplicates."""
    regrets = {n: [best - t.best[t.at(n)] for t in traces] for n in evals}
    return {
        "regret": {str(n): round(statistics.fmean(r), 4) for n, r in regrets.items()},
        "ci": {str(n): _half_width(r) for n, r in regrets.items()},
        "report": {str(n): round(statistics.fmean(t.reported[t.at(n)] for t in traces), 4) for n in evals},
        "duplicates": round(statistics.fmean(t.duplicates for t in traces), 1),
        "absent": round(statistics.fmean(t.absent for t in traces), 1),
    }


def _half_width(values: Sequence[float]) -> float | None:
    """Half the 95 % confidence interval of a mean by Student's t; None for a single value."""
    if len(values) < 2:
        return None
    return round(float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values)), 4)


def words(out: dict[str, Any]) -> str:
    """The summary as text."""
    head = (
        f"{out['table']}: {out['networks']:,} sets of choices, {out['seeds']} runs of each strategy\n"
        f"regret: points below the best {out['select']}, {out['best']['select']:g}, with its 95 % interval; "
        f"then {out['report']} of the network selected (best: {out['best']['report']:g})\n"
    )
    columns = [str(n) for n in out["evals"]]
    header = ["strategy", *(f"regret@{n}" for n in columns), *(f"{out['report']}@{n}" for n in columns), "duplicates"]
    rows = []
    for name, s in out["strategies"].items():
        regrets = [f"{s['regret'][n]:.2f}" + ("" if s["ci"][n] is None else f" ± {s['ci'][n]:.2f}") for n in columns]
        rows.append([name, *regrets, *(f"{s['report'][n]:.2f}" for n in columns), f"{s['duplicates']:.1f}"])
    return head + "\n" + table(header, rows)
