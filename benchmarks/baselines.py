"""Documented networks against a linear model: `nasforge train` for each of them on each data set, and one table.

    python benchmarks/baselines.py --data digits --epochs 10
    python benchmarks/baselines.py --data ../shared/data/images/cifar10 --limit 5000 --epochs 5

Every network is trained by the command that a user would type, with the recipe, epochs, samples and seed of the linear model (pixels
to classes, nothing between). A training that is finished in the folder is read, not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from nasforge.commands.common import table
from nasforge.data import load

NETWORKS = ("lenet5", "resnet20", "mobilenet_v2", "wrn_16_4")
HEADER = ("network", "parameters", "multiply-adds", "test %", "over linear", "seconds", "val % after each epoch")


def write_linear(spec: str, folder: Path) -> Path:
    """The file of a linear model for a data set."""
    data = load(spec, limit=1000)
    arch = {"name": "linear", "input": list(data.shape), "classes": data.classes, "head": ["flatten", "linear"]}
    path = folder / "linear.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(arch), encoding="utf-8")
    return path


def train(arch: str, spec: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What `nasforge train` says of one network."""
    out = folder / Path(arch).stem
    if not (out / "result.json").is_file():
        command = [sys.executable, "-m", "nasforge.cli", "train", arch, "--data", spec, "--out", str(out), "--json"]
        command += [] if args.epochs is None else ["--epochs", str(args.epochs)]
        command += [] if args.limit is None else ["--data-limit", str(args.limit)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "result.json").read_text(encoding="utf-8"))


def row(name: str, found: dict[str, Any], linear: float) -> tuple[str, ...]:
    """One line of the table."""
    accuracy = 100 * found["test"]["accuracy"]
    curve = " ".join(f"{100 * point['accuracy']:.0f}" for point in found["curve"])
    over = "" if name == "linear" else f"{accuracy - linear:+.1f}"
    seconds = f"{found['seconds']['training']:.0f}"
    return name, f"{found['params']:,}", f"{found['macs']:,}", f"{accuracy:.1f}", over, seconds, curve


def main() -> int:
    """The tables on stdout; 1 where a network does not beat the linear model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits"], help="as of `nasforge train` (default: digits)")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--epochs", type=int, help="of each training (default: those of the recipe)")
    parser.add_argument("--limit", type=int, help="training samples of each data set")
    parser.add_argument("--out", type=Path, default=Path("runs/baselines"), help="folder of the trainings (default: runs/baselines)")
    args = parser.parse_args()
    worse = False
    for spec in args.data:
        folder = args.out / f"{Path(spec).stem}-{args.limit or 'all'}-{args.epochs or 'recipe'}"
        reference = train(str(write_linear(spec, folder)), spec, args, folder)
        linear = 100 * reference["test"]["accuracy"]
        rows = [row("linear", reference, linear)]
        for name in args.networks:
            found = train(name, spec, args, folder)
            rows.append(row(name, found, linear))
            worse = worse or found["test"]["accuracy"] <= reference["test"]["accuracy"]
        limit = "all training samples" if args.limit is None else f"{args.limit:,} training samples"
        print(f"{reference['data']}, {limit}, {reference['recipe']['epochs']} epochs\n{table(HEADER, rows)}\n", flush=True)
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
