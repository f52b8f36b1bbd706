"""Checks on the arrays that users bring, and their one layout: inputs and targets of known kinds, by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasforge.data.dataset import IGNORE, PARTS
from nasforge.errors import UserError, nearest

VOID = 255  # the label that is ignored in maps on disk
SAMPLES = ("image", "sequence")


@dataclass(frozen=True)
class Arrays:
    """The inputs and targets of a part by name; the first axis of each array is the sample."""

    inputs: Mapping[str, np.ndarray]
    targets: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.targets.values())))

    @property
    def x(self) -> np.ndarray:
        """The first input."""
        return next(iter(self.inputs.values()))

    @property
    def y(self) -> np.ndarray:
        """The first target."""
        return next(iter(self.targets.values()))

    def __getitem__(self, which: Any) -> Arrays:
        return Arrays({k: v[which] for k, v in self.inputs.items()}, {k: v[which] for k, v in self.targets.items()})


@dataclass(frozen=True)
class Raw:
    """What a reader found, not yet split: arrays by part, `train` at least.

    Attributes:
        kinds: of the targets by name, see `nasforge.data.dataset`.
        vocab: number of tokens of each input that holds tokens.
        labels: names of the classes, labels or values of the first target, where the format has them.
        ordered: neighboring samples belong together, so parts must be contiguous.
        task: the task that such data are for, where the kind of the target does not tell.
        notes: what the user should know of how the data were read.
    """

    name: str
    parts: Mapping[str, Arrays]
    kinds: Mapping[str, str]
    vocab: Mapping[str, int] | None = None
    labels: tuple[str, ...] = ()
    ordered: bool = False
    task: str | None = None
    notes: tuple[str, ...] = ()


def raw_of(arrays: Mapping[str, Any], name: str, kind: str | None = None, labels: tuple[str, ...] = ()) -> Raw:
    """Return the raw data of arrays named `x, y` or `x_train, y_train, ...`, each checked and laid out.

    Several inputs or targets are told apart as `x_train:NAME` and `y_train:NAME`. An optional array `kind`, `image` or `sequence`,
    settles what (N, a, b) floats are, without it sequences, and that (N, T) floats are a sequence of numbers and no vectors of T features.

    Args:
        kind: of the target where it is not what the array suggests: `value` or `labels`.
    """
    arrays = dict(arrays)
    sample = str(arrays.pop("kind")) if "kind" in arrays else None
    if sample not in (None, *SAMPLES):
        raise UserError(f"{name}: kind must be a kind of sample, got {sample!r}; {nearest(sample, SAMPLES)}")
    found = _by_part(arrays, name)
    parts: dict[str, Arrays] = {}
    kinds: dict[str, str] = {}
    for part, (xs, ys) in found.items():
        where = name if len(found) == 1 else f"{name} ({part})"
        parts[part], kinds = _laid_out(xs, ys, where, sample, kind)
    _check_alike(parts, name)
    train = parts["train"]
    tokens = {key for key, x in train.inputs.items() if x.dtype == np.int64}
    steps = "steps" in kinds.values()
    vocab = {key: 1 + max(int(max(p.inputs[key].max(), p.y.max() if steps else 0)) for p in parts.values()) for key in tokens}
    return Raw(name, parts, kinds, vocab or None, labels, ordered=steps and bool(tokens))


def _by_part(arrays: Mapping[str, Any], where: str) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The inputs and targets of each part by name, '' where there is no name."""
    valid = ["x", "y", *(f"{a}_{part}" for part in PARTS for a in "xy")]
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for key, array in arrays.items():
        word, _, name = key.partition(":")
        if word not in valid:
            raise UserError(f"{where}: unknown array {key!r}; {nearest(word, [*valid, 'kind'])}; of several, x:NAME and y:NAME")
        found.setdefault(word[2:] or "", ({}, {}))["xy".index(word[0])][name] = array
    if set(found) == {""}:
        found = {"train": found[""]}
    names = [tuple(map(frozenset, pair)) for pair in found.values()]
    if "train" not in found or "" in found or len(set(names)) > 1 or not all(all(pair) for pair in names):
        raise UserError(
            f"{where}: must hold x and y, or x_train and y_train with, where there are, x_val, y_val, x_test and "
            f"y_test in pairs; got {', '.join(sorted(arrays)) or 'no array'}"
        )
    return {part: found[part] for part in PARTS if part in found}


def _laid_out(
    xs: Mapping[str, Any], ys: Mapping[str, Any], where: str, sample: str | None, kind: str | None
) -> tuple[Arrays, dict[str, str]]:
    """A part with its inputs and targets as they are used, and the kinds of the targets."""
    inputs, targets, kinds = {}, {}, {}
    for y_name, y in ys.items():
        mistakes = []
        for x_name, x in xs.items():  # a target belongs to the whole sample, or to the axes of one of the inputs
            try:
                made, target, found = lay_out(x, y, where, sample, kind)
            except UserError as error:
                mistakes.append(error)
                continue
            inputs[x_name or "input"] = made
            targets[y_name or found], kinds[y_name or found] = target, found
        if len(mistakes) == len(xs):
            raise mistakes[0]
    inputs = {name or "input": inputs[name or "input"] if (name or "input") in inputs else _samples(np.asarray(x), where, sample)
              for name, x in xs.items()}  # fmt: skip
    return Arrays(inputs, targets), kinds


