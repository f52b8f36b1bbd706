"""nasforge scale: an architecture grown or shrunk by compound scaling, along one axis, or into a limit."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from nasforge.api.named import arch_named
from nasforge.commands.common import print_json, table
from nasforge.commands.scale_grid import for_images, rows_of, searched
from nasforge.errors import UserError
from nasforge.latency import measure, read_profile
from nasforge.networks.cost import count
from nasforge.scaling import Coefficients, along, cost_of, largest, matched, scale
from nasforge.scaling.compound import ALIASES, LIMITS
from nasforge.spaces.arch import Arch
from nasforge.spaces.files import dump, write

UNEVEN = 1.5  # ratio of the costs of candidates above which their comparison is not fair
BUDGETS = ("macs", "params", "peak_bytes", "latency_ms")


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    _check(args)
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
    scaled = _scaled(arch, args, bases, meters)
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


def _check(args: argparse.Namespace) -> None:
    if (args.phi is None) == (args.fit is None) and not (args.grid and args.fit is None):
        raise UserError("scale: give either --phi P or --fit METRIC=NUMBER (or --grid, alone or with one of them)")
    if args.grid and args.axis:
        raise UserError("scale: --grid searches all three axes at once; leave --axis out")
    if args.divisor < 1:
        raise UserError(f"--divisor: must be a whole number >= 1, got {args.divisor}")
    if args.budget and args.budget not in BUDGETS:
        raise UserError(f"--budget: must be one of {', '.join(BUDGETS)}, got {args.budget!r}")


def _scaled(arch: Arch, args: argparse.Namespace, bases: Coefficients, meters: Mapping[str, Callable[[Arch], float]]) -> Arch:
    """The member that was asked for: by phi or by limits, of the compound family or of one axis."""

    def compound(phi: float) -> Arch:
        return scale(arch, phi, *bases, divisor=args.divisor)

    if args.fit is not None:
        limits = limits_of(args.fit)
        return largest(compound if not args.axis else lambda phi: along(arch, args.axis, 2.0**phi, args.divisor), limits, meters)
    phi = 1.0 if args.phi is None else args.phi
    if not args.axis:
        return compound(phi)
    return matched(arch, args.axis, cost_of(compound(phi), "macs"), lambda one: cost_of(one, "macs"), args.divisor)


def meters_of(profile: str | None) -> dict[str, Callable[[Arch], float]]:
    """Return how to find out what is not counted: latency_ms by a profile, or measured here (eager, one thread, batch 1)."""
    if profile is None:
        return {"latency_ms": lambda arch: measure(arch).median_ms}
    predictor = read_profile(profile).predictor
    return {"latency_ms": lambda arch: predictor(arch).ms}


def limits_of(text: str) -> dict[str, float]:
    """Limits by metric: 'params=1e6', or several with commas between."""
    limits = {}
    for one in text.split(","):
        name, _, number = one.partition("=")
        try:
            limits[name.strip().rstrip("<")] = float(number)
        except ValueError:
            raise UserError(f"--fit {text}: must be METRIC=NUMBER, for example params=1e6 ({', '.join((*LIMITS, *ALIASES))}, "
                            "latency_ms)") from None  # fmt: skip
    return limits


def grid_table(points: list[Any]) -> str:
    """Return the grid in words, best first."""
    header = ("alpha", "beta", "gamma", "product", "cost", "params", "macs", "val score", "val loss")
    rows = [
        (f"{r['alpha']:g}", f"{r['beta']:g}", f"{r['gamma']:g}", f"{r['product']:.2f}", f"{r['cost']:.2f}x", f"{r['params']:,}",
         f"{r['macs']:,}", f"{r['score']:.4f}", f"{r['loss']:.4f}")
        for r in rows_of(points)
    ]  # fmt: skip
    return table(header, rows)
