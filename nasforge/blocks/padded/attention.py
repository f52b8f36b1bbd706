"""Attention that does not see the steps beyond the end of a sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasforge.blocks.core.padding import Padded, Value, each_step, values_of, within
from nasforge.blocks.sequence.attention import Attend, Attention, AttentionPool, CrossAttention

NEVER = float("-inf")  # the score of a step that is not there


class PaddedAttention(Attention):
    """Self-attention of sequences that end early."""

    padded = True

    def forward(self, x: Padded) -> Padded:
        return Padded(self.attended(x.values, self.seen(x)), x.lengths)

    def seen(self, x: Padded) -> Tensor | None:
        """Return the mask: true where the step of a row may read that of a column. What looks back only sees nothing beyond the end."""
        if self.causal:
            return self.mask
        there = within(x)[:, None, None]  # (B, 1, 1, T)
        if self.mask is None:
            return there
        return (there & self.mask) | torch.eye(len(self.mask), dtype=torch.bool, device=there.device)  # no row sees nothing: NaN


class PaddedCrossAttention(CrossAttention):
    """Attention to a memory that ends early."""

    padded = True

    def forward(self, x: Value, memory: Value, *rest: Value) -> Any:
        mask = within(memory)[:, None, None] if isinstance(memory, Padded) else None  # (B, 1, 1, S)
        return each_step(lambda values: self.attended(values, values_of(memory), mask), x)


class PaddedAttend(Attend):
    """Single attention to a memory that ends early."""

    padded = True

    def forward(self, x: Value, *context: Value) -> Any:
        memory = context[0] if context else x
        return each_step(lambda values: self.found(values, memory), x)

    def found(self, x: Tensor, memory: Value) -> Tensor:
        """Return the contexts of the queries."""
        scores = self.scores(x.unsqueeze(1) if x.ndim == 2 else x, values_of(memory))  # (B, T, S)
        if isinstance(memory, Padded):
            scores = scores.masked_fill(~within(memory)[:, None], NEVER)
        return self.answer(x, scores.softmax(2) @ values_of(memory))


class PaddedAttentionPool(AttentionPool):
    """The weighted mean of the steps that are there."""

    padded = True

    def forward(self, x: Padded) -> Tensor:
        scores = self.scores(x.values).masked_fill(~within(x)[:, :, None], NEVER)
        return self.weighted(x.values, scores.softmax(1))
