"""nasforge locate: the choices that give an architecture in a space."""

from __future__ import annotations

import argparse

from nasforge.api.named import arch_named, space_named
from nasforge.blocks import BLOCKS
from nasforge.commands.common import print_json, table
from nasforge.spaces.check import check_arch
from nasforge.spaces.locate import Misfit, locate
from nasforge.spaces.space import Space


def run(args: argparse.Namespace) -> int:
    """Carry out the command; the exit status is 3 where the architecture is no point of the space."""
    arch, data = arch_named(args.arch), space_named(args.space)
    check_arch(data, BLOCKS)
    try:
        choices = locate(arch, Space(data), BLOCKS)
    except Misfit as misfit:
        if args.json:
            print_json({"located": False, "reason": str(misfit)})
        else:
            print(f"{args.arch} is no point of {args.space}: {misfit}")
        return 3
    if args.json:
        print_json({"located": True, "choices": choices})
    else:
        print(table(("domain", "choice"), [(k, v) for k, v in choices.items()]))
    return 0
