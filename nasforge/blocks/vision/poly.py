"""Polynomials of an inception block: the block is applied again to its own output, with the same weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, need_rank


class PolyInception(Layer):
    """relu(x + scale (F x + F F x + ...)), `times` terms, F = R P. Shapes: (C, H, W) -> the same.

    P is 1x1 | 1x1, 1xk, kx1, concatenated, with the same weights and other norms at each time; R is a 1x1 convolution of its own at each
    time; a ReLU stands between the times. `single` is the width of the first branch, `triple` has those of the other.
    Source: Zhang et al. 2017 (PolyNet), figure 4 (a) and (b) (poly-3, mpoly-3); which weights are shared as in the released model.
    """

    def __init__(self, shape: Shape, single: int, triple: list[int], kernel: int = 3, times: int = 3, scale: float = 1.0) -> None:
        super().__init__()
        need_rank(shape, (3,), "poly_inception")
        if len(triple) != 3 or kernel % 2 == 0 or times < 1 or min(single, *triple) < 1:
            raise ValueError(
                f"poly_inception needs three widths, an odd kernel and times >= 1, got {triple}, kernel={kernel}, times={times}"
            )
        count, k = shape[0], kernel // 2
        first, second, third = triple
        self.convs = nn.ModuleList([
            nn.Conv2d(count, single, 1, bias=False),
            nn.Conv2d(count, first, 1, bias=False),
            nn.Conv2d(first, second, (1, kernel), padding=(0, k), bias=False),
            nn.Conv2d(second, third, (kernel, 1), padding=(k, 0), bias=False),
        ])  # fmt: skip
        self.norms = nn.ModuleList(nn.ModuleList(nn.BatchNorm2d(width) for width in (single, *triple)) for _ in range(times))
        self.backs = nn.ModuleList(nn.Conv2d(single + third, count, 1, bias=False) for _ in range(times))
        self.back_norms = nn.ModuleList(nn.BatchNorm2d(count) for _ in range(times))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        total = x
        for norms, back, back_norm in zip(self.norms, self.backs, self.back_norms, strict=True):
            x = back_norm(back(self.branches(x, norms)))
            total = total + self.scale * x
            x = x.relu()
        return total.relu()

    def branches(self, x: Tensor, norms: nn.Module) -> Tensor:
        """Return P x with the norms of one time. Shapes: (B, C, H, W) -> (B, single + third, H, W)."""
        alone, *rest = [(conv, norm) for conv, norm in zip(self.convs, norms.children(), strict=True)]
        left = alone[1](alone[0](x)).relu()
        for conv, norm in rest:
            x = norm(conv(x)).relu()
        return torch.cat([left, x], 1)


BLOCKS = {"poly_inception": PolyInception}
