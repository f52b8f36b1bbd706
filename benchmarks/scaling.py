"""Compound scaling against each single axis at equal multiply-adds: test accuracy over seeds.

    python benchmarks/scaling.py [ARCH] [--data digits] [--times 2,4] [--seeds 5] [--grid] [--epochs N] [--jobs 2] [--json] [--plot FILE]

ARCH: a documented network, a file or RUN:NAME, a network found by a search; by default a small one of residual and inverted residual
blocks, far from perfect on the digits, so that there is something to gain. Sides of small images are whole numbers, so each target is what
the finer network that comes nearest to 2 (4) times the multiply-adds takes; all others are brought to it. A verdict needs a difference of
two standard errors; nothing here is selected on test.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from nasforge.api.named import arch_named
from nasforge.commands.bench_plot import COLORS, STYLE
from nasforge.commands.common import print_json, table
from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Decision, Job
from nasforge.evaluation.train import for_data
from nasforge.networks.cost import count
from nasforge.report.svg import frame, line, mark, picture, plot_axes, plot_height, tag, text
from nasforge.scaling import Coefficients, candidates, matched, matched_compound, search_grid
from nasforge.spaces.arch import Arch
from nasforge.tasks import load_data

BASE: Arch = {
    "name": "base",
    "input": [1, 8, 8],
    "classes": 10,
    "stem": [{"conv": {"out": 5}}],
    "body": [
        {"stage": {"block": "basic", "out": 5, "depth": 2}},
        {"stage": {"block": {"mbconv": {"expand": 2, "act": "relu"}}, "out": 8, "depth": 2, "stride": 2}},
    ],
    "head": ["gap_head"],
}
AXES = ("depth", "width", "resolution")
WIDTH = 640.0
SURE = 2.0  # standard errors of a difference that count as one


def main() -> None:
    """Scale, train, compare, tell."""
    args = arguments()
    source = Source(args.data)
    base = for_data(BASE if args.arch is None else arch_named(args.arch), load_data(source))
    recipe = {} if args.epochs is None else {"epochs": args.epochs}
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        coefficients = found_coefficients(base, source) if args.grid else Coefficients()
        members = {"base": {1.0: base}, **members_of(base, [float(t) for t in args.times.split(",")], coefficients)}
        jobs = [(name, times, Job(arch, seed, True, True, recipe)) for name, row in members.items() for times, arch in row.items()
                for seed in range(args.seeds)]  # fmt: skip
        scores = list(pool.map(accuracy, [source] * len(jobs), [job for _, _, job in jobs]))
    rows = []
    for name, row in members.items():
        for times, arch in row.items():
            own = [score for (n, t, _), score in zip(jobs, scores, strict=True) if (n, t) == (name, times)]
            cost = count(arch)
            rows.append({"axis": name, "times": times, "macs": cost.macs, "params": cost.params, "input": arch["input"],
                         "accuracy": statistics.fmean(own), "std": statistics.stdev(own), "seeds": own})  # fmt: skip
    told = verdicts(rows)
    if args.plot:
        Path(args.plot).write_text(plot(rows), encoding="utf-8")
    if args.json:
        print_json({"coefficients": coefficients._asdict(), "rows": rows, "verdicts": told})
        return
    print(f"alpha {coefficients.depth:g}, beta {coefficients.width:g}, gamma {coefficients.resolution:g}; {args.seeds} seeds")
    shown = [(r["axis"], f"{r['times']:g}x", f"{r['macs']:,}", f"{r['params']:,}", "x".join(map(str, r["input"][1:])),
              f"{100 * r['accuracy']:.2f} ± {100 * r['std']:.2f}") for r in rows]  # fmt: skip
    print(table(("axis", "target", "macs", "params", "side", "test accuracy %"), shown))
    print("\n".join(v["words"] for v in told))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", nargs="?")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--times", default="2,4")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--grid", action="store_true", help="search alpha, beta, gamma first, with short trainings, on val")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds: at least 2, for a spread")
    return args


def macs(arch: Arch) -> float:
    """Multiply-adds."""
    return float(count(arch).macs)


def members_of(base: Arch, times: Sequence[float], coefficients: Coefficients) -> dict[str, dict[float, Arch]]:
    """For each target, the members of the compound family and of each axis."""
    out: dict[str, dict[float, Arch]] = {"compound": {}, **{axis: {} for axis in AXES}}
    for factor in times:
        finer = matched(base, "resolution", factor * macs(base), macs, divisor=1)
        out["resolution"][factor] = finer
        out["compound"][factor] = matched_compound(base, macs(finer), macs, coefficients, divisor=1)
        for axis in ("depth", "width"):
            out[axis][factor] = matched(base, axis, macs(finer), macs, divisor=1)
    return out


def found_coefficients(base: Arch, source: Source) -> Coefficients:
    """Those of the best candidate of twice the real multiply-adds, on val, mean of two short trainings."""

    evaluator = prepared(Context(source=source))

    def judge(arch: Arch, seed: int) -> tuple[float, float]:
        result = evaluator.evaluate(Job(arch, seed), lambda report: Decision.CONTINUE)
        if result.error:
            raise UserError(result.error)
        return result.metrics["accuracy"], result.metrics["loss"]

    torch.set_num_threads(1)
    return search_grid(candidates(base, meter=macs, divisor=1), judge, (0, 1)).coefficients


def accuracy(source: Source, job: Job) -> float:
    """Test accuracy after the full recipe."""
    torch.set_num_threads(1)
    result = prepared(Context(source=source)).evaluate(job, lambda report: Decision.CONTINUE)
    if result.error:
        raise UserError(f"{job.arch.get('name')}: {result.error}")
    return result.test["accuracy"]


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each target and axis, whether compound scaling is better, by SURE standard errors of the difference of means."""
    out = []
    compound = {row["times"]: row for row in rows if row["axis"] == "compound"}
    for row in rows:
        if row["axis"] not in AXES:
            continue
        other = compound[row["times"]]
        gain = other["accuracy"] - row["accuracy"]
        error = math.sqrt((other["std"] ** 2 + row["std"] ** 2) / len(row["seeds"]))
        word = "is not told apart from" if abs(gain) <= SURE * error else "beats" if gain > 0 else "loses to"
        words = f"{row['times']:g}x: compound {word} {row['axis']} alone: {100 * gain:+.2f} ± {100 * error:.2f} points"
        out.append({"times": row["times"], "axis": row["axis"], "gain": gain, "standard_error": error, "verdict": word, "words": words})
    return out


