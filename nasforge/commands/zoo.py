"""nasforge zoo: the documented networks, and weights of torchvision or timm for them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nasforge import zoo
from nasforge.commands.common import print_json, table

SHOWN = 5  # layers named in a message


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    return _take_weights(args) if args.weights else _list(args)


# ---------------------------------------------------------------- the table


def _list(args: argparse.Namespace) -> int:
    rows = zoo.listed(args.pattern)
    if args.json:
        print_json(rows)
        return 0
    built = [row for row in rows if row["status"] != "missing"]
    lacking = [row for row in rows if row["status"] == "missing"]
    if built:
        print(table(("name", "family", "input", "params", "MACs", "source"), [_line(row) for row in built]))
    if lacking:
        print(f"\nnamed in the lecture notes but not built ({len(lacking)}):\n")
        print(table(("name", "family", "what is missing"), [(row["name"], row["family"], row["missing"]) for row in lacking]))
    return 0


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    shape = "x".join(map(str, row["input"])) if isinstance(row["input"], list) else str(row["input"])
    return row["name"], row["family"], shape, f"{row['params']:,}", f"{row['macs']:,}", row["source"]


# ---------------------------------------------------------------- weights


def _take_weights(args: argparse.Namespace) -> int:
    """Map a state dict of another library and write it under our names."""
    from safetensors.torch import save_file  # with torch: not for a listing

    from nasforge.zoo.state_files import of_tensorflow, read_state
    from nasforge.zoo.weights import Pad, map_weights

    name, file = args.weights
    arch = zoo.load(name)
    given, ordered = read_state(file)
    pad: Pad | None = args.pad or ("tf" if of_tensorflow(file) else None)
    found = map_weights(arch, given, ordered=ordered, partial=args.partial, norm_eps=args.norm_eps, pad=pad)
    out = Path(args.out or f"{arch['name']}.safetensors")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(found.state, out, metadata={"arch": str(arch["name"]), "from": Path(file).name})
    told = {"arch": arch["name"], "out": str(out), "mapped": len(found.pairs), "left": found.left, "fresh": found.fresh,
            "norm_eps": found.norm_eps, "remarks": found.remarks}  # fmt: skip
    if args.json:
        print_json({**told, "pairs": [list(pair) for pair in found.pairs]})
        return 0
    print(f"{out}: {len(found.pairs)} layers of {file} as {arch['name']}, norms with {found.norm_eps:g}")
    for layers, what in ((found.left, "layers of the file that have no place"), (found.fresh, "layers that find no weights")):
        if layers:
            print(f"{len(layers)} {what}: {', '.join(layers[:SHOWN])}{' ...' if len(layers) > SHOWN else ''}")
    for remark in found.remarks:
        print(remark)
    print(f"to use them: nasforge export {arch['name']} --weights {out} --to onnx --out DIR")
    return 0
