"""nasforge scale: an architecture grown or shrunk by compound scaling, along one axis, or into a limit."""

from __future__ import annotations

import argparse
from typing import Any

from nasforge.api.named import arch_named
from nasforge.api.networks import limits_of, meters_of, scale
from nasforge.commands.common import print_json, table
from nasforge.commands.scale_grid import for_images, rows_of, searched
from nasforge.networks.cost import count
from nasforge.scaling import Coefficients, cost_of
from nasforge.spaces.files import dump, write

UNEVEN = 1.5  # ratio of the costs of candidates above which their comparison is not fair


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    arch = arch_named(args.arch)
    given = {"depth": args.alpha, "width": args.beta, "resolution": args.gamma}
    bases = Coefficients(**{name: value for name, value in given.items() if value is not None})
    meters = meters_of(args.profile)
    found: dict[str, Any] = {}
    if args.grid:
        arch = for_images(arch, args)
        meter = None if args.budget is None else meters.get(args.budget, lambda one: cost_of(one, args.budget))
        points, best = searched(arch, args, meter)
        bases = best.coefficients
        found = {"grid": rows_of(points), "best": rows_of([best])[0], "epochs": args.epochs, "budget": args.budget or "rule"}
        if not args.json:
            print(grid_table(points))
    phi = args.phi if args.phi is not None or args.fit is not None else 1.0
    scaled = scale(
        arch, phi, fit=args.fit, axis=args.axis, alpha=bases.depth, beta=bases.width, gamma=bases.resolution, divisor=args.divisor,
        profile=args.profile,
    )  # fmt: skip
    before, after = count(arch), count(scaled)
    if args.fit is not None and "latency_ms" in limits_of(args.fit):
        found["latency_ms"] = meters["latency_ms"](scaled)
    if args.out:
        write(scaled, args.out)
    if args.json:
        sizes = {"params": after.params, "macs": after.macs, "params_before": before.params, "macs_before": before.macs}
        print_json({"arch": scaled, **sizes, "coefficients": bases._asdict(), **found})
        return 0
    if not args.out:
        print(dump(scaled))
    print(
        f"{args.arch}: {before.params:,} -> {after.params:,} parameters, "
        f"{before.macs:,} -> {after.macs:,} multiply-adds, input {scaled['input']}"
    )
    if args.grid:
        print(
            f"alpha {bases.depth:g}, beta {bases.width:g}, gamma {bases.resolution:g}: give them as --alpha --beta --gamma with any --phi"
        )
    return 0


def grid_table(points: list[Any]) -> str:
    """Return the grid in words, best first."""
    header = ("alpha", "beta", "gamma", "product", "cost", "params", "macs", "val score", "val loss")
    rows = [
        (f"{r['alpha']:g}", f"{r['beta']:g}", f"{r['gamma']:g}", f"{r['product']:.2f}", f"{r['cost']:.2f}x", f"{r['params']:,}",
         f"{r['macs']:,}", f"{r['score']:.4f}", f"{r['loss']:.4f}")
        for r in rows_of(points)
    ]  # fmt: skip
    return table(header, rows)
