"""Layers that count, take, weigh or join the steps of sequences that end early."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasforge.blocks.core.linear import Flatten
from nasforge.blocks.core.padding import Padded, Value, cleared, each_step, joined, step_at
from nasforge.blocks.sequence.tokens import ClassToken, JoinSteps, Take, TiedEmbedding, TiedLinear
from nasforge.blocks.vision.decoders import Add, Concat
from nasforge.blocks.vision.gating import EfficientChannel, SqueezeExcite


class PaddedTiedEmbedding(TiedEmbedding):
    """The vectors, and those of each token."""

    padded = True

    def forward(self, x: Padded) -> tuple[Tensor, Padded]:
        table, words = super().forward(x.values)
        return table, Padded(words, x.lengths)


class PaddedTiedLinear(TiedLinear):
    """Scores of all tokens at each step."""

    padded = True

    def forward(self, x: Value, table: Tensor) -> Any:
        plain = super().forward
        return each_step(lambda values: plain(values, table), x)


class PaddedTake(Take):
    """One step, counted from the true end where the number is negative; of a sequence that has no such step the nearest."""

    padded = True

    def forward(self, x: Padded) -> Tensor:
        index = x.lengths + self.index if self.index < 0 else torch.full_like(x.lengths, self.index)
        return step_at(x.values, index.minimum(x.lengths - 1).clamp_min(0))


class PaddedClassToken(ClassToken):
    """One more token in front of sequences that end early."""

    padded = True

    def forward(self, x: Padded) -> Padded:
        return Padded(super().forward(x.values), x.lengths + 1)


class PaddedJoinSteps(JoinSteps):
    """Neighbouring steps as one; those at the end that do not fill a group are dropped."""

    padded = True

    def forward(self, x: Padded) -> Padded:
        return Padded(super().forward(cleared(x)), (x.lengths // self.count).clamp_min(1))


class PaddedFlatten(Flatten):
    """Everything as one vector, zeros beyond the end."""

    padded = True

    def forward(self, x: Padded) -> Tensor:
        return cleared(x).flatten(1)


class PaddedSqueezeExcite(SqueezeExcite):
    """Factors from the mean over the steps that are there."""

    padded = True

    def forward(self, x: Padded) -> Padded:
        return x._replace(values=x.values * self.factors(mean(x)).unsqueeze(1))


class PaddedEfficientChannel(EfficientChannel):
    """Factors from the mean over the steps that are there."""

    padded = True

    def forward(self, x: Padded) -> Padded:
        return x._replace(values=x.values * self.factors(mean(x)).unsqueeze(1))


def mean(x: Padded) -> Tensor:
    """Return the mean over the steps that are there, (B, F)."""
    return cleared(x).sum(1) / x.lengths[:, None]


class PaddedConcat(Concat):
    """The features of several sequences side by side, as long as the shortest."""

    padded = True

    def forward(self, x: Value, *context: Value) -> Any:
        plain = super().forward
        return joined(lambda parts: plain(*parts), [x, *context])


class PaddedAdd(Add):
    """The sum of several sequences, as long as the shortest."""

    padded = True

    def forward(self, x: Value, *context: Value) -> Any:
        plain = super().forward
        return joined(lambda parts: plain(*parts), [x, *context])
