"""Samples and features that are alike where they should differ: nothing can be learned of them, or scores are too good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nasforge.data.arrays import Arrays
from nasforge.data.images import Images
from nasforge.errors import UserError

BYTES_AT_ONCE = 2**24


def notes_of(parts: Mapping[str, Arrays], where: str) -> tuple[str, ...]:
    """Return what is to be said of features that hold one number, and of samples of val and test that other parts have too.

    Raises:
        UserError: all samples of the training part are the same.
    """
    seen = set(_hashes(parts["train"].inputs))
    if len(seen) == 1 and len(parts["train"].y) > 1:
        many = len(parts["train"].y)
        raise UserError(f"{where}: samples must differ, got {many} training samples that are all the same; check how x is made")
    said = [note for name, x in parts["train"].inputs.items() if isinstance(x, np.ndarray) for note in _constant(x, name)]
    for part in ("val", "test"):
        size = len(parts[part].y) if part in parts else 0
        own = list(_hashes(parts[part].inputs)) if size else []
        if known := sum(one in seen for one in own):
            others = "train" if part == "val" else "train or val"
            said.append(f"{known} of {size} samples of {part} are in {others} too: its scores are better than those on new data")
        seen.update(own)
    return tuple(said)


def _constant(x: np.ndarray, name: str) -> tuple[str, ...]:
    """What is to be said of features or channels that hold one number; nothing of tokens."""
    if x.dtype == np.int64:
        return ()
    axes = {2: (0,), 3: (0, 1), 4: (0, 2, 3)}[x.ndim]
    same = int((np.fmin.reduce(x, axes) == np.fmax.reduce(x, axes)).sum())
    of = f" of {name}" if name != "input" else ""
    kind = "channels" if x.ndim == 4 else "features"
    return (f"{same} of {x.shape[1 if x.ndim == 4 else -1]} {kind}{of} hold one number in all of the training part",) if same else ()


def _hashes(inputs: Mapping[str, Any]) -> Iterator[int]:
    """A number for each sample, equal for equal ones in this process."""
    rows = [_rows(inputs[name]) for name in sorted(inputs)]
    return map(hash, rows[0] if len(rows) == 1 else zip(*rows, strict=True))


def _rows(x: Any) -> Iterator[bytes]:
    """The bytes of each sample; of images in files a digest of them."""
    for chunk in (x.digests,) if isinstance(x, Images) else (x,) if isinstance(x, np.ndarray) else x.chunks():
        width = max(1, chunk.nbytes // max(1, len(chunk)))
        step = max(1, BYTES_AT_ONCE // width)
        for start in range(0, len(chunk), step):
            some = np.ascontiguousarray(chunk[start : start + step])
            yield from some.reshape(len(some), -1).view(f"V{width}").ravel().tolist()
