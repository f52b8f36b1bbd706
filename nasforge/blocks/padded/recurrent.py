"""Recurrent layers over sequences that end early.

What runs forth has not seen the steps beyond the end when it reaches the last one; what runs back starts there, on the sequence turned
round within its length.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.core.padding import Padded, step_at
from nasforge.blocks.sequence.recurrent import Gru, Lstm, Rnn
from nasforge.blocks.sequence.recurrent_cell import RecurrentCell
from nasforge.blocks.sequence.recurrent_stack import Fused, Levels
from nasforge.blocks.sequence.recurrent_steps import BothWays


class PaddedRnn(Rnn):
    """A simple recurrent layer over sequences that end early."""

    padded = True

    def forward(self, x: Padded) -> Any:
        return padded_levels(self.levels, x)


class PaddedGru(Gru):
    """A gated recurrent unit over sequences that end early."""

    padded = True

    def forward(self, x: Padded) -> Any:
        return padded_levels(self.levels, x)


class PaddedLstm(Lstm):
    """A long short-term memory over sequences that end early."""

    padded = True

    def forward(self, x: Padded) -> Any:
        return padded_levels(self.levels, x)


def padded_levels(stack: Levels, x: Padded) -> Any:
    """Return all steps, or the states at the true ends: at the last step forth, at step 0 back."""
    y = x.values
    for i, level in enumerate(stack.levels):
        y = padded_level(level, Padded(stack.between(i, y), x.lengths))
    if stack.output == "sequence":
        return Padded(stack.merged(y), x.lengths)
    last = step_at(y, x.lengths - 1)
    return stack.merged(torch.cat([last[:, : stack.hidden], y[:, 0, stack.hidden :]], 1) if stack.both else last)


def padded_level(level: nn.Module, x: Padded) -> Tensor:
    """Return the output of a level, (B, T, N) or (B, T, 2*N); of a kernel for several levels, of each direction on its own."""
    if isinstance(level, BothWays):
        return torch.cat([level.forth(x.values), turned(x._replace(values=level.back(turned(x))))], 2)
    if not isinstance(level, Fused) or not level.both:
        return level(x.values)
    flat = level.flat()
    for i in range(0, len(flat), 8):  # four parameters forth, four back
        x = x._replace(values=F.dropout(x.values, level.dropout, level.training)) if i else x
        forth = level.swept(x.values, flat[i : i + 4], 1, False)
        back = level.swept(turned(x), flat[i + 4 : i + 8], 1, False)
        x = x._replace(values=torch.cat([forth, turned(x._replace(values=back))], 2))
    return x.values


def turned(x: Padded) -> Tensor:
    """Return each sequence turned round within its length, what stands beyond left there."""
    steps = torch.arange(x.values.shape[1], device=x.lengths.device)
    back = x.lengths[:, None] - 1 - steps  # (B, T)
    return x.values.gather(1, torch.where(back < 0, steps, back)[:, :, None].expand(-1, -1, x.values.shape[2]))


class PaddedRecurrentCell(RecurrentCell):
    """A cell of gates over sequences that end early."""

    padded = True

    def forward(self, x: Padded) -> Any:
        y = torch.stack(self.steps(x.values), 1)
        return step_at(y, x.lengths - 1) if self.output == "last" else Padded(y, x.lengths)
