"""Pooling."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.conv import per_axis
from nasforge.blocks.shapes import Shape, need_rank


class Pool(nn.Module):
    """Pooling of windows, or of everything where no kernel is given.

    Shapes: (C, H, W) -> (C, H', W'), without kernel (C, H, W) -> (C); likewise (T, F) -> (T', F) or (F).
    """

    free = True

    def __init__(
        self,
        shape: Shape,
        kind: Literal["max", "avg", "min"] = "max",
        kernel: int | list[int] | None = None,
        stride: int | list[int] | None = None,
        pad: int | Literal["same", "valid"] = "same",
        ceil: bool = False,
    ) -> None:
        super().__init__()
        need_rank(shape, (2, 3, 4), "pool")
        axes = max(len(shape) - 1, 1)
        self.kind, self.swap, self.ceil, self.axes = kind, len(shape) == 2, ceil, axes
        self.kernel = None if kernel is None else per_axis(kernel, axes, "kernel")
        self.stride = self.kernel if stride is None else per_axis(stride, axes, "stride")
        if self.kernel is not None:
            overlap = "valid" if self.kernel == self.stride else pad  # windows that do not overlap need no padding
            self.padding = [k // 2 if overlap == "same" else 0 if overlap == "valid" else int(overlap) for k in self.kernel]

    def forward(self, x: Tensor) -> Tensor:
        if self.swap:
            x = x.transpose(1, 2)  # (B, T, F) -> (B, F, T)
        if self.kernel is None:
            flat = x.flatten(2)
            return flat.mean(-1) if self.kind == "avg" else flat.amax(-1) if self.kind == "max" else flat.amin(-1)  # (B, C)
        x = self._windows(x)
        return x.transpose(1, 2) if self.swap else x

    def _windows(self, x: Tensor) -> Tensor:
        kernel, stride, pad = tuple(self.kernel or ()), tuple(self.stride or ()), tuple(self.padding)
        if self.kind == "avg":
            average = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[self.axes]
            return average(x, kernel, stride, pad, self.ceil, count_include_pad=False)
        largest = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[self.axes]
        sign = -1 if self.kind == "min" else 1
        return sign * largest(sign * x, kernel, stride, pad, ceil_mode=self.ceil) if sign < 0 else largest(x, kernel, stride, pad, ceil_mode=self.ceil)


LAYERS = {"pool": Pool}
COMBINATORS: dict[str, type] = {}
MOTIFS: dict[str, object] = {}
