"""Data that a program gives instead of a name: arrays, data frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nasforge.data.arrays import Raw, plain, raw_of
from nasforge.data.dataset import PARTS
from nasforge.data.readers.tables import Column, columns_of, columns_of_frame, raw_of_columns, raw_of_parts
from nasforge.errors import UserError


def read_given(given: Any, name: str, kind: str | None, target: str | None, reads: tuple[int, ...] | None = None) -> Raw:
    """Return the raw data of `(x, y)`, of arrays by name (`x`, `y` or `x_train`, `y_train`, ..., as in FILE.npz), or of a data frame.

    A frame has its target among its columns, or is the `x` of a pair, or of each part. Tensors of torch on the CPU are arrays as well.

    Raises:
        UserError: it is none of these, or cannot be read as data.
    """
    if _is_frame(given):
        return raw_of_columns(columns_of(given, name), name, kind, target)
    if isinstance(given, tuple | list) and len(given) == 2:
        given = {"x": given[0], "y": given[1]}
    if not isinstance(given, Mapping):
        raise UserError(f"data: must be a name, (x, y), arrays by name, a frame or a data set, got {type(given).__name__}")
    if strange := [key for key in given if not isinstance(key, str)]:
        raise UserError(f"data: arrays must have names such as x and y, got {strange[0]!r}; of one table give a data frame")
    if any(_is_frame(value) for key, value in given.items() if key.startswith("x")):
        return _of_frames(given, name, kind, target)
    if target is not None:
        raise UserError(f"target: names a column of a frame or of a table, got {target!r} with arrays; leave it out")
    frames = {key: value for key, value in given.items() if _is_frame(value)}
    return raw_of({**given, **_aligned(frames, name, kind)}, name, kind, reads=reads)


def _is_frame(given: Any) -> bool:
    return hasattr(given, "columns") and hasattr(given, "__getitem__") and not isinstance(given, Mapping)


def _aligned(frames: Mapping[str, Any], name: str, kind: str | None) -> dict[str, np.ndarray]:
    """Targets that are frames as arrays: the columns of all parts in the order of the first."""
    found: dict[str, np.ndarray] = {}
    columns = {key: columns_of_frame(frame, f"{name}: {key}") for key, frame in frames.items()}
    for key, one in columns.items():
        first = next(other for other in columns if other.partition(":")[2] == key.partition(":")[2])
        if set(one) != set(columns[first]):
            raise UserError(f"{name}: {key} must have the columns of {first}, {', '.join(columns[first])}, got {', '.join(one)}")
        arrays = [np.asarray(one[column]) for column in columns[first]]
        found[key] = arrays[0] if len(arrays) == 1 and kind is None else np.stack(arrays, 1)
    return found


def _of_frames(given: Mapping[str, Any], name: str, kind: str | None, target: str | None) -> Raw:
    """The raw data of frames beside their targets, of one or of several parts."""
    parts = {"train": ("x", "y")} if "x" in given else {part: (f"x_{part}", f"y_{part}") for part in PARTS if f"x_{part}" in given}
    if set(given) != {key for pair in parts.values() for key in pair} or "train" not in parts:
        raise UserError(f"{name}: frames must be x beside y, or x_train beside y_train and so on, got {', '.join(given)}; "
                        "of other arrays give frame.to_numpy()")  # fmt: skip
    others = [x for x, _ in parts.values() if not _is_frame(given[x])]
    if others:
        raise UserError(f"{name}: x must be a frame in every part or in none, got {type(given[others[0]]).__name__} as {others[0]}; "
                        "give a frame with the columns of the others")  # fmt: skip
    if target is not None:
        raise UserError(f"target: names a column of one frame, got {target!r} beside y; leave it out")
    xs = {part: columns_of_frame(given[x], name if len(parts) == 1 else f"{name} ({part})") for part, (x, _) in parts.items()}
    taken = {column for columns in xs.values() for column in columns}
    ys = {part: _targets(given[y], name, taken) for part, (_, y) in parts.items()}
    wanted = list(ys["train"])
    for part, columns in ys.items():
        if len(wanted) == len(columns) == 1:
            ys[part] = dict(zip(wanted, columns.values(), strict=True))  # a series may have another name in each part
        elif set(columns) != set(wanted):
            raise UserError(f"{name}: y of {part} must have the columns of train, {', '.join(wanted)}, got {', '.join(columns)}")
        sizes = {len(column) for column in (*xs[part].values(), *columns.values())}
        if len(sizes) != 1 or sizes == {0}:
            raise UserError(f"{name}: x and y must hold one row for each sample, got {sorted(sizes)} rows ({part})")
    return raw_of_parts({part: {**xs[part], **ys[part]} for part in parts}, name, kind, wanted)


def _targets(y: Any, name: str, taken: set[str]) -> dict[str, Column]:
    """The columns of targets, by names that no other column has."""
    if not _is_frame(y):
        array = np.asarray(plain(y.to_numpy() if hasattr(y, "to_numpy") else y))
        label = str(getattr(y, "name", None) or "target")
        y = {f"{label}.{i}": array[:, i] for i in range(array.shape[1])} if array.ndim == 2 else {label: array}
    found: dict[str, Column] = {}
    for label, column in columns_of_frame(y, f"{name}: y").items():
        while label in taken:
            label += "_"
        found[label] = column
    return found
