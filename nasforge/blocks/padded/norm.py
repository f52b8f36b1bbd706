"""Normalisation over the steps that are there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasforge.blocks.core.norm import Norm
from nasforge.blocks.core.padding import Padded, within


def normalized(norm: nn.Module, x: Padded) -> Tensor:
    """Return values (B, T, C), normalised by a module for (B, C, T), or for features where that is layer norm."""
    if isinstance(norm, nn.GroupNorm):
        return grouped(norm, x)
    if not isinstance(norm, nn.BatchNorm1d):
        return norm(x.values)
    if not norm.training:
        return norm(x.values.transpose(1, 2)).transpose(1, 2)
    there = within(x)
    rows = norm(x.values[there])  # (N, C): mean, variance and running statistics are those of N steps
    return torch.zeros_like(x.values, dtype=rows.dtype).masked_scatter(there[:, :, None], rows)


def grouped(norm: nn.GroupNorm, x: Padded) -> Tensor:
    """Return values whose mean and variance are 0 and 1 over the steps and channels of a group. Source: Wu & He 2018, equation 2."""
    values = x.values.to(torch.promote_types(x.values.dtype, torch.float32)).unflatten(2, (norm.num_groups, -1))  # (B, T, G, C/G)
    there = within(x)[:, :, None, None]
    count = x.lengths[:, None, None, None] * values.shape[3]
    centered = values - (values * there).sum((1, 3), keepdim=True) / count
    variance = (centered * there).square().sum((1, 3), keepdim=True) / count
    y = (centered / (variance + norm.eps).sqrt()).flatten(2).to(x.values.dtype)
    return y if norm.weight is None else y * norm.weight + norm.bias


class PaddedNorm(Norm):
    """Normalisation of sequences that end early."""

    padded = True

    def forward(self, x: Padded) -> Padded:
        return x._replace(values=normalized(self.norm, x))
