"""The dropout family as layers; stochastic depth is `drop_path` of residual, DropConnect `drop_connect` of conv and linear."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.shapes import Shape


class Dropout(nn.Module):
    """Each value zero with probability p in training, the rest divided by 1 - p. Source: Srivastava et al. 2014.

    `channels`: whole maps instead of values (Tompson et al. 2015).
    """

    free = True

    def __init__(self, shape: Shape, p: float = 0.5, channels: bool = False) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be from 0 to below 1, got {p}")
        self.p, self.channels = p, channels

    @staticmethod
    def simplify(args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [] if args.get("p", 0.5) == 0 else None

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout1d(x, self.p, self.training) if self.channels and x.ndim == 3 else (F.dropout2d if self.channels else F.dropout)(x, self.p, self.training)


LAYERS = {"dropout": Dropout}
COMBINATORS: dict[str, type] = {}
MOTIFS: dict[str, object] = {}
