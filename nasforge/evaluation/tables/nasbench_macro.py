"""NAS-Bench-Macro (Su et al. 2021): 6,561 chains of eight layers, trained three times each on CIFAR-10, as rows of a table.

The file is theirs: json of `{"02012100": {"test_acc": [...], "mean_acc": ..., "std": ..., "params": ..., "flops": ...}, ...}`; digit i is
the block of layer i. Columns: `acc1` to `acc3` of the single trainings, `mean_acc`, `std`, `params`, and `macs` (their flops).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasforge.errors import UserError
from nasforge.spaces.domains import Scalar

BLOCKS = ("none", "mb3", "mb6")  # digits 0, 1, 2
LAYERS = 8
USUAL = ("acc1", "mean_acc")  # a search sees one training, the mean of three says how good its network is

Columns = dict[str, list[float]]


def macro_rows(text: str, path: Path) -> tuple[list[dict[str, Scalar]], Columns]:
    """The choices of each network in the packaged space `macro`, and the columns. Raises UserError for another file."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as json ({error})") from None
    if not isinstance(data, Mapping) or not data or not all(isinstance(row, Mapping) for row in data.values()):
        raise UserError(f"{path}: must be json of networks by name, such as NAS-Bench-Macro's, got {type(data).__name__}")
    columns: Columns = {name: [] for name in ("acc1", "acc2", "acc3", "mean_acc", "std", "params", "macs")}
    for row in data.values():
        runs = [_number(v) for v in row.get("test_acc", ())] + [math.nan] * 3
        for name, value in zip(columns, [*runs[:3], *(_number(row.get(k)) for k in ("mean_acc", "std", "params", "flops"))], strict=True):
            columns[name].append(value)
    return [_choices(str(name), path) for name in data], columns


def _choices(name: str, path: Path) -> dict[str, Scalar]:
    if len(name) != LAYERS or any(digit not in "012" for digit in name):
        raise UserError(f"{path}: a network is named by {LAYERS} digits from 0 to 2, one a layer, got {name!r}")
    return {f"body.{layer}": BLOCKS[int(digit)] for layer, digit in enumerate(name)}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
