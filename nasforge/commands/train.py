"""nasforge train: one architecture, its recipe, its curve, its test score."""

from __future__ import annotations

import argparse

from nasforge.api.data import OPTIONS
from nasforge.api.train import recipe_named, told, train
from nasforge.commands.common import print_json
from nasforge.objectives.metrics import metric


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    options = {name: getattr(args, name) for name in OPTIONS}
    found = train(
        args.arch, args.data, minutes=args.minutes, epochs=args.epochs, recipe=recipe_named(args.recipe, args.arch, args.set),
        seed=args.seed, device=args.device, resize=args.resize, out=args.out, show=not args.json, **options,
    )  # fmt: skip
    if args.json:
        print_json(told(found))
    else:
        words = ", ".join(f"{metric(name).title} {value:.4g}" for name, value in found.test.items())
        took = f"{found.seconds['training']:.1f} s; everything in {found.folder}"
        print(f"{args.arch} on {found.data}: {found.params:,} parameters; test {words}; {took}")
    return 0
