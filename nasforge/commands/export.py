"""nasforge export: a network without nasforge."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from nasforge.api.data import OPTIONS
from nasforge.api.exports import export, in_words
from nasforge.commands.common import print_json
from nasforge.export.describe import in_words as described
from nasforge.export.script import NAME as SCRIPT


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    options = {name: getattr(args, name) for name in OPTIONS if getattr(args, name)}
    done = export(args.arch, args.to, args.out, weights=args.weights, preprocess=args.preprocess, data=args.data, **options)
    values = _values(done.preprocess)
    if done.warning is not None:
        print(f"nasforge export: WARNING: {done.warning}", file=sys.stderr)
    if args.json:
        print_json({
            "path": str(done.path), "files": [str(f) for f in done.files], "largest_difference": done.largest_difference,
            "rounding": done.rounding, "seconds": done.seconds, "trained": done.trained, "warning": done.warning, "values": values,
            "preprocess": "none" if done.preprocess is None else "inside" if done.preprocess["inside"] else "outside",
            "metric": done.metric, "samples": done.samples, "val": done.val, "recorded": done.recorded, "notes": list(done.notes),
        })  # fmt: skip
        return 0
    print(", ".join(str(f) for f in done.files))
    print("\n".join(in_words(done)))
    if done.preprocess is not None:
        inside = done.preprocess["inside"]
        for name, one in done.preprocess["inputs"].items():
            print(f"{name}: {described(one, inside)}")
        for script in (path for path in done.files if path.name == SCRIPT):
            print(f"predict without nasforge: python {script} FILES")
    for value in values:
        print(f"{value['name']} = output {value['output']} * {value['std']:.6g} + {value['mean']:.6g}: it was learned standardized")
    return 0


def _values(about: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """How numbers to predict follow from the outputs of a network; nothing where it gives them itself."""
    if about is None or about["inside"]:
        return []
    return [
        {"name": (target["names"] or [key])[min(i, len(target["names"] or [key]) - 1)], "output": i, "mean": mean, "std": std}
        for key, target in about["targets"].items()
        for i, (mean, std) in enumerate(zip(target["mean"], target["std"], strict=True))
    ]
