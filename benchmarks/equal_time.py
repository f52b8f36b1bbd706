"""In the same time: a search, the documented networks brought to its limit, random search, and TPE; accuracy on test over seeds.

    python benchmarks/equal_time.py --rows FILE [--cells cifar4,cifar40,mnist] [--minutes 5] [--seeds 3] [--ways search,...]

A cell is a data set and a limit. Each way has so many minutes of wall time on the cores of this machine, from the start of the command to
its end: `search` is `nasforge search SPACE --minutes`, `random` and `tpe` the same with another strategy; every other way is a documented
network, brought to the limit (`scale --fit`, its width alone) and trained for all of the time with the recipe of finalists (`nasforge train
--minutes`). Networks are chosen on val; the test part is read once, for what each way hands over.

FILE keeps what has been run: a second call goes on with what is missing, and prints all.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasforge import zoo
from nasforge.api import networks
from nasforge.commands.common import table
from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation.train import for_data
from nasforge.spaces.files import write
from nasforge.tasks import load_data

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SEARCHES = {"search": "predictor", "random": "random", "tpe": "tpe"}


@dataclass(frozen=True)
class Cell:
    """A data set, the space that is searched, the largest number of multiply-adds, and the yardsticks."""

    data: Path
    space: str
    macs: float
    yardsticks: tuple[str, ...]
    limit: int | None = None  # of training samples


CIFAR = SHARED / "images" / "cifar10" / "cifar10_jpeg_full.npz"
CELLS = {
    "cifar4": Cell(CIFAR, "mixed", 4e6, ("resnet9_16", "resnet20", "small_mobilenet_v2"), 10_000),
    "cifar40": Cell(CIFAR, "mixed", 40e6, ("resnet9_16", "resnet20", "small_mobilenet_v2"), 10_000),
    "mnist": Cell(SHARED / "images" / "mnist", "digits", 1e6, ("lenet5", "resnet9_16", "resnet20")),
}


def main() -> None:
    args = _arguments()
    rows = [json.loads(line) for line in args.rows.read_text(encoding="utf-8").splitlines()] if args.rows.exists() else []
    done = {(r["cell"], r["way"], r["minutes"], r["seed"]) for r in rows}
    for seed in range(args.first, args.first + args.seeds):
        for name in args.cells.split(","):
            for way in args.ways.split(",") if args.ways else (*SEARCHES, *CELLS[name].yardsticks):
                if (name, way, args.minutes, seed) in done:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    found = run(CELLS[name], way, args.minutes, seed, Path(folder))
                rows.append({"cell": name, "way": way, "minutes": args.minutes, "seed": seed, **found})
                with args.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(json.dumps(rows[-1]), flush=True)
    print(summary(rows))


def run(cell: Cell, way: str, minutes: float, seed: int, folder: Path) -> dict[str, Any]:
    """One way, by the command line."""
    data = ["--data", str(cell.data), *(["--data-limit", str(cell.limit)] if cell.limit else [])]
    timed = ["--minutes", str(minutes), "--seed", str(seed), "--json"]
    if way in SEARCHES:
        words = ["search", cell.space, "--strategy", SEARCHES[way], "--objective", "accuracy", "--constraint", f"macs<={cell.macs:g}",
                 "--workers", str(os.cpu_count()), "--run", str(folder / "run")]  # fmt: skip
    else:
        words = ["train", brought(way, cell, folder), "--out", str(folder / "out")]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "nasforge", *words, *data, *timed], capture_output=True, text=True, check=False)
    taken = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    found = json.loads(done.stdout)
    if way in SEARCHES:
        best = found["best"]
        return {
            "test": best["test_mean"], "val": best["val"], "params": best["params"], "macs": best["macs"], "seconds": round(taken, 1),
            "trials": found["asked"],
        }  # fmt: skip
    return {
        "test": found["test"]["accuracy"], "val": found["metrics"]["accuracy"], "params": found["params"], "macs": found["macs"],
        "seconds": round(taken, 1), "epochs": len(found["curve"]),
    }  # fmt: skip


def brought(name: str, cell: Cell, folder: Path) -> str:
    """The file of a documented network for the data, as wide as the limit allows; as it is where that keeps it."""
    data = load_data(Source(str(cell.data), limit=cell.limit))
    arch = for_data(zoo.load(name), data)
    try:
        arch = networks.scale(arch, fit={"macs": cell.macs}, axis="width", divisor=1)
    except UserError as error:
        raise SystemExit(f"{name}: {error}") from None
    write(arch, folder / f"{name}.yaml")
    return str(folder / f"{name}.yaml")


def summary(rows: list[dict[str, Any]]) -> str:
    lines = []
    groups = dict.fromkeys((r["cell"], r["minutes"], r["way"]) for r in rows)
    for cell, minutes, way in groups:
        some = [r for r in rows if (r["cell"], r["minutes"], r["way"]) == (cell, minutes, way)]
        tests = [100 * r["test"] for r in some]
        spread = f"{statistics.stdev(tests):.1f}" if len(tests) > 1 else "-"
        macs = f"{statistics.median(r['macs'] for r in some) / 1e6:.2f} M"
        lines.append(
            (
                cell,
                f"{minutes:g}",
                way,
                f"{statistics.fmean(tests):.1f}",
                spread,
                str(len(some)),
                macs,
                f"{max(r['seconds'] for r in some):.0f}",
            )
        )
    return table(("cell", "minutes", "way", "test %", "±", "seeds", "multiply-adds", "longest s"), lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="file that keeps the rows, one JSON object a line")
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--ways", help="default: all of a cell")
    return parser.parse_args()


if __name__ == "__main__":
    main()
