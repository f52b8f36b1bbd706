"""A first guess of latency without measuring a network: each layer is bound by the device's peak rate or by its bandwidth.

Source: Williams, Waterman & Patterson 2009 (the roofline model). A lower bound rather than a prediction: no layer reaches its roof.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nasforge.errors import UserError
from nasforge.files import parsed_file
from nasforge.networks.cost import Row, layer_table
from nasforge.spaces.arch import Arch

HERE = "here"  # the name of this machine
SIDE = 768  # of the matrices of the probe
COPIED = 1 << 26  # bytes: more than a cache holds
TRIES = 5


@dataclass(frozen=True)
class Roof:
    """A device: the most multiply-adds and the most bytes moved in a second."""

    name: str
    macs_per_s: float
    bytes_per_s: float

    @property
    def ridge(self) -> float:
        """The multiply-adds per byte from which on the peak rate, not the bandwidth, is the limit."""
        return self.macs_per_s / self.bytes_per_s


@dataclass(frozen=True)
class Bound:
    """A layer under a roof: multiply-adds per byte moved, the least time it takes, and what limits it."""

    row: Row
    bytes: int
    intensity: float
    ms: float
    limit: str


def bounds(arch: Arch, roof: Roof) -> list[Bound]:
    """Return the layers of an architecture under a roof, for one sample."""
    out = []
    for row in layer_table(arch):
        moved = row.input_bytes + row.parameter_bytes + row.output_bytes
        computing, moving = row.macs / roof.macs_per_s, moved / roof.bytes_per_s
        limit = "compute" if computing > moving else "memory"
        out.append(Bound(row, moved, row.macs / moved if moved else 0.0, 1000 * max(computing, moving), limit))
    return out


def roof_named(name: str) -> Roof:
    """This machine (`here`), probed now, or the device in a JSON file with macs_per_s and bytes_per_s. Raises UserError for neither."""
    if name in (HERE, "cpu"):
        return probe()
    try:
        data: dict[str, Any] = parsed_file(name)
        roof = Roof(str(data.get("name", Path(name).stem)), float(data["macs_per_s"]), float(data["bytes_per_s"]))
        if not (0 < roof.macs_per_s < 1e30 and 0 < roof.bytes_per_s < 1e30):
            raise ValueError("both must be above 0")
        return roof
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UserError(
            f"--device {name}: must be `{HERE}` (this machine, probed) or a JSON file such as "
            f'{{"name": "board", "macs_per_s": 5e10, "bytes_per_s": 1e10}} ({error})'
        ) from None


def probe() -> Roof:
    """One thread of this machine: its rate in a matrix product, its bandwidth in a copy (a byte copied is read and written)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
        source = torch.zeros(COPIED // 4)
        target = torch.empty_like(source)
        return Roof(HERE, SIDE**3 / _fastest(lambda: a @ b), 2 * COPIED / _fastest(lambda: target.copy_(source)))
    finally:
        torch.set_num_threads(before)


def _fastest(call: Callable[[], Any]) -> float:
    """The least seconds of processor time of a few tries."""
    taken = []
    for _ in range(TRIES):
        began = time.thread_time()
        call()
        taken.append(time.thread_time() - began)
    return max(min(taken), 1e-9)
