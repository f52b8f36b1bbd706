"""Recurrent cells that torch has no fused kernel for, as loops over the steps.

Shapes: (B, T, K) -> (B, T, N), states from 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def uniform(hidden: int, *shape: int) -> nn.Parameter:
    """Return a parameter drawn from -1/sqrt(hidden) to 1/sqrt(hidden), as torch's recurrent layers draw theirs."""
    bound = 1 / math.sqrt(hidden)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


class GruResetBefore(nn.Module):
    """z, r = sigmoid(W x + U h + b), h = z h + (1 - z) tanh(W x + U (r h) + b).

    Source: Cho et al. 2014, equations 5 to 8.
    """

    def __init__(self, before: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.read, self.bias = uniform(hidden, 3 * hidden, before), uniform(hidden, 3 * hidden)
        self.recur = uniform(hidden, 3 * hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        wide = 2 * self.hidden
        gates, recall = self.recur[:wide], self.recur[wide:]
        h = x.new_zeros(x.shape[0], self.hidden)
        steps = []
        for part in F.linear(x, self.read, self.bias).unbind(1):  # (B, 3N) each
            z, r = (part[:, :wide] + F.linear(h, gates)).sigmoid().chunk(2, 1)
            candidate = torch.tanh(part[:, wide:] + F.linear(r * h, recall))
            h = z * h + (1 - z) * candidate
            steps.append(h)
        return torch.stack(steps, 1)


class LstmSteps(nn.Module):
    """LSTM whose input and forget gates see c_{t-1} and whose output gate sees c_t (peephole), or without forget gate.

    Sources: Gers & Schmidhuber 2000; Hochreiter & Schmidhuber 1997.
    """

    def __init__(self, before: int, hidden: int, forget: bool, peephole: bool) -> None:
        super().__init__()
        gates = 4 if forget else 3
        self.hidden, self.forget = hidden, forget
        self.read, self.bias = uniform(hidden, gates * hidden, before), uniform(hidden, gates * hidden)
        self.recur = uniform(hidden, gates * hidden, hidden)
        self.peep = uniform(hidden, 3, hidden) if peephole else None

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], self.hidden)
        steps = []
        for part in F.linear(x, self.read, self.bias).unbind(1):
            parts = (part + F.linear(h, self.recur)).chunk(4 if self.forget else 3, 1)
            h, c = lstm_step(parts, c, self.peep)
            steps.append(h)
        return torch.stack(steps, 1)


def lstm_step(parts: tuple[Tensor, ...], c: Tensor, peep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return (h, c) from the sums of input, forget (absent: 1), candidate and output gate.

    `peep`: weights on c of input, forget, output.
    """
    see = [0.0, 0.0, 0.0] if peep is None else list(peep.unbind(0))
    forget = (parts[1] + see[1] * c).sigmoid() if len(parts) == 4 else 1.0
    c = forget * c + (parts[0] + see[0] * c).sigmoid() * torch.tanh(parts[-2])
    return (parts[-1] + see[2] * c).sigmoid() * torch.tanh(c), c


class BothWays(nn.Module):
    """Two cells, one from the first step on, one from the last step back. Shapes: (B, T, K) -> (B, T, 2*N)."""

    def __init__(self, forth: nn.Module, back: nn.Module) -> None:
        super().__init__()
        self.forth, self.back = forth, back

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.forth(x), self.back(x.flip(1)).flip(1)], 2)
