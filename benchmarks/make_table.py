"""Measure a tabular benchmark: train every network of a small space and write what each scored.

    python benchmarks/make_table.py                    # the one that comes with nasforge; about 25 minutes on one core
    python benchmarks/make_table.py my_space.yaml      # my_table.csv.gz goes beside the space: bench --table my_space.csv.gz

One line per set of choices: a column for each domain of the space (empty where it is not asked), params, macs, and the accuracies in
percent on `val` and `test`, means over the seeds. Networks that compute the same function are trained once. The space's own `recipe`
says how they are trained.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

import nasforge.evaluation.tables
from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Decision, Evaluator, Job
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import enumerate_space
from nasforge.spaces.files import read
from nasforge.spaces.space import Space

OURS = Path(nasforge.evaluation.tables.__file__).parent / "digits_table.yaml"


def main() -> None:
    """Write the table of a space."""
    parser = argparse.ArgumentParser(description="Train every network of a small space and write what each scored.")
    parser.add_argument("space", nargs="?", type=Path, default=OURS, help="a finite space (default: that of the packaged table)")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each network (default: 2)")
    args = parser.parse_args()
    torch.set_num_threads(1)  # results do not depend on the machine's cores
    space = Space(read(args.space))
    out = args.space.with_suffix(".csv.gz")
    write_table(space, rows(space, args.data, args.seeds), out)
    print(f"{out}: {out.stat().st_size:,} bytes")


def rows(space: Space, data: str, seeds: int) -> list[dict[str, Any]]:
    """One row per set of choices; each network is trained once per seed."""
    drawn = [(arch, choices, key(arch)) for arch, choices in enumerate_space(space)]
    total = len({name for _, _, name in drawn})
    scored: dict[str, dict[str, float]] = {}
    evaluator = prepared(Context(source=Source(data)))
    for arch, _, name in drawn:
        if name not in scored:
            scored[name] = measure(arch, evaluator, seeds)
            print(f"\r{len(scored)}/{total}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [{**choices, **scored[name]} for _, choices, name in drawn]


def measure(arch: Arch, evaluator: Evaluator, seeds: int) -> dict[str, float]:
    """Costs, and mean accuracies in percent. Raises UserError where a training fails."""
    cost = count(arch)
    results = [evaluator.evaluate(Job(arch, seed, test=True), lambda report: Decision.CONTINUE) for seed in range(seeds)]
    for result in results:
        if result.error:
            raise UserError(f"{arch}: {result.error}")
    val = statistics.fmean(r.metrics["accuracy"] for r in results)
    test = statistics.fmean(r.test["accuracy"] for r in results)
    return {"params": cost.params, "macs": cost.macs, "val": round(100 * val, 3), "test": round(100 * test, 3)}


def write_table(space: Space, lines: list[dict[str, Any]], path: Path) -> None:
    """The rows as gzipped csv, without the time of day in it: equal tables are equal files."""
    names = [o.name for o in space.domains()]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, *(k for k in lines[0] if k not in names)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


if __name__ == "__main__":
    main()
