"""Pooling: of windows, of everything, of a pyramid of bins; and its inverses."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.conv import per_axis, uneven_same
from nasforge.blocks.core.shapes import Shape, need_rank

TINY = 1e-12


class Pool(Layer):
    """Pooling of windows, or of everything where no kernel is given.

    Shapes: (C, H, W) -> (C, H', W'), without kernel (C, H, W) -> (C); likewise (T, F) -> (T', F) or (F).
    max, avg, min; mixed: a learned mix of max and avg (Lee et al. 2016, equation 2); lp: (sum of |x|^p)^(1/p) (Sermanet et al. 2012);
    stochastic: one value a drawn with probability a / sum of a, outside training the mean of that draw (Zeiler & Fergus 2013); negative
    values count as 0 there.
    `ceil`: a last window that is not full counts. `pad`: a number, or one an axis, on both sides; same: (k - 1) // 2 where windows overlap,
    none where they do not; tf: as many windows as make H' = ceil(H / stride), the first ones moved over the edge by half of what they lack.
    """

    free = True

    def __init__(
        self,
        shape: Shape,
        kind: Literal["max", "avg", "min", "mixed", "lp", "stochastic"] = "max",
        kernel: int | list[int] | None = None,
        stride: int | list[int] | None = None,
        pad: int | list[int] | Literal["same", "valid", "tf"] = "same",
        ceil: bool = False,
        p: float = 2.0,
    ) -> None:
        super().__init__()
        need_rank(shape, (2, 3, 4), "pool")
        axes = max(len(shape) - 1, 1)
        if p < 1:
            raise ValueError(f"p must be a number >= 1, got {p}")
        self.kind, self.swap, self.ceil, self.axes, self.p = kind, len(shape) == 2, ceil, axes, p
        self.kernel = [] if kernel is None else per_axis(kernel, axes, "kernel")  # empty: everything
        self.stride = self.kernel if stride is None else per_axis(stride, axes, "stride")
        apart = self.kernel == self.stride
        around = [0 if apart or pad == "valid" else (k - 1) // 2 for k in self.kernel]
        self.padding = around if isinstance(pad, str) else [pad] * len(self.kernel) if isinstance(pad, int) else list(pad)
        if len(self.padding) != len(self.kernel) or any(n < 0 for n in self.padding):
            raise ValueError(f"pad must be a number >= 0 or {len(self.kernel)} of them, got {pad!r}")
        if pad == "tf" and kernel is not None:
            size = shape[:1] if self.swap else shape[1:]
            sides = [uneven_same(n, k - 1, s) for n, k, s in zip(size, self.kernel, self.stride, strict=True)]
            if any(a != b and s == 1 for (a, b), s in zip(sides, self.stride, strict=True)):
                raise ValueError(f"pool with pad: tf needs an odd kernel where the stride is 1, got {self.kernel}, stride {self.stride}")
            self.padding, self.ceil = [before for before, _ in sides], True
        self.mix = nn.Parameter(torch.zeros(1)) if kind == "mixed" else None

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2) if self.swap else x  # (B, T, F) -> (B, F, T)
        x = self._reduce(x if self.kernel else x.flatten(2))
        return x.transpose(1, 2) if self.swap and self.kernel else x

    def _reduce(self, x: Tensor) -> Tensor:
        if self.kind == "max":
            return self._largest(x)
        if self.kind == "min":
            return -self._largest(-x)
        if self.kind == "avg":
            return self._average(x)
        if self.kind == "lp":
            return self._sum(x.abs() ** self.p).clamp_min(TINY) ** (1 / self.p)
        if self.mix is not None:
            share = self.mix.sigmoid()
            return share * self._largest(x) + (1 - share) * self._average(x)
        x = x.clamp_min(0)
        return self._draw(x) if self.training else self._average(x * x) / self._average(x).clamp_min(TINY)  # sum of p_i a_i

    def _largest(self, x: Tensor) -> Tensor:
        if not self.kernel:
            return x.amax(-1)
        function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[self.axes]
        return function(x, tuple(self.kernel), tuple(self.stride), tuple(self.padding), ceil_mode=self.ceil)

    def _average(self, x: Tensor) -> Tensor:
        if not self.kernel:
            return x.mean(-1)
        function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[self.axes]
        return function(x, tuple(self.kernel), tuple(self.stride), tuple(self.padding), self.ceil, count_include_pad=False)

    def _sum(self, x: Tensor) -> Tensor:
        if not self.kernel:
            return x.sum(-1)
        function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[self.axes]
        return function(self._padded(x), tuple(self.kernel), tuple(self.stride)) * prod(self.kernel)

    def _draw(self, x: Tensor) -> Tensor:
        """Return one value of each window, drawn with probability proportional to it: the winner of a race of exponential clocks."""
        windows = self._windows(x) if self.kernel else x
        clocks = torch.empty_like(windows).exponential_().clamp_min(TINY)
        return windows.gather(-1, (windows / clocks).argmax(-1, keepdim=True)).squeeze(-1)

    def _windows(self, x: Tensor) -> Tensor:
        """Return the values of each window, zeros outside the map. Shapes: (B, C, H, W) -> (B, C, H', W', kh*kw)."""
        x = self._padded(x)
        cuts = []
        for offsets in product(*map(range, self.kernel)):
            spans = [slice(i, n - k + i + 1, s) for i, n, k, s in zip(offsets, x.shape[2:], self.kernel, self.stride, strict=True)]
            cuts.append(x[(slice(None), slice(None), *spans)])
        return torch.stack(cuts, -1)

    def _padded(self, x: Tensor) -> Tensor:
        """Return the map with zeros around it, so that every window is full."""
        sides: list[int] = []
        for n, k, s, p in zip(x.shape[2:], self.kernel, self.stride, self.padding, strict=True):
            rest = (n + 2 * p - k) % s  # positions that no window covers
            more = s - rest if self.ceil and rest and n + 2 * p - k - rest + s < n + p else 0  # a window may not start outside
            sides = [p, p + more, *sides]
        return F.pad(x, sides)


class SpatialPyramid(Layer):
    """Pooling into n x n bins for each level, of a map of any size. Shapes: (C, H, W) -> (C * sum of n^2): 21 bins for levels 1, 2, 4.

    Source: He et al. 2014 (SPP-net), section 2.2.
    """

    free = True
    scope = "global"

    def __init__(self, shape: Shape, levels: list[int] | None = None, kind: Literal["max", "avg"] = "max") -> None:
        super().__init__()
        need_rank(shape, (3,), "spatial_pyramid")
        self.levels, self.kind = [1, 2, 4] if levels is None else list(levels), kind
        if not self.levels or min(self.levels) < 1:
            raise ValueError(f"levels must be a list of numbers >= 1, got {levels}")

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([cell for n in self.levels for cell in self._bins(x, n)], 1)  # (B, C, H, W) -> (B, C * bins)

    def _bins(self, x: Tensor, n: int) -> list[Tensor]:
        """Return the values of n x n bins; bin i covers the rows floor(i H / n) to ceil((i + 1) H / n), so a bin is never empty."""
        high, wide = x.shape[2], x.shape[3]
        cells = []
        for i, j in product(range(n), range(n)):
            cell = x[:, :, i * high // n : -(-(i + 1) * high // n), j * wide // n : -(-(j + 1) * wide // n)].flatten(2)
            cells.append(cell.amax(-1) if self.kind == "max" else cell.mean(-1))
        return cells


class BedOfNails(Layer):
    """Each value top left in a square of zeros. Shapes: (C, H, W) -> (C, H * stride, W * stride). For repeated values see `upsample`."""

    free = True
    unpools_to = "corner"

    def __init__(self, shape: Shape, stride: int = 2) -> None:
        super().__init__()
        need_rank(shape, (3,), "bed_of_nails")
        self.stride = per_axis(stride, 1, "stride")[0]

    def forward(self, x: Tensor) -> Tensor:
        more = self.stride - 1
        x = F.pad(x[:, :, :, None, :, None], [0, more, 0, 0, 0, more])  # (B, C, H, W) -> (B, C, H, s, W, s)
        return x.flatten(4).flatten(2, 3)  # (B, C, H*s, W*s)


class IndexPool(Layer):
    """Max pooling that also tells where the maxima were. Shapes: (C, H, W) -> (positions (C, H/s, W/s), maxima (C, H/s, W/s)).

    Name the positions with `as: [where, pooled]` and give them to `index_unpool`. Source: Badrinarayanan et al. 2017 (SegNet), section 3.
    """

    free = True

    def __init__(self, shape: Shape, stride: int = 2) -> None:
        super().__init__()
        need_rank(shape, (3,), "index_pool")
        if stride < 1 or shape[1] % stride or shape[2] % stride:
            raise ValueError(f"index_pool needs a height and width divisible by stride={stride}, got {shape[1]} x {shape[2]}")
        self.stride = stride

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, where = F.max_pool2d(x, self.stride, return_indices=True)
        return where, pooled


class IndexUnpool(Layer):
    """Values put back to the places that index_pool recorded, zeros elsewhere. Inputs: (C, H, W) and positions of that shape."""

    free = True
    unpools_to = "anywhere"
    reads = "all"

    def __init__(self, shapes: tuple[Shape, ...], stride: int = 2) -> None:
        super().__init__()
        if len(shapes) != 2 or tuple(shapes[0]) != tuple(shapes[1]) or len(shapes[0]) != 3:
            raise ValueError(f"index_unpool needs a map and positions of one shape (from: [last, where]), got {[tuple(s) for s in shapes]}")
        self.stride = per_axis(stride, 1, "stride")[0]

    def forward(self, x: Tensor, where: Tensor) -> Tensor:
        high, wide = x.shape[2] * self.stride, x.shape[3] * self.stride
        flat = x.new_zeros(x.shape[0], x.shape[1], high * wide).scatter(2, where.flatten(2).long(), x.flatten(2))
        return flat.unflatten(2, (high, wide))  # (B, C, H*s, W*s)


BLOCKS = {"pool": Pool, "spatial_pyramid": SpatialPyramid, "bed_of_nails": BedOfNails, "index_pool": IndexPool, "index_unpool": IndexUnpool}
