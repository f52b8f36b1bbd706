"""Sequences of unequal length in one batch: their values padded to one length, and how long each is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nasforge.blocks.core.shapes import run


class Padded(NamedTuple):
    """Sequences of unequal length: values (B, T, F) or (B, T), and lengths (B,) from 1 on.

    A value beyond the end of its sequence is finite and means nothing.
    """

    values: Tensor
    lengths: Tensor


Value = Tensor | Padded


def with_lengths(x: Tensor) -> Padded:
    """Return sequences that are padded at the end with NaN, or with -1 where they are tokens: (B, T, F) or (B, T).

    The missing values become 0; a sequence of missing steps only counts as one step of zeros.
    """
    there = ~x.isnan().all(2) if x.is_floating_point() else x >= 0  # (B, T)
    lengths = (there * torch.arange(1, x.shape[1] + 1, device=x.device)).amax(1)
    return Padded(cleared(Padded(x, lengths)), lengths.clamp_min(1))


def within(x: Padded) -> Tensor:
    """Return (B, T), true up to the end of each sequence."""
    return torch.arange(x.values.shape[1], device=x.lengths.device) < x.lengths[:, None]


def cleared(x: Padded, value: float = 0.0) -> Tensor:
    """Return the values with `value` beyond the end of each sequence."""
    beyond = ~within(x)
    return x.values.masked_fill(beyond if x.values.ndim == 2 else beyond[:, :, None], value)


def values_of(x: Value) -> Tensor:
    """Return the values of sequences, or the tensor that has no lengths."""
    return x.values if isinstance(x, Padded) else x


def each_step(function: Callable[[Tensor], Tensor], x: Any) -> Any:
    """Return what a function that treats each step on its own gives; the lengths stay."""
    return x._replace(values=function(x.values)) if isinstance(x, Padded) else function(x)


def joined(join: Callable[[list[Tensor]], Tensor], parts: Sequence[Value]) -> Any:
    """Return values joined step by step, as long as the shortest part."""
    lengths = [part.lengths for part in parts if isinstance(part, Padded)]
    y = join([values_of(part) for part in parts])
    return Padded(y, reduce(_shorter, lengths)) if lengths else y


def _shorter(a: Tensor, b: Tensor) -> Tensor:
    return a if a is b else torch.minimum(a, b)


def step_at(values: Tensor, index: Tensor) -> Tensor:
    """Return one step of each sequence: (B, T, F), (B,) -> (B, F)."""
    return values.gather(1, index[:, None, None].expand(-1, 1, values.shape[2])).squeeze(1)


def run_padded(module: nn.Module, x: Any, context: tuple[Any, ...]) -> Any:
    """Return the output of a module among sequences of unequal length; only one that is `padded` is given lengths."""
    if getattr(module, "padded", False) or not isinstance(x, Padded):
        return run(module, x, context)
    return each_step(module, x)
