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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from nasforge.commands import bench_latency, bench_speed
from nasforge.commands.bench_plot import curve, plot
from nasforge.commands.common import print_json, table
from nasforge.errors import UserError
from nasforge.evaluation.tables import OURS, Table, read_table
from nasforge.plugins import LOADED, load_carried
from nasforge.search.simulate import Trace, simulate
from nasforge.search.study import quiet
from nasforge.strategies.registry import STRATEGIES, check_strategy

LEFT_OUT = ("grid",)  # of the strategies that are compared unless named: on a table it is random search without repetition


@dataclass(frozen=True)
class Setting:
    """What all runs of a comparison share."""

    path: Path
    evals: int
    select: str
    report: str
    workers: int


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if args.latency:
        return bench_latency.run(args)
    quiet()
    names, evals = _strategies(args.strategies), _evals(args.evals)
    for option, value in (("--seeds", args.seeds), ("--workers", args.workers), ("--jobs", args.jobs)):
        if value < 1:
            raise UserError(f"{option}: must be at least 1, got {value}")
    if args.first < 0:
        raise UserError(f"--first: must not be negative, got {args.first}")
    benchmark = read_table(Path(args.table) if args.table else OURS)
    if args.speed:
        return bench_speed.run(benchmark.space, names, args.json)
    select, report = args.select or benchmark.usual[0], args.report or benchmark.usual[1]
    benchmark.column(select, "--select")
    benchmark.column(report, "--report")
    out: dict[str, Any] = {
        "table": args.table or "digits (packaged)", "networks": len(benchmark.rows), "select": select, "report": report,
        "best": {"select": benchmark.best(select), "report": benchmark.best(report)},
        "seeds": args.seeds, "first": args.first, "evals": evals, "workers": args.workers, "strategies": {},
    }  # fmt: skip
    setting = Setting(Path(args.table) if args.table else OURS, max(evals), select, report, args.workers)
    curves = {}
    for name, traces, seconds in compare(benchmark, setting, names, range(args.first, args.first + args.seeds), args.jobs):
        out["strategies"][name] = {**summary(traces, evals, benchmark.best(select)), "seconds": round(seconds, 1)}
        curves[name] = curve(traces, benchmark.best(select), max(evals))
        if not args.json and sys.stderr.isatty():
            print(f"{name}: {args.seeds} runs in {seconds:.0f} s", file=sys.stderr)
    if args.plot:
        drawing = plot(curves, f"points from the best {select}: mean of {args.seeds} runs, 95 % band")
        try:
            Path(args.plot).write_text(drawing, encoding="utf-8")
        except OSError as error:
            raise UserError(f"--plot {Path(args.plot)}: cannot be written ({error.strerror})") from None
    if args.json:
        print_json(out)
    else:
        print(words(out))
    return 0


def _strategies(text: str | None) -> list[str]:
    if text is None:
        return [name for name in STRATEGIES if name not in LEFT_OUT]
    names = [n.strip() for n in text.split(",") if n.strip()]
    for name in names:
        check_strategy(name, "--strategies")
    if not names:
        raise UserError(f"--strategies: needs at least one; valid: {', '.join(STRATEGIES)}")
    return list(dict.fromkeys(names))


def _evals(text: str) -> list[int]:
    words_ = text.split(",")
    if not all(w.strip().isdigit() and int(w) > 0 for w in words_):
        raise UserError(f"--evals {text}: must be whole numbers >= 1 with commas between, such as 50,100,200")
    return sorted({int(w) for w in words_})


# ---------------------------------------------------------------- runs


def compare(
    benchmark: Table, setting: Setting, names: Sequence[str], seeds: Sequence[int], jobs: int
) -> Iterator[tuple[str, list[Trace], float]]:
    """Yield the runs of each strategy, and how long they took; `jobs` processes share the seeds."""
    if jobs == 1:
        for name in names:
            began = time.monotonic()
            yield name, [_one(benchmark, setting, name, seed) for seed in seeds], time.monotonic() - began
        return
    plugins = [plugin.carried for plugin in LOADED.values()]
    with ProcessPoolExecutor(jobs, get_context("spawn"), load_carried, (plugins,)) as pool:  # a copy of torch's threads could hang
        for name in names:
            began = time.monotonic()
            yield name, list(pool.map(_there, [(setting, name, seed) for seed in seeds])), time.monotonic() - began


def _one(benchmark: Table, setting: Setting, name: str, seed: int) -> Trace:
    return simulate(benchmark, name, seed, setting.evals, setting.select, setting.report, setting.workers)


def _there(task: tuple[Setting, str, int]) -> Trace:
    """One run in a process of the pool."""
    quiet()
    return _one(_table(task[0].path), *task)


@cache
def _table(path: Path) -> Table:
    """Read once in a process, so that keys worked out in one run serve the next."""
    return read_table(path)


# ---------------------------------------------------------------- results


def summary(traces: Sequence[Trace], evals: Sequence[int], best: float) -> dict[str, Any]:
    """Means over runs by number of evaluations, 95 % confidence half-widths of the regret, and how many draws were duplicates."""
    regrets = {n: [abs(best - t.best[t.at(n)]) for t in traces] for n in evals}
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
    """Return the summary as text."""
    beside = f", {out['workers']} asynchronous workers" if out["workers"] > 1 else ""
    head = (
        f"{out['table']}: {out['networks']:,} sets of choices, {out['seeds']} runs of each strategy{beside}\n"
        f"regret: points from the best {out['select']}, {out['best']['select']:g}, with its 95 % interval; "
        f"then {out['report']} of the network selected (best: {out['best']['report']:g})\n"
    )
    columns = [str(n) for n in out["evals"]]
    header = ["strategy", *(f"regret@{n}" for n in columns), *(f"{out['report']}@{n}" for n in columns), "duplicates"]
    rows = []
    for name, s in out["strategies"].items():
        regrets = [f"{s['regret'][n]:.3f}" + ("" if s["ci"][n] is None else f" ± {s['ci'][n]:.3f}") for n in columns]
        rows.append([name, *regrets, *(f"{s['report'][n]:.3f}" for n in columns), f"{s['duplicates']:.1f}"])
    return head + "\n" + table(header, rows)
