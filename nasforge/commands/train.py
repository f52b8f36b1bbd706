"""nasforge train: one architecture, its recipe, its curve, its test score."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from nasforge.commands.common import arch_named, print_json
from nasforge.data import Data
from nasforge.errors import UserError
from nasforge.evaluation.base import DataSpec, Job, data_of, fit_to_data, recipe_of, train
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.spaces.arch import Arch
from nasforge.spaces.files import write
from nasforge.zoo.small import small


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    spec = DataSpec(args.data or "digits", args.data_limit, 0, args.allow_code)
    data = data_of(spec)
    given = arch_named(args.arch)
    arch = with_its_own_side(given, data) if args.resize else for_data(given, data)
    changed = difference(given, arch)
    if changed and not args.json:
        print(f"{args.arch}: {changed}", file=sys.stderr, flush=True)
    out = Path(args.out or f"runs/train-{Path(args.arch.replace(':', '-')).stem}")
    if args.device == "cpu":
        torch.set_num_threads(1)
    changes = {} if args.epochs is None else {"epochs": args.epochs}
    job = Job(
        arch,
        spec,
        args.seed,
        True,
        True,
        changes,
        args.device,
        weights=str(out / "model.safetensors"),
        checkpoint=str(out / "checkpoint.pt"),
    )
    recipe = recipe_of(job, data)
    write({**arch, "recipe": recipe.to_dict()}, out / "arch.yaml")

    def on_epoch(epoch: int, row: dict[str, float]) -> bool:
        if not args.json:
            print(
                f"epoch {epoch}/{recipe.epochs}  loss {row['loss']:.4f}  val loss {row['val_loss']:.4f}  accuracy {row['accuracy']:.4f}",
                file=sys.stderr,
                flush=True,
            )
        return False

    result = train(replace(job, recipe=changes), on_epoch)
    if result.error:
        raise UserError(result.error)
    cost = count(arch)
    found = {
        "arch": args.arch,
        "data": data.name,
        "form": changed or "as it is",
        "params": cost.params,
        "macs": cost.macs,
        "recipe": recipe.to_dict(),
        "out": str(out),
        **asdict(result),
    }
    (out / "result.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    if args.json:
        print_json(found)
    else:
        words = ", ".join(f"{name} {value:.4f}" for name, value in result.test.items())
        print(
            f"{args.arch} on {data.name}: {cost.params:,} parameters; test {words}; {result.seconds['training']:.1f} s; everything in {out}"
        )
    return 0


def difference(given: Arch, arch: Arch) -> str:
    """In words, what was done to an architecture to fit the data; nothing where nothing was."""
    if given.get("input") == arch["input"] and given.get("classes") == arch["classes"]:
        return ""
    sizes = f"made for {given.get('input')} and {given.get('classes')} classes, used for {arch['input']} and {arch['classes']}"
    try:
        kept = key({**given, "input": arch["input"], "classes": arch["classes"]}) == key(arch)
    except UserError:
        kept = False
    return sizes + ("" if kept else ", in its small form: reductions taken out until the last map is at least 3 on a side")


def with_its_own_side(arch: Arch, data: Data) -> Arch:
    """The architecture for a data set whose images are brought to the height and width that it reads. Raises UserError without images."""
    native = arch.get("input")
    if not isinstance(native, list) or len(native) != 3 or len(data.shape) != 3 or data.train.y.ndim != 1:
        raise UserError(f"--resize: needs a network of images and classified images; {native} and {list(data.shape)} have no side to match")
    return {**arch, "input": [data.shape[0], *native[1:]], "classes": data.classes}


def for_data(arch: Arch, data: Data) -> Arch:
    """The architecture for a data set: networks for large images in their small form."""
    native = arch.get("input")
    images = isinstance(native, list) and len(native) == 3 and len(data.shape) == 3
    if images and (list(data.shape) != native or arch.get("classes") != data.classes):
        arch = small(arch, data.shape, data.classes)
    return fit_to_data(arch, data)
