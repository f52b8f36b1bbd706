"""The trainings of `nasforge scale --grid`: every candidate shortly, by its main metric on val."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch

from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Decision, Job
from nasforge.evaluation.train import for_data
from nasforge.scaling import Point, candidates, search_grid
from nasforge.scaling.compound import Meter
from nasforge.spaces.arch import Arch
from nasforge.tasks import load_data, task_of


def for_images(arch: Arch, args: argparse.Namespace) -> Arch:
    """Return the architecture for the data of the command. Raises UserError for data that have no resolution."""
    data = load_data(_data(args))
    if not data.spec.is_image or any(target.kind == "mask" for target in data.spec.targets.values()):
        raise UserError(f"--grid: needs images without label maps, {data.name} has {data.spec.input}; give --alpha and --beta")
    return for_data(arch, data)


def searched(arch: Arch, args: argparse.Namespace, meter: Meter | None) -> tuple[list[Point], Point]:
    """Return all points, best first, and the best: each trained with the short recipe, or for --epochs, with every seed."""
    if args.seeds < 1:
        raise UserError(f"--seeds: must be at least 1, got {args.seeds}")
    torch.set_num_threads(1)
    context = Context("train", _data(args), args.device)
    evaluator, main = prepared(context), task_of(context.load().spec).main
    changes = {} if args.epochs is None else {"epochs": args.epochs}
    points = candidates(arch, args.step, args.target, args.tolerance, meter, args.divisor)
    seeds = range(args.seed, args.seed + args.seeds)
    done = []

    def judge(one: Arch, seed: int) -> tuple[float, float]:
        result = evaluator.evaluate(Job(one, seed, recipe=changes), lambda report: Decision.CONTINUE)
        if result.error:
            raise UserError(f"--grid: {one.get('name', 'a candidate')} with input {one['input']}: {result.error}")
        done.append(seed)
        value = result.metrics[main.name]
        if not args.json:
            told = f"{len(done)}/{len(points) * len(seeds)}: input {one['input']}, {main.title} {value:.4g}"
            print(told, file=sys.stderr, flush=True)
        return value if main.maximize else -value, result.metrics["loss"]

    best = search_grid(points, judge, seeds)
    return sorted(points, key=lambda p: (-p.score, p.loss)), best


def rows_of(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return the points as plain rows."""
    return [
        {"alpha": p.coefficients.depth, "beta": p.coefficients.width, "gamma": p.coefficients.resolution,
         "product": p.coefficients.product, "cost": p.cost, "params": p.params, "macs": p.macs, "input": p.arch["input"],
         "score": p.score, "loss": p.loss}
        for p in points
    ]  # fmt: skip


def _data(args: argparse.Namespace) -> Source:
    return Source.of({name: value for name, value in vars(args).items() if name != "target"})  # of the command it is a cost
