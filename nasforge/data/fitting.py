"""How images of other sides than a network's are brought to its: what of an image is shown, and where that lies.

Its text leaves with every export as a part of `predict.py`, so it knows Python and NumPy alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Box = tuple[float, float, float, float]  # left, top, right, bottom
Place = tuple[int, int, int, int]


def fitted(image: tuple[int, int], size: tuple[int, int], resize: str) -> tuple[Box, Place]:
    """Return what of an image of (height, width) is shown at a size (height, width), and where in that it lies.

    cover: the middle, as large as can be, fills it; pad: all, as large as can be, in the middle of it; squash: all fills it.
    """
    (rows, columns), (height, width) = image, size
    if resize == "cover":
        ratio = min(columns / width, rows / height)
        left, top = (max(0.0, side - ratio * wanted) / 2 for side, wanted in ((columns, width), (rows, height)))
        return (left, top, columns - left, rows - top), (0, 0, width, height)
    if resize == "squash":
        return (0.0, 0.0, columns, rows), (0, 0, width, height)
    ratio = max(columns / width, rows / height)
    across, down = (max(1, min(wanted, round(side / ratio))) for side, wanted in ((columns, width), (rows, height)))
    x, y = (width - across) // 2, (height - down) // 2
    return (0.0, 0.0, columns, rows), (x, y, x + across, y + down)


def filled(pixels: np.ndarray, place: Place, fill: Any) -> None:
    """Fill (C, H, W) pixels outside a place with a color, in place."""
    left, top, right, bottom = place
    color = np.asarray(fill, pixels.dtype).reshape(-1, 1, 1)
    for outside in (pixels[:, :top], pixels[:, bottom:], pixels[:, :, :left], pixels[:, :, right:]):
        outside[...] = color
