"""nasforge score: a trained network on data."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from nasforge.api.data import OPTIONS
from nasforge.api.score import score
from nasforge.commands.common import print_json
from nasforge.objectives.metrics import metric


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    found = score(
        args.arch, args.data, weights=args.weights, part=args.part, resize=args.resize, norm_eps=args.norm_eps, device=args.device,
        threads=args.threads, show=not args.json, **{name: getattr(args, name) for name in OPTIONS},
    )  # fmt: skip
    if args.json:
        print_json(asdict(found))
        return 0
    words = ", ".join(f"{metric(name).title} {value:.4g}" for name, value in found.metrics.items())
    size = f"{found.samples:,} samples of {found.part}, {found.params:,} parameters"
    print(f"{found.name} on {found.data}: {words}; {size}, {found.seconds:.1f} s")
    for line in (*([f"{found.name}: {found.form}"] if found.form != "as it is" else []), *found.remarks):
        print(line)
    return 0
