"""nasforge zoo: the documented networks, and weights of torchvision or timm for them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nasforge import zoo
from nasforge.api.named import arch_named
from nasforge.commands.common import print_json, table
from nasforge.errors import UserError

SHOWN = 5  # layers named in a message


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    return _take_weights(args) if args.weights else _list(args)


# ---------------------------------------------------------------- the table


def _list(args: argparse.Namespace) -> int:
    rows = zoo.listed(args.pattern)
    if args.json:
        print_json({"networks": rows})
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

    from nasforge.zoo.branches import batch_in, checked_weights, rivals, uncertain
    from nasforge.zoo.state_files import of_tensorflow, read_state
    from nasforge.zoo.weights import Pad, map_weights

    arch_name, file = args.weights
    arch = arch_named(arch_name)
    name = str(arch.get("name") or Path(arch_name).stem)
    given, ordered = read_state(file)
    pad: Pad | None = args.pad or ("tf" if of_tensorflow(file) else None)
    options = {"ordered": ordered, "partial": args.partial, "norm_eps": args.norm_eps, "pad": pad}
    difference = None
    if args.check:
        found, difference = checked_weights(arch, given, *map(batch_in, args.check), **options)
    else:
        found = map_weights(arch, given, **options)
        documented = arch_name in (*zoo.names(), *zoo.aka())  # whose weights were compared
        if not documented and (unclear := rivals(arch, found.pairs)):
            raise UserError(
                f"--weights {arch_name} {file}: {uncertain(unclear, found.pairs)}; add --check IN.npy OUT.npy, a batch and what "
                "the library's model gives for it in eval mode"
            )
    out = Path(args.out or f"{name}.safetensors")
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(found.state, out, metadata={"arch": name, "from": Path(file).name})
    told = {"arch": name, "out": str(out), "mapped": len(found.pairs), "left": found.left, "fresh": found.fresh,
            "norm_eps": found.norm_eps, "remarks": found.remarks, "difference": difference}  # fmt: skip
    if args.json:
        print_json({**told, "pairs": [list(pair) for pair in found.pairs]})
        return 0
    print(f"{out}: {len(found.pairs)} layers of {file} as {name}, norms with {found.norm_eps:g}")
    for layers, what in ((found.left, "layers of the file that have no place"), (found.fresh, "layers that find no weights")):
        if layers:
            print(f"{len(layers)} {what}: {', '.join(layers[:SHOWN])}{' ...' if len(layers) > SHOWN else ''}")
    for remark in found.remarks:
        print(remark)
    if difference is not None:
        print(f"checked: the outputs differ by {difference:.2g} of the largest")
    print(f"to use them: nasforge export {arch_name} --weights {out} --to onnx --out DIR, or nasforge train {arch_name} --weights {out}")
    return 0
