"""nasforge export: a network without nasforge."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from nasforge.api.named import arch_and_weights
from nasforge.commands.common import print_json
from nasforge.errors import UserError
from nasforge.export import export
from nasforge.search.plan import MANIFEST, read_manifest


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    arch, weights = arch_and_weights(args.arch)
    weights = Path(args.weights) if args.weights else weights
    try:
        state = load_file(weights) if weights else None
    except (OSError, SafetensorError) as error:
        raise UserError(f"--weights {weights}: no safetensors file that can be read ({error})") from None
    name = args.arch.rpartition(":")[2] if ":" in args.arch else Path(args.arch).stem
    values = _values(Path(args.arch.rpartition(":")[0] or args.arch))
    done = export(arch, state, args.to, Path(args.out), name=name)
    if args.json:
        print_json({"path": str(done.path), "files": [str(f) for f in done.files], "largest_difference": done.largest_difference,
                    "rounding": done.rounding, "seconds": done.seconds, "trained": weights is not None,
                    "values": values})  # fmt: skip
    else:
        fresh = "" if weights else " (fresh weights: give --weights, or RUN:NAME)"
        rounded = f" from float64, from which rounding moves the network itself by {done.rounding:.2g}" if done.rounding is not None else ""
        print(
            f"{', '.join(str(f) for f in done.files)}{fresh}\n"
            f"checked in a fresh process: largest difference {done.largest_difference:.2g}{rounded}"
        )
        for value in values:
            print(f"{value['name']} = output {value['output']} * {value['std']:.6g} + {value['mean']:.6g}: it was learned standardized")
    return 0


def _values(run: Path) -> list[dict[str, Any]]:
    """How numbers to predict follow from the outputs of a network of a run; nothing for other networks."""
    if not (run / MANIFEST).is_file():
        return []
    targets = (read_manifest(run).get("data_spec") or {}).get("targets", {})
    return [
        {"name": (target["names"] or [key])[min(i, len(target["names"] or [key]) - 1)], "output": i, "mean": mean, "std": std}
        for key, target in targets.items()
        for i, (mean, std) in enumerate(zip(target["mean"], target["std"], strict=True))
    ]
