"""Layers and combinators for sequences that end early: which class takes the place of which.

A padded class has the parameters of the plain one, whose name it carries with `Padded` before; its `forward` takes and gives `Padded`
where the plain one takes and gives sequences. A layer that is `stepwise` needs none.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from nasforge.blocks.core.shapes import Shape, Tokens, is_uneven
from nasforge.blocks.padded.attention import PaddedAttend, PaddedAttention, PaddedAttentionPool, PaddedCrossAttention
from nasforge.blocks.padded.compose import (
    PaddedCell,
    PaddedChain,
    PaddedDense,
    PaddedMasked,
    PaddedParallel,
    PaddedResidual,
    PaddedResidualUnit,
    PaddedTimeDistributed,
)
from nasforge.blocks.padded.norm import PaddedNorm
from nasforge.blocks.padded.recurrent import PaddedGru, PaddedLstm, PaddedRecurrentCell, PaddedRnn
from nasforge.blocks.padded.steps import (
    PaddedAdd,
    PaddedClassToken,
    PaddedConcat,
    PaddedEfficientChannel,
    PaddedFlatten,
    PaddedJoinSteps,
    PaddedSqueezeExcite,
    PaddedTake,
    PaddedTiedEmbedding,
    PaddedTiedLinear,
)
from nasforge.blocks.padded.windows import PaddedConv, PaddedDeconv, PaddedPool, PaddedUpsample
from nasforge.blocks.sequence.tokens import PatchMerging, ToImage, Transpose
from nasforge.blocks.vision.window_attention import WindowAttention

PADDED: dict[type[nn.Module], Any] = {
    cls.__bases__[0]: cls
    for cls in (
        PaddedAdd, PaddedAttend, PaddedAttention, PaddedAttentionPool, PaddedCell, PaddedChain, PaddedClassToken, PaddedConcat, PaddedConv,
        PaddedCrossAttention, PaddedDeconv, PaddedDense, PaddedEfficientChannel, PaddedFlatten, PaddedGru, PaddedJoinSteps, PaddedLstm,
        PaddedMasked, PaddedNorm, PaddedParallel, PaddedPool, PaddedRecurrentCell, PaddedResidual, PaddedResidualUnit, PaddedRnn,
        PaddedSqueezeExcite, PaddedTake, PaddedTiedEmbedding, PaddedTiedLinear, PaddedTimeDistributed,
        PaddedUpsample,
    )
}  # fmt: skip
GRID = "its steps are a grid of full rows, which a sequence that ends early does not fill"
MIXED = "makes features of steps, and sequences that end early have unequal numbers of them"
REFUSED: dict[type[nn.Module], str] = {WindowAttention: GRID, PatchMerging: GRID, ToImage: GRID, Transpose: MIXED}
JOIN_INPUTS = (PaddedAdd, PaddedCell, PaddedConcat)  # step by step


def padded(cls: Any, shapes: tuple[Shape, ...]) -> Any:
    """Return the class that takes the place of a layer's for inputs of these shapes: itself where it meets no lengths."""
    met = shapes if cls.reads == "all" else shapes[:1]
    return PADDED.get(cls, cls) if any(map(is_uneven, met)) else cls


def refused(cls: Any, shapes: tuple[Shape, ...], args: dict[str, Any]) -> str | None:
    """Return why a layer or combinator cannot read such inputs, if they are sequences that may end early."""
    met = shapes if cls.reads == "all" else shapes[:1]
    if cls.stepwise or not any(map(is_uneven, met)):
        return None
    other = padded(cls, shapes)
    if other is cls:
        return REFUSED.get(cls, "does not know where a sequence ends")
    joins = shapes[: args.get("inputs", 1)] if other is PaddedCell else shapes
    kinds = {is_uneven(shape) for shape in joins if isinstance(shape, Tokens) or len(shape) == 2}
    if other in JOIN_INPUTS and len(kinds) > 1:
        return "joins sequences that may end early with one that does not, whose steps do not belong together"
    return other.refuses(args) if hasattr(other, "refuses") else None
