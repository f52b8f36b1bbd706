"""Tables of latencies: many networks of one space, timed on several devices, in one npz file.

Which network: `ops` (n, 6), operations 0 to 4 on the edges of a cell (see nasbench_cells.py), or `arch`, (n,) its strings; or `ks`,
`e` (n, 20), `d` (n, 5), `r` (n,) of once-for-all MobileNetV3 (kernel and expansion of each block, blocks in each stage, side of the
image); or any other arrays of whole numbers (n,) or (n, k), one per choice, `ops` among them. Every other array of n numbers is a
device: ms, or any cost in any unit; NaN where the network does not run. A device is called `source/chip` or `source/chip_batch`.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasforge.errors import UserError
from nasforge.files import check_zip
from nasforge.latency.nasbench_cells import OPS, cell_features, counts, positions

CHOICES = ("ops", "arch", "ks", "e", "d", "r")
STAGE = 4  # blocks in a stage of once-for-all, of which d are kept
SIDE = 224  # image side that areas are counted by
MOST_VALUES = 64  # different values of one array of choices
FEWEST = 20  # networks


@dataclass(frozen=True)
class Latencies:
    """A table: the kind of its networks, their features in weighted groups, and the times on each device."""

    name: str
    kind: str
    groups: list[tuple[float, np.ndarray]]
    devices: dict[str, np.ndarray]

    @property
    def networks(self) -> int:
        """How many."""
        return len(self.groups[0][1])


def read_latencies(path: str | Path) -> Latencies:
    """Return the table in a file. Raises UserError for one that is not such a table."""
    try:
        check_zip(path)
        with np.load(Path(path), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, EOFError, MemoryError, RuntimeError, LookupError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as npz ({str(error).splitlines()[0]})") from None
    arrays = {name: a for name, a in arrays.items() if a.ndim in (1, 2) and len(a)}
    known = [name for name in CHOICES if name in arrays]
    whole = [name for name, a in arrays.items() if a.dtype.kind in "iub" and name not in known]
    choices = {name: arrays[name] for name in (known or whole)}
    if not choices:
        raise UserError(f"{path}: must say which networks it times, by `ops`, `arch` or arrays of whole numbers, got {', '.join(arrays)}")
    n = len(next(iter(choices.values())))
    devices = {k: a.astype(float) for k, a in arrays.items() if k not in choices and a.shape == (n,) and a.dtype.kind in "fiu"}
    devices = {k: np.where(np.isfinite(a) & (a > 0), a, np.nan) for k, a in devices.items()}
    if not devices or n < FEWEST:
        raise UserError(f"{path}: must hold at least one device, an array of one number for each of {FEWEST} or more networks, got {n} "
                        f"networks and {len(devices)} devices in {', '.join(arrays)}")  # fmt: skip
    kind, groups = _features(choices, str(path))
    return Latencies(str(path), kind, groups, devices)


def chip(device: str) -> str:
    """Return the hardware of a device: its name without source, batch (a power of two at the end) and measured quantity.

    `help/1080ti_1` and `help/1080ti_256` are one chip, `gold_6226` and `gold_6240` are two; `cifar10/edgegpu_energy` and
    `cifar100/edgegpu_latency` are one.
    """
    name = re.sub(r"_(latency|energy)(_m[sj])?$", "", device.rsplit("/", 1)[-1].lower())
    batch = re.fullmatch(r"(.+?)_(?:b|bs|batch)?_?(\d+)", name)
    if batch and int(batch[2]) & (int(batch[2]) - 1) == 0:
        name = batch[1]
    return name.replace("_", "").replace("-", "")


# ---------------------------------------------------------------- features of networks


def _features(choices: dict[str, np.ndarray], where: str) -> tuple[str, list[tuple[float, np.ndarray]]]:
    """The kind of the networks and their features."""
    if "arch" in choices:
        return "cells", cell_features(_parsed(choices["arch"], where))
    ops = choices.get("ops")
    if ops is not None and ops.ndim == 2 and ops.shape[1] == 6 and ops.min() >= 0 and ops.max() < len(OPS):
        return "cells", cell_features(ops.astype(int))
    if {"ks", "e", "d", "r"} <= choices.keys() and choices["ks"].shape == choices["e"].shape:
        return "once-for-all", _once_for_all(*(choices[name].astype(float) for name in ("ks", "e", "d", "r")))
    groups: list[tuple[float, np.ndarray]] = []
    for name, array in choices.items():
        groups += _any_choices(array.reshape(len(array), -1), f"{where}: {name}")
    return "choices " + ", ".join(f"{name} {array.shape[1:]}" for name, array in choices.items()), groups


def _parsed(texts: np.ndarray, where: str) -> np.ndarray:
    """(n, 6) operations of NAS-Bench-201 strings `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, whose order is that of the edges."""
    number = {name: i for i, name in enumerate(OPS)}
    rows = [re.findall(r"\|(\w+)~\d", str(text)) for text in texts]
    bad = next((i for i, row in enumerate(rows) if len(row) != 6 or not set(row) <= number.keys()), None)
    if bad is not None:
        raise UserError(f"{where}: arch must be like |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with {', '.join(OPS)}, got {texts[bad]!r}")
    return np.array([[number[op] for op in row] for row in rows])


def _once_for_all(kernels: np.ndarray, expansions: np.ndarray, depths: np.ndarray, sides: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Sums over the kept blocks of each stage, for themselves and times the area of the image. Source: Cai et al. 2020, section 4."""
    stages = depths.shape[1]
    live = np.arange(kernels.shape[1]) % STAGE < np.repeat(depths, STAGE, 1)
    area = (sides.reshape(-1, 1) / SIDE) ** 2
    groups = [(1.0, area)]
    for amount in (live, live * kernels, live * expansions, live * expansions * kernels**2):
        sums = np.stack([amount[:, STAGE * i : STAGE * (i + 1)].sum(1) for i in range(stages)], 1).astype(float)
        total = sums.sum(1, keepdims=True)
        groups += [(1.0, total), (1.0, total * area), (0.3, sums), (0.3, sums * area)]
    return groups


def _any_choices(array: np.ndarray, where: str) -> list[tuple[float, np.ndarray]]:
    """How often each value stands anywhere, and where; sums, if there are too many values to tell them apart."""
    values = np.unique(array)
    if len(values) > MOST_VALUES:
        return [(1.0, array.astype(float).sum(1, keepdims=True)), (0.3, array.astype(float))]
    codes = np.searchsorted(values, array)
    out = [(1.0, counts(codes, range(len(values)))), (0.3, positions(codes, range(len(values))))]
    return out if array.shape[1] > 1 else out[:1]
