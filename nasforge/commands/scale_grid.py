"""The trainings of `nasforge scale --grid`: every candidate shortly, by its validation accuracy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch

from nasforge.commands.train import for_data
from nasforge.errors import UserError
from nasforge.evaluation.base import DataSpec, Job, data_of, train
from nasforge.scaling import Point, candidates, search_grid
from nasforge.scaling.compound import Meter
from nasforge.spaces.arch import Arch


def for_images(arch: Arch, args: argparse.Namespace) -> Arch:
    """The architecture for the data of the command. Raises UserError for data that have no resolution."""
    data = data_of(_data(args))
    if len(data.shape) != 3 or data.train.y.ndim != 1:
        raise UserError(f"--grid: needs classified images, {data.name} has samples of shape {list(data.shape)}; give --alpha and --beta")
    return for_data(arch, data)


def searched(arch: Arch, args: argparse.Namespace, meter: Meter | None) -> tuple[list[Point], Point]:
    """All points, best first, and the best: each trained with the short recipe, or for --epochs, with every seed."""
    if args.seeds < 1:
        raise UserError(f"--seeds: must be at least 1, got {args.seeds}")
    torch.set_num_threads(1)
    spec = _data(args)
    changes = {} if args.epochs is None else {"epochs": args.epochs}
    points = candidates(arch, args.step, args.target, args.tolerance, meter, args.divisor)
    seeds = range(args.seed, args.seed + args.seeds)
    done = []

    def judge(one: Arch, seed: int) -> tuple[float, float]:
        result = train(Job(one, spec, seed, recipe=changes, device=args.device), lambda epoch, row: False)
        if result.error:
            raise UserError(f"--grid: {one.get('name', 'a candidate')} with input {one['input']}: {result.error}")
        done.append(seed)
        if not args.json:
            told = f"{len(done)}/{len(points) * len(seeds)}: input {one['input']}, accuracy {result.metrics['accuracy']:.4f}"
            print(told, file=sys.stderr, flush=True)
        return result.metrics["accuracy"], result.metrics["loss"]

    best = search_grid(points, judge, seeds)
    return sorted(points, key=lambda p: (-p.accuracy, p.loss)), best


def rows_of(points: Sequence[Point]) -> list[dict[str, Any]]:
    """The points as plain rows."""
    return [
        {"alpha": p.coefficients.depth, "beta": p.coefficients.width, "gamma": p.coefficients.resolution,
         "product": p.coefficients.product, "cost": p.cost, "params": p.params, "macs": p.macs, "input": p.arch["input"],
         "accuracy": p.accuracy, "loss": p.loss}
        for p in points
    ]  # fmt: skip


def _data(args: argparse.Namespace) -> DataSpec:
    return DataSpec(args.data or "digits", args.data_limit, 0, args.allow_code)
