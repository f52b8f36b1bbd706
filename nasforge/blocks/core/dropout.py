"""The dropout family as layers; stochastic depth is `drop_path` of residual, DropConnect `drop_connect` of conv and linear."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, need_rank


def _check(p: float) -> float:
    if not 0 <= p < 1:
        raise ValueError(f"p, the probability to drop, must be from 0 to below 1, got {p}")
    return p


class Dropout(Layer):
    """Each value zero with probability p in training, the rest divided by 1 - p. Source: Srivastava et al. 2014.

    `channels`: whole maps (whole features of a sequence) instead of single values. Source: Tompson et al. 2015.
    """

    free = True
    stepwise = True

    def __init__(self, shape: Shape, p: float = 0.5, channels: bool = False) -> None:
        super().__init__()
        self.p, self.channels = _check(p), channels
        self.swap = len(shape) == 2

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [] if args.get("p", 0.5) == 0 else None

    def forward(self, x: Tensor) -> Tensor:
        if not (self.channels and self.training):
            return F.dropout(x, self.p, self.training)
        maps = [x.shape[0], 1, x.shape[2]] if self.swap else [*x.shape[:2], *[1] * (x.ndim - 2)]
        return x * F.dropout(x.new_ones(maps), self.p)


class DropBlock(Layer):
    """Squares of `size` positions zero in training, each map on its own, so that a share of about p is zero; the rest is scaled up.

    Shapes: (C, H, W) -> the same. Source: Ghiasi et al. 2018, algorithm 1 and equation 1.
    """

    free = True

    def __init__(self, shape: Shape, p: float = 0.1, size: int = 7) -> None:
        super().__init__()
        need_rank(shape, (3,), "drop_block")
        if size < 1:
            raise ValueError(f"size must be a whole number >= 1, got {size}")
        self.p, self.size = _check(p), (min(size, shape[1]), min(size, shape[2]))

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [] if args.get("p", 0.1) == 0 else None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        (high, wide), (tall, broad) = self.size, x.shape[2:]
        places = (tall - high + 1, broad - wide + 1)  # where a whole square fits
        rate = self.p * tall * broad / (high * wide * places[0] * places[1])
        corners = (torch.rand(*x.shape[:2], *places, device=x.device) < rate).to(x.dtype)
        grown = F.pad(corners, [wide - 1, wide - 1, high - 1, high - 1])
        keep = 1 - F.max_pool2d(grown, (high, wide), 1)  # (B, C, H, W)
        return x * keep * (keep.numel() / keep.sum().clamp_min(1.0))


BLOCKS = {"dropout": Dropout, "drop_block": DropBlock}