def plot(rows: Sequence[dict[str, Any]]) -> str:
    """Test accuracy against multiply-adds, a line for each axis from the base network on, bars of one standard deviation."""
    base = next(row for row in rows if row["axis"] == "base")
    ends = [100 * (row["accuracy"] + sign * row["std"]) for row in rows for sign in (-1, 1)]
    x, y = plot_axes([row["macs"] for row in rows], ends, WIDTH, (True, False), right=110)
    drawn, colors = [], ""
    for i, name in enumerate(("compound", *AXES)):
        own = [base, *sorted((row for row in rows if row["axis"] == name), key=lambda row: row["macs"])]
        places = [(x(row["macs"]), y(100 * row["accuracy"])) for row in own]
        drawn.append(line(places, f"curve s{i}", name))
        for row, (px, py) in zip(own, places, strict=True):
            drawn.append(line([(px, y(100 * (row["accuracy"] + sign * row["std"]))) for sign in (-1, 1)], f"curve s{i}", name))
            drawn.append(mark("dot", px, py, f"{name}: {100 * row['accuracy']:.2f} %", f"m{i}", 3.5))
        drawn.append(text(WIDTH - 100, 24 + 17 * i, name, cls=f"label l{i}"))
        colors += f".curve.s{i} {{ stroke: {COLORS[i]}; }} .m{i} {{ fill: {COLORS[i]}; }} .label.l{i} {{ fill: {COLORS[i]}; }}\n"
    style = tag("style").replace("></style>", f">{STYLE}{colors}</style>")
    axes = frame(x, y, ("multiply-adds", "{:g}".format), ("test accuracy, %", "{:g}".format))
    drawing = picture(WIDTH, plot_height(WIDTH), "test accuracy against multiply-adds", style, axes, *drawn)
    return drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


if __name__ == "__main__":
    main()
