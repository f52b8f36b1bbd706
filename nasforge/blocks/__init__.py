"""The block table: every layer, combinator and motif by the name it has in a file.

A family module lists in its own BLOCKS what it offers: layers, combinators, and motifs, functions from numbers to data. The arguments
in a file are the keyword arguments of the layer (after `shape`), of the combinator's `build` (after `make, shapes`) or of the function.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, get_type_hints

from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.compose import cell, cell_ops, cell_stack, combine, dense, random_wiring
from nasforge.blocks.core import activation, conv, dropout, linear, norm, pooling
from nasforge.blocks.sequence import attention, recurrent, recurrent_cell, tokens
from nasforge.blocks.vision import (
    active_shift,
    bottleneck_attention,
    decoders,
    gating,
    hourglass,
    hrnet,
    inception,
    mobile,
    poly,
    regnet,
    residual,
)
from nasforge.spaces.arch import Block, Param

FAMILIES: tuple[ModuleType, ...] = (
    activation, attention, cell, cell_ops, cell_stack, combine, conv, dense, dropout, gating, linear, inception,
    mobile, decoders, norm, pooling, random_wiring, recurrent, recurrent_cell, regnet, residual, tokens,
    active_shift, bottleneck_attention, hourglass, poly, hrnet,
)  # fmt: skip


def _params(function: Callable[..., Any], skip: int) -> dict[str, Param]:
    hints = get_type_hints(function, include_extras=True)
    items = list(inspect.signature(function).parameters.items())[skip:]
    return {name: Param(hints.get(name, Any), ... if p.default is p.empty else p.default) for name, p in items}


MOST = 100_000  # of any number that a motif is given


def entries(table: Mapping[str, type[Layer] | FunctionType]) -> Iterator[Block]:
    """Yield what the BLOCKS of a family module add to the table."""
    for name, make in table.items():
        if isinstance(make, FunctionType):
            yield Block(name, "motif", _bounded(make), _params(make, 0))
        elif issubclass(make, Combinator):
            yield Block(name, "combinator", make, _params(make.build, 2), make.canonical)
        else:
            yield Block(name, "layer", make, _params(make.__init__, 2), make.canonical)


def _bounded(motif: Callable[..., Any]) -> Callable[..., Any]:
    """Return the motif, which then refuses numbers of blocks that no memory holds with ValueError."""

    @functools.wraps(motif)
    def opened(**args: Any) -> Any:
        for name, value in args.items():
            if isinstance(value, int | float) and value > MOST:
                raise ValueError(f"{name} must be at most {MOST:,}, got {value:g}")
        return motif(**args)

    return opened


BLOCKS: dict[str, Block] = {block.name: block for family in FAMILIES for block in entries(family.BLOCKS)}
