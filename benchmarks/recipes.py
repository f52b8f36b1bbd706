"""What the words of a recipe bring: the default recipe of finalists for images, with one word changed at a time.

    python benchmarks/recipes.py --rows FILE [--network resnet9_16] [--data cifar10.npz] [--limit 10000] [--epochs 20] [--seeds 3]
        [--first 100] [--changes whole,no_muon,...]

FILE keeps the rows: a second call goes on with what is missing, and prints all. One thread; choices are to be made by the column of val, on
other seeds than those that are reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from nasforge import zoo
from nasforge.commands.common import table
from nasforge.data import Source
from nasforge.evaluation.train import for_data
from nasforge.networks.build import build
from nasforge.tasks import load_data, task_of
from nasforge.train import default_recipe, fit, score
from nasforge.train.recipe import Recipe

CIFAR = Path(__file__).resolve().parents[2] / "shared" / "data" / "images" / "cifar10" / "cifar10_jpeg_full.npz"
CHANGES: dict[str, dict[str, Any]] = {
    "whole": {},
    "no_muon": {"optimizer": "adamw", "lr": 3e-3, "momentum": 0.9},
    "nesterov": {"optimizer": "nesterov", "lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "onecycle", "grad_clip": None},
    "no_whitening": {"whiten": False},
    "no_dirac": {"init": "default"},
    "plain_flip": {"augment": {"flip": 0.5, "crop": 4, "cutout": 0.25}},
    "no_cutout": {"augment": {"alternating_flip": 1, "crop": 4}},
    "no_smoothing": {"label_smoothing": 0.0},
    "no_ema": {"ema": None},
    "onecycle": {"schedule": "onecycle"},
    "trapezoid": {"schedule": "trapezoid"},
    "linear": {"schedule": "linear"},
    "half_lr": {"lr": 3e-3},
    "double_lr": {"lr": 12e-3},
    "four_lr": {"lr": 24e-3},
    "views": {"views": "flip"},
    "six_views": {"views": "crops"},
    "zero_residual": {"zero_residual": True},
    "frozen_stem": {"freeze_stem": 0.2},
    "growing": {"first_resolution": 0.5},
    "soup": {"soup": 0.2},
    "sam": {"sam": 0.05},
}


def main() -> None:
    args = _arguments()
    rows = [json.loads(line) for line in args.rows.read_text(encoding="utf-8").splitlines()] if args.rows.exists() else []
    done = {(r["change"], r["network"], r["epochs"], r["seed"]) for r in rows}
    data = load_data(Source(str(args.data), limit=args.limit))
    for seed in range(args.first, args.first + args.seeds):
        for change in args.changes.split(","):
            if (change, args.network, args.epochs, seed) in done:
                continue
            found = run(data, args.network, args.epochs, seed, CHANGES[change])
            rows.append({"change": change, "network": args.network, "epochs": args.epochs, "seed": seed, **found})
            with args.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(json.dumps(rows[-1]), flush=True)
    print(summary(rows))


def run(data: Any, network: str, epochs: int, seed: int, change: dict[str, Any]) -> dict[str, float]:
    """One training; accuracies of the weights at its end, and CPU seconds."""
    torch.set_num_threads(1)
    task = task_of(data.spec, data.name)
    words = {"epochs": epochs, "warmup_epochs": 0.1 * epochs, "early_stopping": None, "precision": "bf16"}
    recipe = Recipe.from_dict({**default_recipe(task, data, full=True).to_dict(), **words, **change})
    torch.manual_seed(seed)
    model = build(for_data(zoo.load(network), data))
    began = time.process_time()
    fitted = fit(model, data, recipe, task=task, seed=seed)
    seconds = time.process_time() - began
    test = score(model, data, "test", task, views=recipe.views)["accuracy"]
    return {"val": fitted.metrics["accuracy"], "val_loss": fitted.metrics["loss"], "test": test, "cpu_s": round(seconds)}


def summary(rows: list[dict[str, Any]]) -> str:
    lines = []
    for network, epochs, change in dict.fromkeys((r["network"], r["epochs"], r["change"]) for r in rows):
        some = [r for r in rows if (r["network"], r["epochs"], r["change"]) == (network, epochs, change)]
        val, test = ([100 * r[part] for r in some] for part in ("val", "test"))
        spread = f"{statistics.stdev(test):.1f}" if len(test) > 1 else "-"
        seconds = f"{statistics.fmean(r['cpu_s'] for r in some):.0f}"
        lines.append((network, str(epochs), change, f"{statistics.fmean(val):.1f}", f"{statistics.fmean(test):.1f}", spread, str(len(some)),
                      seconds))  # fmt: skip
    return table(("network", "epochs", "change", "val %", "test %", "±", "seeds", "CPU s"), lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="file that keeps the rows, one JSON object a line")
    parser.add_argument("--network", default="resnet9_16")
    parser.add_argument("--data", type=Path, default=CIFAR)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=100, help="the first seed")
    parser.add_argument("--changes", default=",".join(CHANGES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
