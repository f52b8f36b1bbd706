"""nasforge show: an architecture, a space or a block. What it is is found out before anything heavy is imported."""

from __future__ import annotations

import argparse

from nasforge import zoo
from nasforge.api import parts
from nasforge.api.named import arch_named, is_space
from nasforge.cli_help import importing_torch
from nasforge.commands import blocks
from nasforge.errors import UserError, nearest
from nasforge.spaces.files import space_names


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if is_space(args.what):
        importing_torch(args, "draws networks of {what}")
        from nasforge.commands.show_space import show_space

        return show_space(args)
    try:
        arch = arch_named(args.what)
    except zoo.NoSuchNetwork as error:
        known = parts.blocks()
        if args.what in known:
            return blocks.show(known[args.what], args.json)
        names = {*zoo.names(), *space_names(), *known}
        listings = nearest(args.what, names, "nasforge zoo", "nasforge spaces", "nasforge blocks")
        raise UserError(f"{args.what}: no network, space or block has that name; {listings}") from error
    importing_torch(args, "counts {what}")
    from nasforge.commands.show_arch import show_arch

    return show_arch(args.what, arch, args)
