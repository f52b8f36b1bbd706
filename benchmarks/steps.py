"""The time of a training step: ours, a plain PyTorch loop of the same recipe, and another checkout of nasforge, side by side.

    python benchmarks/steps.py [--cases digits,cifar_mixed,...] [--epochs 3] [--repeats 7] [--against FOLDER]

Each repeat runs the ways one after the other, in processes of their own with one thread, on the same samples; validation after each epoch
is counted in. Printed: CPU milliseconds a step, and the median over the repeats of (the other way / ours), above 1 where ours is faster.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHAPES = {"digits": [1, 8, 8], "cifar": [3, 32, 32]}
GAP: list[Any] = ["gap_head"]


def _cnn(shape: list[int], stem: dict[str, Any], body: list[Any]) -> dict[str, Any]:
    return {"input": shape, "classes": 10, "stem": [{"conv": stem}], "body": body, "head": GAP}


def _stage(block: str, out: int, depth: int, stride: int = 1, **args: Any) -> dict[str, Any]:
    return {"stage": {"depth": depth, "stride": stride, "out": out, "block": {block: args}}}


MIXED = {"inception": {"b1": 8, "b3": [8, 12], "b5": [4, 8], "pool": 4}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {  # networks of the packaged spaces `digits`, `mixed` and `residual`
    "digits_basic": ("digits", _cnn(SHAPES["digits"], {"out": 16}, [_stage("basic", 16, 1), _stage("basic", 32, 1, 2)])),
    "digits_mbconv": ("digits", _cnn(SHAPES["digits"], {"out": 16}, [_stage("mbconv", 32, 2, 2, expand=2, se=0.25, act="relu")])),
    "cifar_mixed": ("cifar", _cnn(SHAPES["cifar"], {"out": 16, "stride": 2}, [
        _stage("mbconv", 32, 1, 2, expand=4, se=0.25), MIXED, _stage("basic", 64, 2, 2)])),
    "cifar_residual": ("cifar", _cnn(SHAPES["cifar"], {"out": 8}, [
        _stage("basic", 8, 1), _stage("basic", 16, 1, 2), _stage("basic", 32, 1, 2)])),
}  # fmt: skip


def main() -> None:
    args = _arguments()
    if args.child:
        print(json.dumps(child(*args.child.split(","), args.epochs)))
        return
    ways = {"ours": ROOT, "plain": ROOT, **({"before": args.against} if args.against else {})}
    for case in args.cases.split(","):
        rows = []
        for _ in range(args.repeats):
            rows.append({way: _run(case, "plain" if way == "plain" else "ours", folder, args.epochs) for way, folder in ways.items()})
        taken = {way: statistics.median(row[way]["ms"] for row in rows) for way in ways}
        ratios = {way: statistics.median(row[way]["ms"] / row["ours"]["ms"] for row in rows) for way in ways if way != "ours"}
        scores = {way: statistics.fmean(row[way]["accuracy"] for row in rows) for way in ways}
        print(case, "ms a step:", ", ".join(f"{way} {ms:.2f}" for way, ms in taken.items()), "| ratio:",
              ", ".join(f"{way}/ours {ratio:.2f}" for way, ratio in ratios.items()), "| accuracy on val:",
              ", ".join(f"{way} {score:.3f}" for way, score in scores.items()), flush=True)  # fmt: skip


def _run(case: str, way: str, folder: Path, epochs: int) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--child", f"{case},{way}", "--epochs", str(epochs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def child(case: str, way: str, epochs: int) -> dict[str, float]:
    """CPU milliseconds a step of one training after a short one to warm up, and its accuracy on val."""
    import torch

    from nasforge.data import Source
    from nasforge.networks.build import build
    from nasforge.tasks import load_data, task_of
    from nasforge.train import default_recipe, fit
    from nasforge.train.recipe import Recipe

    torch.set_num_threads(1)
    data_name, arch = CASES[case]
    data: Any = load_data(Source("digits")) if data_name == "digits" else _images()
    task = task_of(data.spec, data.name)
    words = {"epochs": epochs, "early_stopping": None, "data_fraction": 1.0}
    recipe = Recipe.from_dict({**default_recipe(task, data).to_dict(), **words})
    torch.manual_seed(0)
    model = build(arch)
    train = plain if way == "plain" else fit
    train(copy.deepcopy(model), data, Recipe.from_dict({**recipe.to_dict(), "epochs": 1}))
    began = time.process_time()
    done = train(model, data, recipe)
    taken = time.process_time() - began
    steps = epochs * -(-data.size("train") // recipe.batch_size)
    return {"ms": 1000 * taken / steps, "accuracy": done if isinstance(done, float) else done.metrics["accuracy"]}


def plain(model: Any, data: Any, recipe: Any) -> float:
    """The loop that one writes by hand: shuffled batches, flips and crops, AdamW with warm-up and cosine, clipping, averaged weights."""
    import torch
    from torch.nn import functional as F
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    (x, y), (val_x, val_y) = ((data.part(name).x, data.part(name).y) for name in ("train", "val"))
    size, steps = recipe.batch_size, recipe.epochs * -(-len(x) // recipe.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [
        torch.optim.lr_scheduler.LinearLR(optimizer, 1 / warm, total_iters=warm),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - warm)),
    ], [warm])  # fmt: skip
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema)) if recipe.ema is not None else None
    accuracy = 0.0
    for _ in range(recipe.epochs):
        model.train()
        for chosen in torch.randperm(len(x)).split(size):
            batch = _moved(x[chosen])
            loss = F.cross_entropy(model(batch), y[chosen], label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            if recipe.grad_clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
            optimizer.step()
            schedule.step()
            if average is not None:
                average.update_parameters(model)
        model.eval()
        with torch.no_grad():
            right = sum(int((model(some).argmax(1) == true).sum()) for some, true in zip(val_x.split(512), val_y.split(512), strict=True))
        accuracy = right / len(val_y)
    return accuracy


def _moved(x: Any) -> Any:
    """Each image mirrored or not, and cut from its padded form at a place of its own; small grey ones as they are."""
    import torch

    if x.shape[1] == 1:
        return x
    flipped = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)
    padded = torch.nn.functional.pad(flipped, (4, 4, 4, 4), mode="reflect")
    place = torch.randint(0, 9, (len(x), 2)).tolist()
    return torch.stack([image[:, i : i + x.shape[2], j : j + x.shape[3]] for image, (i, j) in zip(padded, place, strict=True)])


def _images() -> Any:
    """The digits as images of shape 3 x 32 x 32."""
    import torch

    from nasforge.data import Source
    from nasforge.tasks import load_data

    def change(batch: Any) -> Any:
        return batch.with_inputs(lambda x: torch.nn.functional.interpolate(x, size=(32, 32), mode="bilinear").repeat(1, 3, 1, 1))

    return load_data(Source("digits")).map(change, "large")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--against", type=Path, help="folder of another checkout")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
