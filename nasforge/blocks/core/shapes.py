"""Shapes of tensors without the batch, and the helpers that every layer shares.

(F,)          vector            (T, F)        sequence, features last
(C, H, W)     image             (C, T, H, W)  video or volume, channels first
Tokens(T, V)  whole numbers below V

Uneven and UnevenTokens are (T, F) and Tokens(T, V) of which a sample may end before T; they equal the plain ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn


class Tokens(NamedTuple):
    """The shape of a text: `length` whole numbers below `vocab`."""

    length: int
    vocab: int


class Uneven(tuple[int, ...]):
    """The shape (T, F) of sequences that may end early."""


class UnevenTokens(Tokens):
    """The shape of texts that may end early."""


Shape = tuple[int, ...]
Node = Annotated[Any, "block"]  # an argument that is a block
Nodes = Annotated[list[Any], "blocks"]  # an argument that is a list of blocks
Make = Callable[..., tuple[nn.Module, Shape]]  # make(block, shape, name) -> (module, output shape)


def channels(shape: Shape) -> int:
    """Return the number of channels or features of a shape."""
    if isinstance(shape, Tokens):
        raise ValueError(f"needs numbers, got tokens (length {shape.length}, vocabulary {shape.vocab}); put `embedding` before it")
    return shape[-1] if len(shape) <= 2 else shape[0]


def is_uneven(shape: Shape) -> bool:
    """Return whether sequences of this shape may end early."""
    return isinstance(shape, Uneven | UnevenTokens)


def uneven(shape: Shape) -> Shape:
    """Return the shape of sequences that may end early; what is no sequence stays as it is."""
    if isinstance(shape, Tokens):
        return UnevenTokens(*shape)
    return Uneven(shape) if len(shape) == 2 else shape


def alike(shape: Shape, new: Shape) -> Shape:
    """Return `new`, of sequences that may end early where those of `shape` may."""
    return uneven(new) if is_uneven(shape) else new


def example(shape: Shape, batch: int = 1, device: str | torch.device = "cpu") -> Tensor:
    """Return zeros of a shape: float, or long for tokens."""
    if isinstance(shape, Tokens):
        return torch.zeros(batch, shape.length, dtype=torch.long, device=device)
    return torch.zeros(batch, *shape, device=device)


def need_rank(shape: Shape, ranks: tuple[int, ...], what: str) -> None:
    """Raise ValueError unless the shape has one of the ranks (1 vector, 2 sequence, 3 image, 4 video)."""
    names = {1: "a vector (F)", 2: "a sequence (T, F)", 3: "an image (C, H, W)", 4: "a video (C, T, H, W)"}
    if isinstance(shape, Tokens) or len(shape) not in ranks:
        raise ValueError(f"{what} needs {' or '.join(names[r] for r in ranks)}, got {shape if isinstance(shape, Tokens) else tuple(shape)}")


def divisible(value: float, divisor: int) -> int:
    """Return `value` rounded to a multiple of `divisor`, never below 90 % of it. Source: MobileNetV2 reference code's rule."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def run(module: nn.Module, x: Tensor, context: tuple[Tensor, ...]) -> Tensor:
    """Return the output of a module; only one that `reads` all inputs is given the context."""
    return module(x, *context) if getattr(module, "reads", "one") == "all" else module(x)
