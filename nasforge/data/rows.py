"""Arrays that stay where they are, in memory or in a file, until some of their rows are taken."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS_AT_ONCE = 2**22  # of an array that is looked over
LEVELS = np.arange(256) / 255  # of bytes in [0, 1]


@dataclass(frozen=True)
class Rows:
    """Some rows of an array that is in memory, or in a file of NumPy's that is mapped into it. Behaves as an array without its numbers.

    Attributes:
        array: (N, ...) numbers.
        index: which rows, in order.
        file: where the array lies, None in memory.
        layout: `last` where the channels of an image are the last axis of the file, `grey` where they are none, `steps` where
            the numbers of a sequence are none, else empty.
        wide: whether the rows are taken as float64, as float32 would lose their digits.
        lengths: of the samples of the array, where they are cut: the steps from there on are missing. steps: of the longest.
    """

    array: np.ndarray
    index: np.ndarray
    file: Path | None = None
    layout: str = ""
    wide: bool = False
    lengths: np.ndarray | None = None
    steps: int | None = None

    @classmethod
    def of(cls, array: np.ndarray) -> Rows:
        """Return all rows of an array."""
        return cls(array, np.arange(len(array)), Path(array.filename) if isinstance(array, np.memmap) and array.filename else None)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.index), *self.array.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """The type as which the rows are taken: bytes of images as they are, tokens int64, all else float32 or float64."""
        kind = self.array.dtype
        if kind == np.uint8 and self.ndim == 4:
            return kind
        return np.dtype(np.int64 if kind.kind in "ui" and self.ndim == 2 else np.float64 if self.wide else np.float32)

    @property
    def ndim(self) -> int:
        return self.array.ndim

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: Any) -> Rows:
        return replace(self, index=self.index[which])

    def __reduce__(self) -> Any:  # a mapped array travels as the name of its file, of another one the rows that are used
        if self.file is None:
            lengths = None if self.lengths is None else self.lengths[self.index]
            return Rows, (self.array[self.index], np.arange(len(self)), None, "", self.wide, lengths)
        return _opened, (self.file, self.index, self.layout, self.wide, self.lengths, self.steps)

    def alone(self) -> Rows:
        """Return the rows without the others of their array, where these would keep more memory than they take themselves."""
        few = self.file is None and 2 * len(self) < len(self.array)
        if not few:
            return self
        lengths = None if self.lengths is None else self.lengths[self.index]
        return replace(self, array=self.array[self.index], index=np.arange(len(self)), lengths=lengths)

    def cut(self, lengths: np.ndarray, longest: int | None = None) -> Rows:
        """Return sequences, each of its own length; the longest is that of the longest of them, or as it is said."""
        longest = longest or int(lengths.max())
        equal = lengths.min() == longest  # nothing is missing
        return replace(self, array=self.array[:, :longest], lengths=None if equal else lengths, steps=longest)

    def laid_out(self, layout: str) -> Rows:
        """Return the rows as (N, C, H, W) images, or as (N, T, 1) sequences."""
        return replace(self, array=_arranged(self.array, layout), layout=layout)

    def one(self, place: int) -> np.ndarray:
        """Return the row at a place."""
        return self.array[self.index[place]]

    def take(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at these places."""
        chosen = self.index[places]
        order = np.argsort(chosen, kind="stable")  # a file is read forward
        out = np.empty((len(chosen), *self.array.shape[1:]), self.dtype)
        out[order] = self.array[chosen[order]]
        if self.lengths is not None:
            out[np.arange(out.shape[1]) >= self.lengths[chosen][:, None]] = -1 if out.dtype == np.int64 else np.nan
        return out

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield all rows in order, some at a time."""
        size = max(1, NUMBERS_AT_ONCE // max(1, math.prod(self.shape[1:])))
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(len(self), start + size)))

    def content(self) -> Iterator[Any]:
        """Yield what a key of the content is made of: that of the rows as an array."""
        yield from (chunk.data for chunk in self.chunks())

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of each channel (of a vector: feature), of bytes in [0, 1]; NaN does not count."""
        if self.ndim == 4 and self.dtype == np.uint8:
            counts = np.zeros((self.shape[1], 256))
            for chunk in self.chunks():
                counts += [np.bincount(chunk[:, c].ravel(), minlength=256) for c in range(self.shape[1])]
            shares = counts / counts.sum(1, keepdims=True)
            mean = shares @ LEVELS
            return mean, np.sqrt(np.maximum(shares @ LEVELS**2 - mean**2, 0.0))
        axes = {2: (0,), 3: (0, 1), 4: (0, 2, 3)}[self.ndim]
        middle: Any = None  # far from 0 the digits of squares do not last
        total: Any = 0.0
        squares: Any = 0.0
        count: Any = 0.0
        for chunk in self.chunks():
            x = chunk.astype(np.float64) / (255 if chunk.dtype == np.uint8 else 1)
            known = ~np.isnan(x)
            if middle is None:
                middle = np.where(known, x, 0.0).sum(axes, keepdims=True) / np.maximum(known.sum(axes, keepdims=True), 1)
            x = np.where(known, x - middle, 0.0)
            total, squares, count = total + x.sum(axes), squares + np.square(x).sum(axes), count + known.sum(axes)
        mean = total / np.maximum(count, 1)
        return mean + middle.reshape(mean.shape), np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0.0))


def _arranged(array: np.ndarray, layout: str) -> np.ndarray:
    if layout == "last":
        return np.moveaxis(array, -1, 1)
    return {"grey": lambda: array[:, None], "steps": lambda: array[:, :, None], "": lambda: array}[layout]()


def _opened(file: Path, index: np.ndarray, layout: str, wide: bool, lengths: np.ndarray | None, steps: int | None) -> Rows:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    array = array if steps is None else array[:, :steps]
    return Rows(_arranged(array, layout), index, file, layout, wide, lengths, steps)