def lay_out(x: Any, y: Any, where: str, sample: str | None = None, kind: str | None = None) -> tuple[np.ndarray, np.ndarray, str]:
    """Return an input, a target and the kind of the target.

    Inputs become (N, C, H, W) bytes or float32, (N, T, F) float32, (N, F) float32 or (N, T) int64 tokens; classes int64, values float32.

    Raises:
        UserError: lengths differ, a number is missing, labels are no integers, the shapes fit no kind.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
        raise UserError(f"{where}: x and y must hold one entry for each sample, got shapes {x.shape} and {y.shape}")
    x = _numbers(x, where, missing=x.ndim == 2 and sample is None)
    if kind == "value":
        return _samples(x, where, sample), values(y, where), "value"
    if kind == "labels":
        return _samples(x, where, sample), many_labels(y, where), "labels"
    y = _integers(y, where)
    if y.ndim == 1:
        if y.min() < 0:
            raise UserError(f"{where}: class ids y must be integers from 0, got {int(y.min())}")
        return _samples(x, where, sample), y, "label"
    if y.ndim == 3:
        x = _samples(x, where, "image")
        if x.shape[-2:] != y.shape[-2:]:
            raise UserError(f"{where}: label maps must be as large as the images {x.shape[-2:]}, got {y.shape[-2:]}")
        return x, np.where((y < 0) | (y == VOID), IGNORE, y), "mask"
    if y.ndim == 2 and x.shape[:2] == y.shape and x.ndim < 4:
        return _samples(x, where, "sequence"), np.where(y < 0, IGNORE, y), "steps"
    hint = "; for one-hot labels store y.argmax(1); of several labels a sample, add --task multilabel" if y.ndim == 2 else ""
    raise UserError(
        f"{where}: y must be (N,) classes, (N, H, W) label maps or (N, T) one class a step, got {y.shape} beside x {x.shape}{hint}"
    )


def _numbers(x: np.ndarray, where: str, missing: bool = False) -> np.ndarray:
    """The array, checked. missing: whether NaN stands for a number that is missing."""
    if x.dtype.kind not in "buif":
        raise UserError(f"{where}: x must hold numbers, got an array of type {x.dtype}")
    if missing and x.dtype.kind == "f":
        if np.isinf(x).any():
            raise UserError(f"{where}: x must be finite, got infinity in sample {int(np.argmax(np.isinf(x).any(1)))}; drop such samples")
    elif x.dtype.kind == "f" and not np.isfinite(x).all():
        sample = int(np.argmax(~np.isfinite(x).reshape(len(x), -1).all(axis=1)))
        raise UserError(f"{where}: x must be finite, got NaN or infinity in sample {sample}; fill or drop such samples")
    return x


def _integers(y: np.ndarray, where: str) -> np.ndarray:
    if y.dtype.kind not in "buif":
        raise UserError(f"{where}: labels y must be integers from 0, got an array of type {y.dtype}")
    if y.dtype.kind == "f":
        wrong = y[~np.isfinite(y) | (y != np.round(y))]
        if wrong.size:
            raise UserError(
                f"{where}: labels y must be integers from 0, got {wrong.flat[0]}; for numbers to predict, add --task regression"
            )
    return y.astype(np.int64)


def values(y: np.ndarray, where: str) -> np.ndarray:
    """Return targets that are numbers as (N, V) float32. Raises UserError where one is missing or none."""
    if y.dtype.kind not in "buif" or y.ndim > 2:
        raise UserError(f"{where}: y must be (N,) or (N, V) numbers to predict, got {y.dtype} {y.shape}; of classes leave --task out")
    if not np.isfinite(y).all():
        sample = int(np.argmax(~np.isfinite(y.reshape(len(y), -1)).all(1)))
        raise UserError(f"{where}: y must be finite, got NaN or infinity in sample {sample}; drop such samples")
    return y.reshape(len(y), -1).astype(np.float32)


def many_labels(y: np.ndarray, where: str) -> np.ndarray:
    """Return (N, K) zeros and ones as float32. Raises UserError where they are not."""
    if y.ndim != 2 or y.dtype.kind not in "buif" or not np.isin(y, (0, 1)).all():
        got = f"{y.dtype} {y.shape}" if y.ndim != 2 else "other numbers"
        raise UserError(f"{where}: y must be (N, K) zeros and ones, one column a label, got {got}; of one class a sample leave --task out")
    return y.astype(np.float32)


def _samples(x: np.ndarray, where: str, sample: str | None) -> np.ndarray:
    if x.ndim == 2:
        if x.dtype.kind in "ui":
            return _tokens(x, where)
        return x.astype(np.float32)[:, :, None] if sample == "sequence" else x.astype(np.float32)
    if x.ndim == 4:
        return _plain(x if x.shape[1] <= x.shape[3] else x.transpose(0, 3, 1, 2))  # the smaller axis is the channels
    if x.ndim == 3 and (sample == "image" or (sample is None and x.dtype == np.uint8)):
        return _plain(x[:, None])
    if x.ndim == 3:
        return x.astype(np.float32)
    raise UserError(
        f"{where}: x must be (N, F) vectors, (N, T) tokens, (N, T, F) sequences, or images (N, H, W), (N, H, W, C) or (N, C, H, W), "
        f"got {x.shape}"
    )


def _tokens(x: np.ndarray, where: str) -> np.ndarray:
    if x.min() < 0:
        raise UserError(f"{where}: tokens x must be integers from 0, got {int(x.min())}")
    return x.astype(np.int64)


def _plain(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32))


def _check_alike(parts: Mapping[str, Arrays], where: str) -> None:
    first = parts["train"]
    for name, part in parts.items():
        for key, x in part.inputs.items():
            if (x.shape[1:], x.dtype) != (first.inputs[key].shape[1:], first.inputs[key].dtype) or part.y.ndim != first.y.ndim:
                wanted = first.inputs[key]
                raise UserError(
                    f"{where}: samples of {name} must be as those of train, {wanted.dtype} {wanted.shape[1:]}, got {x.dtype} {x.shape[1:]}"
                )
