"""Data that a program gives instead of a name: arrays, data frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nasforge.data.arrays import Raw, raw_of
from nasforge.data.readers.tables import Column, columns_of, raw_of_columns
from nasforge.errors import UserError


def read_given(given: Any, name: str, kind: str | None, target: str | None, reads: tuple[int, ...] | None = None) -> Raw:
    """Return the raw data of `(x, y)`, of arrays by name (`x`, `y` or `x_train`, `y_train`, ..., as in FILE.npz), or of a data frame.

    A frame has its target among its columns, or is the `x` of a pair. Tensors of torch on the CPU are arrays as well.

    Raises:
        UserError: it is none of these, or cannot be read as data.
    """
    if _is_frame(given):
        return raw_of_columns(columns_of(given, name), name, kind, target)
    if isinstance(given, tuple | list) and len(given) == 2:
        given = {"x": given[0], "y": given[1]}
    if not isinstance(given, Mapping):
        raise UserError(f"data: must be a name, (x, y), arrays by name, a frame or a data set, got {type(given).__name__}")
    if set(given) == {"x", "y"} and _is_frame(given["x"]):
        columns = _beside(given["x"], given["y"], name)
        return raw_of_columns(columns, name, kind, list(columns)[-1])
    if target is not None:
        raise UserError(f"target: names a column of a frame or of a table, got {target!r} with arrays; leave it out")
    return raw_of({key: value if isinstance(value, list | str) else np.asarray(value) for key, value in given.items()}, name, kind,
                  reads=reads)  # fmt: skip


def _is_frame(given: Any) -> bool:
    return hasattr(given, "columns") and hasattr(given, "__getitem__") and not isinstance(given, Mapping)


def _beside(x: Any, y: Any, name: str) -> dict[str, Column]:
    """The columns of a frame with its target behind them."""
    columns = columns_of({"": np.zeros(len(x)), **{str(c): x[c] for c in x.columns}}, name)
    del columns[""]
    target = str(getattr(y, "name", None) or "target")
    while target in columns:
        target += "_"
    found = columns_of({"": np.zeros(len(x)), target: y}, name)
    return {**columns, target: found[target]}
