"""Data sets as tensors in memory: read once, split once, normalised with the training part alone.

`load` accepts, as its `spec`:

* `digits`: scikit-learn's 1,797 images of 8 x 8, no file needed;
* a folder of images, one folder a class, optionally under `train/`, `val/` and `test/`;
* `FILE.npz` with arrays `x, y` or `x_train, y_train, x_test, y_test[, x_val, y_val]`, or images packed as JPEG;
* a folder (or one file) of idx files, plain or gzipped, named as MNIST's;
* a folder with `x.npy` and `y.npy`;
* `FILE.csv`: one row a sample, every column a number but the label column;
* `FILE.txt`: characters as tokens, the next character as the target;
* `module:function` or `FILE.py:function` of the user's own, which returns `(x, y)` or a dict of arrays.

`nasforge.data.readers` says what each format must hold.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasforge.data.arrays import Arrays
from nasforge.data.readers import Raw, read
from nasforge.data.splits import divide
from nasforge.errors import UserError


@dataclass(frozen=True)
class Part:
    """Samples `x` and targets `y` of equal length, on the CPU."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Data:
    """A data set in three parts: weights are fitted on `train`, choices made on `val`, `test` is read once at the end.

    `x` is (N, C, H, W) or (N, T, F) float32, or (N, T) int64 tokens. `y` is int64: (N,) classes, (N, H, W) label maps
    with -100 = ignored, or (N, T) one class for each step.

    Attributes:
        classes: number of outputs K.
        shape: shape of one sample, without the batch.
        vocab: number of tokens where `x` holds tokens, else None.
        key: short hash of the content of the three parts and the seed of the split.
        mean: subtracted from each channel (for CSV: column), after bytes were scaled to [0, 1]; empty for tokens.
        std: divided by, in the same order.
    """

    name: str
    train: Part
    val: Part
    test: Part
    classes: int
    shape: tuple[int, ...]
    vocab: int | None
    key: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def load(spec: str = "digits", *, seed: int = 0, limit: int | None = None, allow_code: bool = False) -> Data:
    """The data set that `spec` names, split and normalised.

    Split: stratified 60/20/20; where the data bring a test set it is kept, and 10 % of the training samples, or 1,000
    where these are at most 20 %, are held out as `val`; a given `val` is kept. The training part is ordered so that
    every prefix of it is stratified as well.

    Args:
        spec: what to read, see the module.
        seed: of the split.
        limit: training samples to keep. `val` and `test` shrink in proportion, to 1,000 at the least; a test set that
            the data bring is never cut.
        allow_code: whether `module:function` may be imported and run.

    Raises:
        UserError: nothing readable is there, or what is there cannot be trained on.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit: must be at least 1 training sample, got {limit}")
    raw = read(spec, allow_code)
    classes = _count_classes(raw)
    parts = divide(raw.parts, seed=seed, limit=limit, ordered=raw.ordered, where=raw.name)
    tensors, mean, std = _normalize({k: x for k, (x, _) in parts.items()}, raw.per_column)
    made = {k: Part(tensors[k], torch.from_numpy(y)) for k, (_, y) in parts.items()}
    shape = tuple(made["train"].x.shape[1:])
    return Data(raw.name, made["train"], made["val"], made["test"], classes, shape, raw.vocab, _key(parts, seed), mean, std)


def _count_classes(raw: Raw) -> int:
    """K = largest label + 1; labels of whole samples must leave no class of the training part empty."""
    labels = [y for _, y in raw.parts.values()]
    if raw.vocab is not None and labels[0].ndim == 2:
        return raw.vocab
    classes = 1 + max(int(y.max()) for y in labels)
    if classes < 2:
        raise UserError(f"{raw.name}: at least 2 classes are needed, got labels that are all {classes - 1}")
    if labels[0].ndim == 1:
        _check_counts(raw, classes)
    return classes


def _check_counts(raw: Raw, classes: int) -> None:
    needed = {3: 1, 2: 2}.get(len(raw.parts), 5)  # the parts still to be cut out of `train` each need one
    counts = np.bincount(raw.parts["train"][1], minlength=classes)
    if counts.min() >= needed:
        return
    which = int(counts.argmin())
    label = f" ({raw.labels[which]})" if raw.labels else ""
    raise UserError(
        f"{raw.name}: class {which}{label} must have at least {needed} training samples, got {int(counts.min())}; "
        f"add samples, drop the class, or number the classes 0 to {max(int((counts > 0).sum()) - 1, 1)} without gaps "
        "(targets that are measurements, not classes, are not supported)"
    )


def _normalize(arrays: dict[str, np.ndarray], per_column: bool) -> tuple[dict[str, Tensor], tuple[float, ...], tuple[float, ...]]:
    """Bytes scaled to [0, 1], then every channel to mean 0 and variance 1 over the *training* part; tokens as they are."""
    tensors = {k: _as_tensor(x) for k, x in arrays.items()}
    train = tensors["train"]
    if not train.is_floating_point():
        return tensors, (), ()
    dims = [0] if per_column else [0, 2, 3] if train.ndim == 4 else [0, 1]
    std, mean = torch.std_mean(train, dim=dims, correction=0, keepdim=True)
    std = torch.where(std < 1e-12, torch.ones_like(std), std)  # a constant channel stays constant
    for x in tensors.values():
        x.sub_(mean).div_(std)
    return tensors, tuple(mean.flatten().tolist()), tuple(std.flatten().tolist())


def _as_tensor(x: np.ndarray) -> Tensor:
    if x.dtype == np.int64:
        return torch.from_numpy(x)
    return torch.from_numpy(x.astype(np.float32, order="C")).mul_(1 / 255 if x.dtype == np.uint8 else 1)


def _key(parts: dict[str, Arrays], seed: int) -> str:
    digest = hashlib.blake2b(f"split {seed}".encode(), digest_size=6)
    for name in ("train", "val", "test"):
        for array in parts[name]:
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data if math.prod(array.shape) else b"")
    return digest.hexdigest()
