"""Combinators that hand lengths on beside the values."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from nasforge.blocks.compose.cell import Cell
from nasforge.blocks.compose.combine import Chain, Dense, Parallel, Residual
from nasforge.blocks.core.padding import Padded, Value, each_step, joined, run_padded, within
from nasforge.blocks.sequence.recurrent import TimeDistributed
from nasforge.blocks.vision.hourglass import Masked
from nasforge.blocks.vision.residual import ResidualUnit


class PaddedChain(Chain):
    """Blocks one after the other."""

    padded = True

    def forward(self, x: Any, *context: Value) -> Any:
        for block in self.blocks:
            x = run_padded(block, x if isinstance(x, Tensor | Padded) else x[-1], context)
        return x


class PaddedParallel(Parallel):
    """Branches that read the same sequences."""

    padded = True

    def forward(self, x: Value, *context: Value) -> Any:
        count = len(self.branches)
        inputs = [each_step(lambda v, i=i: v.chunk(count, self.axis)[i], x) if self.split else x for i in range(count)]
        return joined(self.joined, [run_padded(branch, part, context) for branch, part in zip(self.branches, inputs, strict=True)])


class PaddedResidual(Residual):
    """A body and its shortcut."""

    padded = True

    def forward(self, x: Value, *context: Value) -> Any:
        y = each_step(self.weighed, run_padded(self.body, x, context))
        if self.shortcut is not None:
            y = joined(lambda parts: parts[0] + parts[1], [run_padded(self.shortcut, x, context), y])
        return each_step(self.nonlinear, y)


class PaddedResidualUnit(ResidualUnit):
    """A body and its projection, which may share what stands before."""

    residual, chain = PaddedResidual, PaddedChain


class PaddedMasked(Masked):
    """A trunk and its mask."""

    padded = True

    def forward(self, x: Value, *context: Value) -> Any:
        return joined(lambda parts: (1 + parts[0]) * parts[1], [run_padded(part, x, context) for part in (self.mask, self.trunk)])


class PaddedDense(Dense):
    """Layers that read everything before them."""

    padded = True

    def forward(self, x: Value, *context: Value) -> Any:
        for layer in self.layers:
            x = joined(lambda parts: torch.cat(parts, self.axis), [x, run_padded(layer, x, context)])
        return x


class PaddedCell(Cell):
    """Nodes that join sequences."""

    padded = True

    def forward(self, x: Value, *context: Value) -> Any:
        values: list[Any] = [x, *context][: self.inputs]
        for i, sources in enumerate(self.sources):
            edges: Any = self.nodes[i]
            outs = [run_padded(edges[j], values[s], ()) for j, s in enumerate(sources)]
            kept = [each_step(partial(self._kept, i, j), out) for j, out in enumerate(outs)]
            values.append(joined(partial(self._joined, i), kept))
        return joined(self.ended, [values[i] for i in self.outputs])


class PaddedTimeDistributed(TimeDistributed):
    """One block applied to each step; in training to those that are there alone, for what it may do over a batch."""

    padded = True

    def forward(self, x: Padded) -> Padded:
        if not self.training:
            y = run_padded(self.block, x.values.flatten(0, 1), ())
            return x._replace(values=y.unflatten(0, (-1, self.steps)))
        there = within(x)
        rows = run_padded(self.block, x.values[there], ())  # (N, F)
        empty = rows.new_zeros(*there.shape, rows.shape[1])
        return x._replace(values=empty.masked_scatter(there[:, :, None], rows))
