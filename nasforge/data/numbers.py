"""The numbers of one input or target, checked, and in the type and shape that a data set has them in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nasforge.data.images import Images
from nasforge.data.rows import Rows
from nasforge.errors import UserError

LARGEST = float(np.finfo(np.float32).max)
DIGITS = 1e-4  # share of the range of a channel that float32 may be off; where it is more, numbers stay float64 until they are centered
TARGET_DIGITS = 1e-2  # of a value to predict
MOST_CLASSES = 10_000_000  # and tokens; more are numbers of another kind, such as ids of persons
Input = np.ndarray | Rows | Images  # in memory as it is used, or taken when it is used


def chunks(x: Input) -> Iterable[np.ndarray]:
    """Return an input as arrays in memory, one after the other; none of encoded images, which are whole."""
    return (x,) if isinstance(x, np.ndarray) else x.chunks() if isinstance(x, Rows) else ()


def as_input(x: Any) -> Input:
    """Return what is no input of a kind of its own as an array."""
    return x if isinstance(x, Rows | Images) else np.asarray(x)


def checked(x: Input, where: str) -> Input:
    """Return an input that holds numbers, NaN for a missing one of a vector and for the end of a sequence. Raises UserError for others."""
    kind = x.array.dtype.kind if isinstance(x, Rows) else x.dtype.kind
    if kind not in "buif":
        raise UserError(f"{where}: x must hold numbers, got an array of type {x.dtype}")
    if 0 in x.shape[1:]:
        raise UserError(f"{where}: samples of x must hold numbers, got the shape {x.shape}")
    before = 0
    for chunk in chunks(_exact(x)) if kind == "f" else ():
        large = np.isfinite(chunk) & (np.abs(chunk) > LARGEST) if chunk.dtype.itemsize > 4 and not np.abs(chunk).max() <= LARGEST else None
        if large is not None and large.any():
            sample = before + int(np.argmax(large.reshape(len(chunk), -1).any(axis=1)))
            raise UserError(f"{where}: x must hold numbers of at most {LARGEST:.2g}, the largest of float32, got {chunk[large].flat[0]:g} "
                            f"in sample {sample}; divide them first")  # fmt: skip
        wrong = ~np.isfinite(chunk)
        if wrong.any() and x.ndim < 4:  # NaN is allowed for a feature that is missing, and for a step that is not there
            wrong &= np.isinf(chunk) | (~np.isnan(chunk).all(2, keepdims=True) if x.ndim == 3 else False)
        if wrong.any():
            sample = before + int(np.argmax(wrong.reshape(len(chunk), -1).any(axis=1)))
            raise UserError(f"{where}: x must be finite, got NaN or infinity in sample {sample}; fill or drop such samples")
        before += len(chunk)
    return x


def shaped(x: Input, where: str, sample: str | None) -> Input:
    """Return an input as (N, C, H, W), (N, T, F), (N, F) or (N, T) tokens. sample: `image` or `sequence`, where the shape is open."""
    if isinstance(x, Images):
        return x
    given = x.array.dtype if isinstance(x, Rows) else x.dtype
    cut = isinstance(x, Rows) and x.lengths is not None  # sequences
    if x.ndim == 2 and given.kind in "ui":
        return _tokens(x, where)
    if x.ndim == 2 and sample != "sequence" and not cut:
        return _exact(x)
    if x.ndim == 2:
        return _exact(x.laid_out("steps") if isinstance(x, Rows) else x[:, :, None])
    if x.ndim == 4:
        return _plain(x)
    if x.ndim == 3 and (sample == "image" or (sample is None and given == np.uint8)) and not cut:
        return _plain(x.laid_out("grey") if isinstance(x, Rows) else x[:, None])
    if x.ndim == 3:
        return _exact(x)
    raise UserError(
        f"{where}: x must be (N, F) vectors, (N, T) tokens, (N, T, F) sequences, or images (N, H, W), (N, H, W, C) or (N, C, H, W), "
        f"got {x.shape}"
    )


def _tokens(x: Input, where: str) -> Input:
    array: Any = x.array if isinstance(x, Rows) else x
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise UserError(f"{where}: tokens x must be integers from 0 to {MOST_CLASSES - 1}, got {array.max()}")
    smallest = min(int(chunk.min()) for chunk in chunks(x))
    if smallest < -1:
        raise UserError(f"{where}: tokens x must be integers from 0, and -1 from the end of a sample on, got {smallest}")
    return x.astype(np.int64) if isinstance(x, np.ndarray) else x


def _plain(x: Input) -> Input:
    if isinstance(x, Images):
        return x
    exact = _exact(x) if (x.array if isinstance(x, Rows) else x).dtype != np.uint8 else x
    return exact if isinstance(exact, Rows) else np.ascontiguousarray(exact)


def _exact(x: Any) -> Any:
    """Numbers as float32 where it holds them exactly, else as float64; see `_narrowed`."""
    given = x.array.dtype if isinstance(x, Rows) else x.dtype
    wide = np.result_type(given, np.float32) != np.float32
    return replace(x, wide=wide) if isinstance(x, Rows) else x.astype(np.float64 if wide else np.float32)


def integers(y: np.ndarray, where: str) -> np.ndarray:
    """Return classes as int64, -1 for steps after the end. Raises UserError where they are none."""
    if y.dtype.kind not in "buif":
        raise UserError(f"{where}: labels y must be integers from 0, got an array of type {y.dtype}")
    if y.dtype.kind == "f":
        y = np.where(np.isnan(y), -1, y) if y.ndim == 2 else y  # steps after the end
        wrong = y[~np.isfinite(y) | (y != np.round(y))]
        if wrong.size:
            raise UserError(
                f"{where}: labels y must be integers from 0, got {wrong.flat[0]}; for numbers to predict, add --task regression"
            )
    if y.size and y.max() >= MOST_CLASSES:
        raise UserError(
            f"{where}: labels y must be integers from 0 to {MOST_CLASSES - 1}, got {int(y.max())}; number the classes 0, 1, ...; "
            "for numbers to predict, add --task regression"
        )
    return y.astype(np.int64)


def values(y: np.ndarray, where: str) -> np.ndarray:
    """Return targets that are numbers as (N, V) float32. Raises UserError where one is missing or none."""
    if y.dtype.kind not in "buif" or y.ndim > 2:
        raise UserError(f"{where}: y must be (N,) or (N, V) numbers to predict, got {y.dtype} {y.shape}; of classes leave --task out")
    if not np.isfinite(y).all():
        sample = int(np.argmax(~np.isfinite(y.reshape(len(y), -1)).all(1)))
        raise UserError(f"{where}: y must be finite, got NaN or infinity in sample {sample}; drop such samples")
    if y.size and np.abs(y.astype(np.float64)).max() > LARGEST:
        raise UserError(f"{where}: y must hold numbers of at most {LARGEST:.2g}, the largest of float32; divide them first")
    wide = y.astype(np.float64).reshape(len(y), -1)
    if loses_digits([wide], TARGET_DIGITS):
        raise UserError(f"{where}: the numbers y to predict lie too far from 0 for float32 to tell them apart, got {wide.min():.15g} to "
                        f"{wide.max():.15g}; subtract their mean first")  # fmt: skip
    return y.reshape(len(y), -1).astype(np.float32)


def many_labels(y: np.ndarray, where: str) -> np.ndarray:
    """Return (N, K) zeros and ones as float32. Raises UserError where they are not."""
    if y.ndim != 2 or y.dtype.kind not in "buif" or not np.isin(y, (0, 1)).all():
        got = f"{y.dtype} {y.shape}" if y.ndim != 2 else "other numbers"
        raise UserError(f"{where}: y must be (N, K) zeros and ones, one column a label, got {got}; of one class a sample leave --task out")
    return y.astype(np.float32)


def loses_digits(arrays: Sequence[Any], share: float) -> bool:
    """Return whether float32 would be off by more than a share of the range of a channel."""
    axes = {2: (0,), 3: (0, 1), 4: (0, 2, 3)}[arrays[0].ndim]

    def most(change: Callable[[np.ndarray], np.ndarray]) -> Any:
        """The largest number of each channel; NaN does not count."""
        found: Any = -np.inf
        for x in arrays:
            for chunk in (x,) if isinstance(x, np.ndarray) else x.chunks():
                changed = change(chunk)
                largest = changed.max(axes)
                found = np.fmax(found, np.fmax.reduce(changed, axes) if np.isnan(largest).any() else largest)
        return found

    low, high = -most(np.negative), most(np.positive)
    allowed = np.where(high > low, share * (high - low), np.inf)
    if (np.maximum(np.abs(low), np.abs(high)) * 2.0**-24 <= allowed).all():
        return False
    return bool((most(lambda x: np.abs(x - x.astype(np.float32))) > allowed).any())
