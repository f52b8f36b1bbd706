"""What a block of the table is: a layer, made from the shapes of its inputs, or a combinator, made of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from torch import nn

from nasforge.blocks.core.shapes import Make, Node, Shape


class Layer(nn.Module):
    """A block whose constructor takes a shape, then its arguments in a file.

    An exported file writes `nn.Module` instead and keeps `reads = "all"` alone of what follows, so `run` does not count on it.

    reads: `forward` takes the main input or all inputs, and the constructor of a layer one shape or all.
    free: costs no multiply-adds of its own.
    scope: an output sees what its operations reach (local) or the whole input (global): its receptive field.
    stepwise: treats each step of a sequence on its own, so that steps beyond the end of a padded one disturb nothing.
    unpools_to: where a value stands in the square of zeros, `stride` wide, that takes its place.
    made_with: the input shapes and arguments of a layer that was made from a file.
    """

    reads: ClassVar[Literal["one", "all"]] = "one"
    free: ClassVar[bool] = False
    scope: ClassVar[Literal["local", "global"]] = "local"
    stepwise: ClassVar[bool] = False
    unpools_to: ClassVar[Literal["corner", "anywhere"] | None] = None
    made_with: tuple[tuple[Shape, ...], dict[str, Any]] | None = None

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Callable[[Node], list[Node]]) -> list[Node] | None:
        """Return the blocks that compute the same in canonical form, None for the block as it stands; `canon` is that of a block inside."""
        return None


class Combinator(Layer):
    """A block made of blocks: `build` takes its arguments in a file, the constructor the modules."""

    @classmethod
    def build(cls, make: Make, shapes: tuple[Shape, ...], *args: Any, **kwargs: Any) -> nn.Module:
        """Return the module for inputs of `shapes`, the main one first; `make` gives that of a block inside, and its output shape."""
        raise NotImplementedError
