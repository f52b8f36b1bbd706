"""nasforge export: a network without nasforge."""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from nasforge.commands.common import arch_and_weights, print_json
from nasforge.errors import UserError
from nasforge.export import export


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    arch, weights = arch_and_weights(args.arch)
    weights = Path(args.weights) if args.weights else weights
    try:
        state = load_file(weights) if weights else None
    except (OSError, SafetensorError) as error:
        raise UserError(f"--weights {weights}: no safetensors file that can be read ({error})") from None
    name = args.arch.rpartition(":")[2] if ":" in args.arch else Path(args.arch).stem
    done = export(arch, state, args.to, Path(args.out), name=name)
    if args.json:
        print_json({"path": str(done.path), "files": [str(f) for f in done.files], "largest_difference": done.largest_difference,
                    "rounding": done.rounding, "seconds": done.seconds, "trained": weights is not None})  # fmt: skip
    else:
        fresh = "" if weights else " (fresh weights: give --weights, or RUN:NAME)"
        rounded = f" from float64, from which rounding moves the network itself by {done.rounding:.2g}" if done.rounding is not None else ""
        print(
            f"{', '.join(str(f) for f in done.files)}{fresh}\n"
            f"checked in a fresh process: largest difference {done.largest_difference:.2g}{rounded}"
        )
    return 0
