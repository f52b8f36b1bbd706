"""nasforge train: one architecture, its recipe, its curve, its test score."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from nasforge.commands.common import arch_named, print_json
from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Decision, Job, Report
from nasforge.evaluation.train import for_data, recipe_of, with_its_own_side
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.objectives.metrics import metric
from nasforge.spaces.arch import Arch
from nasforge.spaces.files import write
from nasforge.tasks import load_data, task_of


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    source = Source(args.data or "digits", args.data_limit, 0, args.allow_code, args.task, args.target)
    data = load_data(source)
    task = task_of(data.spec, data.name)
    given = arch_named(args.arch)
    arch = with_its_own_side(given, data) if args.resize else for_data(given, data)
    changed = difference(given, arch)
    if changed and not args.json:
        print(f"{args.arch}: {changed}", file=sys.stderr, flush=True)
    out = Path(args.out or f"runs/train-{Path(args.arch.replace(':', '-')).stem}")
    if args.device == "cpu":
        torch.set_num_threads(1)
    changes = {} if args.epochs is None else {"epochs": args.epochs}
    weights, checkpoint = str(out / "model.safetensors"), str(out / "checkpoint.pt")
    job = Job(arch, args.seed, full=True, test=True, recipe=changes, weights=weights, checkpoint=checkpoint)
    recipe = recipe_of(job, data, task)
    write({**arch, "recipe": recipe.to_dict()}, out / "arch.yaml")

    def on_report(report: Report) -> Decision:
        if not args.json:
            main = f"{task.main.title} {report.row[task.main.name]:.4g}"
            losses = f"loss {report.row['loss']:.4f}  val loss {report.row['val_loss']:.4f}"
            print(f"epoch {report.epoch}/{recipe.epochs}  {losses}  {main}", file=sys.stderr, flush=True)
        return Decision.CONTINUE

    result = prepared(Context("train", source, args.device)).evaluate(job, on_report)
    if result.error:
        raise UserError(result.error)
    cost = count(arch)
    found = {
        "arch": args.arch,
        "data": data.name,
        "task": task.name,
        "metric": task.main.name,
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
        words = ", ".join(f"{metric(name).title} {value:.4g}" for name, value in result.test.items())
        took = f"{result.seconds['training']:.1f} s; everything in {out}"
        print(f"{args.arch} on {data.name}: {cost.params:,} parameters; test {words}; {took}")
    return 0


def difference(given: Arch, arch: Arch) -> str:
    """In words, what was done to an architecture to fit the data; nothing where nothing was."""
    if given.get("input") == arch["input"] and given.get("classes") == arch["classes"]:
        return ""
    sizes = f"made for {given.get('input')} and {given.get('classes')} classes, used for {arch['input']} and {arch['classes']}"
    try:
        kept = key({**given, **{k: arch[k] for k in ("input", "classes", "padding") if k in arch}}) == key(arch)
    except UserError:
        kept = False
    return sizes + ("" if kept else ", in its small form: reductions taken out until the last map is at least 3 on a side")
