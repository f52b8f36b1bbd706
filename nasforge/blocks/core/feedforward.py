"""Feed-forward networks that work on every position alike, and mixtures of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.activation import Act, activation
from nasforge.blocks.core.shapes import Shape, need_rank


class FeedForward(Layer):
    """act(x W1 + b1) W2 + b2 at every position: two convolutions of kernel size 1. Shapes: (T, F) or (F) -> the same.

    Parameters 2*F*hidden + hidden + F; hidden = expand * F by default. Source: Vaswani et al. 2017, equation 2.
    """

    stepwise = True

    def __init__(self, shape: Shape, hidden: int | None = None, expand: float = 4.0, act: Act = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        need_rank(shape, (1, 2), "ffn")
        inner = max(1, round(shape[-1] * expand)) if hidden is None else hidden
        self.widen = nn.Linear(shape[-1], inner)
        self.act = activation(act)
        self.dropout = dropout
        self.narrow = nn.Linear(inner, shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(F.dropout(self.act(self.widen(x)), self.dropout, self.training))


class Experts(Layer):
    """`count` feed-forward networks, of which each position uses the `top` with the highest gates, weighted by their
    softmax.

    All experts are computed, and counted, so that the graph is fixed; the gates of the others are 0.
    Shapes: (T, F) or (F) -> the same. Source: Shazeer et al. 2017, equations 1 to 5, without noise.
    """

    stepwise = True

    def __init__(
        self,
        shape: Shape,
        count: int = 4,
        top: int = 2,
        hidden: int | None = None,
        expand: float = 4.0,
        act: Act = "relu",
    ) -> None:
        super().__init__()
        need_rank(shape, (1, 2), "experts")
        if not 2 <= top <= count:  # the gate of one expert alone is always 1 and learns nothing
            raise ValueError(f"experts needs top from 2 to count, got top={top}, count={count}")
        inner = max(1, round(shape[-1] * expand)) if hidden is None else hidden
        self.count, self.top = count, top
        self.gate = nn.Linear(shape[-1], count, bias=False)
        self.widen = nn.Linear(shape[-1], count * inner)
        self.act = activation(act)
        self.narrow = nn.Linear(count * inner, shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        gates = self.gate(x)  # (.., count)
        last = torch.topk(gates, self.top, -1)[0][..., -1:]
        gates = gates.masked_fill(gates < last, float("-inf")).softmax(-1)
        parts = self.act(self.widen(x)).unflatten(-1, (self.count, -1))  # (.., count, hidden)
        return self.narrow((parts * gates.unsqueeze(-1)).flatten(-2))
