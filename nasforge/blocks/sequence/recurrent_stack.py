"""Levels of recurrent layers: torch's fused kernels with parameters of our own, and what stacks and merges them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.sequence.recurrent_steps import BothWays, uniform


class Fused(nn.Module):
    """`layers` levels of one cell in torch's own kernel. Shapes: (B, T, K) -> (B, T, N), both ways (B, T, 2*N).

    Parameters of a level and direction: gates*(K*N + N*N + N), with bias double (torch's nn.LSTM) gates*(K*N + N*N +
    2*N). The parameters are this module's own, not an nn.LSTM's, so that a single bias is possible and export has
    nothing to warn about.
    """

    def __init__(self, kind: str, before: int, hidden: int, layers: int, both: bool, bias: str, dropout: float) -> None:
        super().__init__()
        gates = {"gru": 3, "lstm": 4}.get(kind, 1)
        self.kind, self.hidden, self.layers, self.both, self.dropout = kind, hidden, layers, both, dropout
        self.single = bias == "single"
        self.weights = nn.ParameterList()
        for level in range(layers):
            inputs = before if level == 0 else hidden * (1 + both)
            for _ in range(1 + both):
                shapes = [(gates * hidden, inputs), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,)]
                self.weights.extend(uniform(hidden, *shape) for shape in shapes[: 3 if self.single else 4])
        self.register_buffer("second", torch.zeros(gates * hidden), persistent=False)  # stands in for torch's second bias

    def forward(self, x: Tensor) -> Tensor:
        return self.swept(x, self.flat(), self.layers, self.both)

    def flat(self) -> list[Tensor]:
        """Return the four parameters of each level and direction, as torch's kernels take them."""
        flat = list(self.weights)
        return [w for i in range(0, len(flat), 3) for w in (*flat[i : i + 3], self.second)] if self.single else flat

    def swept(self, x: Tensor, flat: list[Tensor], layers: int, both: bool) -> Tensor:
        """Return the output of so many levels with these parameters."""
        start = x.new_zeros(layers * (1 + both), x.shape[0], self.hidden)
        state = (start, start) if self.kind == "lstm" else start
        kernel = getattr(torch, self.kind)
        return kernel(x, state, flat, True, layers, self.dropout, self.training, both, True)[0]


class Levels(nn.Module):
    """Recurrent levels one above the other, the two directions merged after each; all steps or the last state of each
    direction.

    Shapes: (B, T, K) -> (B, T, N), last (B, N); 2*N where two directions are concatenated.
    """

    def __init__(self, levels: list[nn.Module], hidden: int, both: bool, merge: str, dropout: float, output: str) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)
        self.hidden, self.both, self.merge, self.dropout, self.output = hidden, both, merge, dropout, output

    def forward(self, x: Tensor) -> Tensor:
        for i, level in enumerate(self.levels):
            x = level(self.between(i, x))
        if self.output == "last":  # the backward direction ends at step 0
            x = torch.cat([x[:, -1, : self.hidden], x[:, 0, self.hidden :]], 1) if self.both else x[:, -1]
        return self.merged(x)

    def between(self, i: int, x: Tensor) -> Tensor:
        """Return what level `i` reads of what the one below gave."""
        return F.dropout(self.merged(x), self.dropout, self.training) if i else x

    def merged(self, x: Tensor) -> Tensor:
        """Return the two directions beside each other or added."""
        return x[..., : self.hidden] + x[..., self.hidden :] if self.both and self.merge == "add" else x


def fused_levels(kind: str, before: int, hidden: int, layers: int, both: bool, merge: str, dropout: float, bias: str) -> list[nn.Module]:
    """Return one kernel for all levels, or one for each where directions are added in between."""
    if both and merge == "add" and layers > 1:
        return [Fused(kind, before if i == 0 else hidden, hidden, 1, both, bias, 0.0) for i in range(layers)]
    return [Fused(kind, before, hidden, layers, both, bias, dropout if layers > 1 else 0.0)]


def step_levels(cell: Any, before: int, hidden: int, layers: int, both: bool, merge: str) -> list[nn.Module]:
    """Return levels of cells that run step by step; `cell(inputs)` makes one."""
    later = hidden * (2 if both and merge == "concat" else 1)
    inputs = [before if i == 0 else later for i in range(layers)]
    return [BothWays(cell(n), cell(n)) if both else cell(n) for n in inputs]
