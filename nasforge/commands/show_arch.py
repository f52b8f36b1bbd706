"""nasforge show ARCH: the layer table of an architecture, and what limits it on a device."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from typing import Any

from nasforge.commands.common import print_json, table
from nasforge.networks.build import key
from nasforge.networks.cost import Row, count, layer_table, textbook_rows
from nasforge.spaces.arch import Arch
from nasforge.zoo import recipe


def show_arch(name: str, arch: Arch, args: argparse.Namespace) -> int:
    """Print an architecture."""
    if args.device:
        return _show_roofline(name, arch, args.device, args.json)
    return _show_textbook(arch, args.json) if args.counting == "textbook" else _show_layers(name, arch, args.json)


def _show_layers(name: str, arch: Arch, json: bool) -> int:
    rows, cost = layer_table(arch), count(arch)
    if json:
        layers = [{k: "all" if v == math.inf else v for k, v in asdict(row).items() if k != "args"} for row in rows]
        costs = {name: getattr(cost, name) for name in ("params", "macs", "weight_bytes", "peak_bytes", "activation_bytes")}
        about: dict[str, Any] = {label: arch[label] for label in ("padding", "source", "note", "published") if label in arch}
        print_json({"arch": name, "key": key(arch), "layers": layers, **costs, **about, "training": recipe(name)})
        return 0
    header = ("layer", "type", "in", "out", "kernel", "stride", "params", "MACs", "in bytes", "param bytes", "out bytes", "field")
    print(table(header, [_line(row) for row in rows]))
    print(f"\n{name}: {cost.params:,} parameters, {cost.macs:,} multiply-adds, {cost.weight_bytes:,} bytes of weights, "
          f"{cost.peak_bytes:,} bytes of maps alive at once, {cost.activation_bytes:,} kept for training (for one sample)")  # fmt: skip
    if arch.get("padding"):
        print("padding: sequences may end early; these are the costs of one of full length")
    for label in ("source", "note"):
        if label in arch:
            print(f"{label}: {arch[label]}")
    _print_training(name, arch)
    return 0


def _print_training(name: str, arch: Arch) -> None:
    """The published figures of a documented network, and the recipe that gave them."""
    figures = dict(arch.get("published") or {})
    if figures:
        where = figures.pop("source")
        print(f"published: {', '.join(f'{key} {_plain(value)}' for key, value in figures.items())} ({where})")
    found = recipe(name)
    if found:
        note = f"; {found['note']}" if found["note"] else ""
        values = ", ".join(f"{key} {_plain(value)}" for key, value in found["recipe"].items())
        print(f"trained on {found['data']}: {values} ({found['source']}{note})")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {part:g}" for name, part in value.items())
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:g}"
    return {None: "none", True: "yes", False: "no"}.get(value, str(value))


def _line(row: Row) -> tuple[str, ...]:
    field = row.receptive_field
    return (
        row.path, row.type, " ".join(map(_sides, row.inputs)), " ".join(map(_sides, row.outputs)), _sides(row.kernel), _sides(row.stride),
        f"{row.params:,}", f"{row.macs:,}", f"{row.input_bytes:,}", f"{row.parameter_bytes:,}", f"{row.output_bytes:,}",
        "-" if field is None else "all" if math.isinf(field) else f"{field:g}",
    )  # fmt: skip


def _sides(sides: tuple[int, ...] | None) -> str:
    if sides is None:
        return "-"
    return str(sides[0]) if len(set(sides)) == 1 and len(sides) < 3 else "x".join(map(str, sides))


def _show_roofline(name: str, arch: Arch, device: str, json: bool) -> int:
    from nasforge.latency.roofline import bounds, roof_named

    roof = roof_named(device)
    rows = bounds(arch, roof)
    total = sum(one.ms for one in rows)
    memory = sum(one.ms for one in rows if one.limit == "memory")
    if json:
        layers = [{"path": b.row.path, "type": b.row.type, "macs": b.row.macs, "bytes": b.bytes, "intensity": b.intensity, "ms": b.ms,
                   "limit": b.limit} for b in rows]  # fmt: skip
        print_json({"arch": name, "device": roof.name, "macs_per_s": roof.macs_per_s, "bytes_per_s": roof.bytes_per_s,
                    "roofline_ms": total, "layers": layers})  # fmt: skip
        return 0
    lines = [(b.row.path, b.row.type, f"{b.row.macs:,}", f"{b.bytes:,}", f"{b.intensity:.2f}", f"{b.ms:.4f}", b.limit) for b in rows]
    print(table(("layer", "type", "MACs", "bytes", "MACs/byte", "ms", "limit"), lines))
    print(f"\n{name} on {roof.name} ({roof.macs_per_s / 1e9:.1f} G multiply-adds and {roof.bytes_per_s / 1e9:.1f} GB a second, "
          f"equal at {roof.ridge:.1f} multiply-adds a byte): at least {total:.3f} ms, {memory / total:.0%} of it for moving data\n"
          "a bound, not a prediction: `nasforge calibrate` measures, and predicts with its error")  # fmt: skip
    return 0


def _show_textbook(arch: Arch, json: bool) -> int:
    rows = textbook_rows(arch)
    sums = {"macs": sum(r.macs for r in rows), "parameters": sum(r.parameters for r in rows), "memory": sum(r.memory for r in rows)}
    if json:
        print_json({"rows": [{**asdict(r), "memory": r.memory} for r in rows], **sums})
        return 0
    header = ("layer", "type", "Ni", "M", "P", "F", "S", "No", "MACs", "in", "param", "out", "all")
    print(table(header, [(*asdict(r).values(), r.memory) for r in rows]))
    print(f"\nbias counted as one operation and, untied, one parameter per output element: {sums['macs']:,} operations, "
          f"{sums['parameters']:,} parameters, {sums['memory']:,} elements of memory")  # fmt: skip
    return 0
