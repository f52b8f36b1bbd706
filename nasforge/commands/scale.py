"""nasforge scale: an architecture grown or shrunk by compound scaling."""

from __future__ import annotations

import argparse

from nasforge.commands.common import arch_named, print_json
from nasforge.cost import count
from nasforge.errors import UserError
from nasforge.files import dump, write
from nasforge.scaling import fit, scale


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if (args.phi is None) == (args.fit is None):
        raise UserError("scale: give either --phi P or --fit METRIC=NUMBER")
    arch = arch_named(args.arch)
    scaled = scale(arch, args.phi) if args.fit is None else fit(arch, _limit(args.fit))
    before, after = count(arch), count(scaled)
    if args.out:
        write(scaled, args.out)
    if args.json:
        print_json({"arch": scaled, "params": after.params, "macs": after.macs, "params_before": before.params, "macs_before": before.macs})
        return 0
    if not args.out:
        print(dump(scaled))
    print(
        f"{args.arch}: {before.params:,} -> {after.params:,} parameters, "
        f"{before.macs:,} -> {after.macs:,} multiply-adds, input {scaled['input']}"
    )
    return 0


def _limit(text: str) -> dict[str, float]:
    name, _, number = text.partition("=")
    try:
        return {name.strip().rstrip("<"): float(number)}
    except ValueError:
        raise UserError(f"--fit {text}: must be METRIC=NUMBER, for example params=1e6") from None
