"""nasforge show --device: what limits each layer on a device, and a first guess of the whole."""

from __future__ import annotations

from nasforge.commands.common import print_json, table
from nasforge.latency.roofline import bounds, roof_named
from nasforge.spaces.arch import Arch


def show_roofline(name: str, arch: Arch, device: str, json: bool) -> int:
    """Print the layers of an architecture under the roof of a device."""
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
