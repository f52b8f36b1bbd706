"""nasforge train: one architecture, its recipe, its curve, its test score."""

from __future__ import annotations

import argparse

from nasforge.api.again import train_again
from nasforge.api.data import OPTIONS
from nasforge.api.recipes import recipe_named
from nasforge.api.train import told, train
from nasforge.commands.common import print_json
from nasforge.errors import UserError
from nasforge.objectives.metrics import metric


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if args.as_trial:
        return _again(args)
    options = {name: getattr(args, name) for name in OPTIONS}
    found = train(
        args.arch, args.data, minutes=args.minutes, epochs=args.epochs, recipe=recipe_named(args.recipe, args.arch, args.set),
        seed=args.seed, device=args.device, resize=args.resize, weights=args.weights, out=args.out,
        show=not (args.json or args.quiet), verbose=args.verbose, **options,
    )  # fmt: skip
    if args.json:
        print_json(told(found))
    else:
        words = ", ".join(f"{metric(name).title} {value:.4g}" for name, value in found.test.items())
        took = f"{found.seconds['training']:.1f} s; everything in {found.folder}"
        print(f"{args.arch} on {found.data}: {found.params:,} parameters; test {words}; {took}")
    return 0


def _again(args: argparse.Namespace) -> int:
    """Train a trial as its search did: 0 also where it comes out otherwise, which is said."""
    of_search = ("minutes", "epochs", "recipe", "set", "seed", "resize", "weights", *OPTIONS)
    for option in of_search:
        if option != "allow_code" and getattr(args, option):
            raise UserError(f"--{option.replace('_', '-')}: is taken from the search with --as-trial; leave it out")
    show = not (args.json or args.quiet)
    found = train_again(args.arch, args.data, allow_code=args.allow_code, out=args.out, show=show, verbose=args.verbose)
    if args.json:
        print_json({**told(found), "same": found.same})
    else:
        took = f"{found.seconds['training']:.1f} s; everything in {found.folder}"
        print(f"{args.arch} on {found.data}: {found.params:,} parameters; {found}; {took}")
    return 0
