"""Checks on the arrays a user brings, and their one layout: images, sequences or tokens with integer targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasforge.errors import UserError, nearest

IGNORE = -100  # the target that no loss counts; torch's default ignore_index
VOID = 255  # the same in label maps on disk
SAMPLES = ("image", "sequence")
PARTS = ("train", "val", "test")

Arrays = tuple[np.ndarray, np.ndarray]


def parts_of(arrays: dict[str, Any], where: str) -> dict[str, Arrays]:
    """The parts in `arrays`, whose keys are `x, y` or `x_train, y_train, ...`, each checked and laid out.

    An optional `kind`, `image` or `sequence`, settles what (N, a, b) floats are; without it they are sequences.
    """
    plain, cut = ["x", "y"], [f"{a}_{part}" for part in PARTS for a in "xy"]
    names = set(arrays) - {"kind"}
    for name in sorted(names - set(plain) - set(cut)):
        raise UserError(f"{where}: unknown array {name!r}; {nearest(name, [*plain, *cut, 'kind'])}")
    kind = str(arrays["kind"]) if "kind" in arrays else None
    if kind not in (None, *SAMPLES):
        raise UserError(f"{where}: kind must be a kind of sample, got {kind!r}; {nearest(kind, SAMPLES)}")
    if names == set(plain):
        return {"train": lay_out(arrays["x"], arrays["y"], where, kind)}
    found = [part for part in PARTS if {f"x_{part}", f"y_{part}"} <= names]
    if "train" not in found or len(names) != 2 * len(found):
        raise UserError(
            f"{where}: must hold x and y, or x_train and y_train with, where there are, x_val, y_val, x_test and "
            f"y_test in pairs; got {', '.join(sorted(names)) or 'no array'}"
        )
    made = {p: lay_out(arrays[f"x_{p}"], arrays[f"y_{p}"], f"{where} ({p})", kind) for p in found}
    _check_alike(made, where)
    return made


def lay_out(x: Any, y: Any, where: str, kind: str | None = None) -> Arrays:
    """`x` as (N, C, H, W) bytes or float32, (N, T, F) float32 or (N, T) int64 tokens, and `y` as int64.

    Raises:
        UserError: lengths differ, a number is missing, labels are no integers, the shapes fit no task.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
        raise UserError(f"{where}: x and y must hold one entry for each sample, got shapes {x.shape} and {y.shape}")
    x, y = _numbers(x, where), _integers(y, where)
    if y.ndim == 1:
        _check_ids(y, where)
        return _samples(x, where, kind), y
    if y.ndim == 3:
        x = _samples(x, where, "image")
        if x.shape[-2:] != y.shape[-2:]:
            raise UserError(f"{where}: label maps must be as large as the images {x.shape[-2:]}, got {y.shape[-2:]}")
        return x, _ignored(y, void=True)
    if y.ndim == 2 and x.shape[:2] == y.shape and x.ndim < 4:
        return _samples(x, where, "sequence"), _ignored(y, void=False)
    raise UserError(
        f"{where}: y must be (N,) classes, (N, H, W) label maps or (N, T) one class a step, got {y.shape} beside x "
        f"{x.shape}" + ("; for one-hot labels store y.argmax(1)" if y.ndim == 2 else "")
    )


def _numbers(x: np.ndarray, where: str) -> np.ndarray:
    if x.dtype.kind not in "buif":
        raise UserError(f"{where}: x must hold numbers, got an array of type {x.dtype}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        sample = int(np.argmax(~np.isfinite(x).reshape(len(x), -1).all(axis=1)))
        raise UserError(f"{where}: x must be finite, got NaN or infinity in sample {sample}; fill or drop such samples")
    return x


def _integers(y: np.ndarray, where: str) -> np.ndarray:
    if y.dtype.kind not in "buif":
        raise UserError(f"{where}: labels y must be integers from 0, got an array of type {y.dtype}")
    if y.dtype.kind == "f":
        wrong = y[~np.isfinite(y) | (y != np.round(y))]
        if wrong.size:
            raise UserError(f"{where}: labels y must be integers from 0, got {wrong.flat[0]}; only classes are supported")
    return y.astype(np.int64)


def _check_ids(y: np.ndarray, where: str) -> None:
    if y.min() < 0:
        raise UserError(f"{where}: class ids y must be integers from 0, got {int(y.min())}")


def _ignored(y: np.ndarray, void: bool) -> np.ndarray:
    return np.where((y < 0) | ((y == VOID) & void), IGNORE, y)


def _samples(x: np.ndarray, where: str, kind: str | None) -> np.ndarray:
    if x.ndim == 2:
        return _tokens(x, where) if x.dtype.kind in "ui" else x.astype(np.float32)[:, :, None]
    if x.ndim == 4:
        return _plain(x if x.shape[1] <= x.shape[3] else x.transpose(0, 3, 1, 2))  # the smaller axis is the channels
    if x.ndim == 3 and (kind == "image" or (kind is None and x.dtype == np.uint8)):
        return _plain(x[:, None])
    if x.ndim == 3:
        return x.astype(np.float32)
    raise UserError(
        f"{where}: x must be (N, T) tokens, (N, T, F) sequences, or images (N, H, W), (N, H, W, C) or (N, C, H, W), got {x.shape}"
    )


def _tokens(x: np.ndarray, where: str) -> np.ndarray:
    if x.min() < 0:
        raise UserError(f"{where}: tokens x must be integers from 0, got {int(x.min())}")
    return x.astype(np.int64)


def _plain(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32))


def _check_alike(parts: dict[str, Arrays], where: str) -> None:
    for name, (x, y) in parts.items():
        first_x, first_y = parts["train"]
        if (x.shape[1:], x.dtype, y.ndim) != (first_x.shape[1:], first_x.dtype, first_y.ndim):
            raise UserError(
                f"{where}: samples of {name} must be as those of train, {first_x.dtype} {first_x.shape[1:]}, got {x.dtype} {x.shape[1:]}"
            )
