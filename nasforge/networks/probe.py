"""What is known of a block once it has run on meta, and a module that stands in for it where that is enough."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, Tokens
from nasforge.networks.memory import LivePeak

FLOAT_BYTES = 4


def size_bytes(shape: Shape) -> int:
    """Return the bytes of one sample of a shape (32-bit floats, 64-bit tokens)."""
    if isinstance(shape, Tokens):
        return 8 * shape.length
    return FLOAT_BYTES * prod(shape)


class Given(NamedTuple):
    """One output for one sample: the bytes of its storage, or the number of the input whose storage it shares."""

    shape: Shape
    dtype: torch.dtype
    own_bytes: int
    shares: int | None

    def like(self, xs: tuple[Tensor, ...]) -> Tensor:
        """Return such an output for these inputs."""
        size = (xs[0].shape[0], *self.shape)
        if self.shares is not None:
            held = xs[self.shares]
        elif self.own_bytes == prod(self.shape) * self.dtype.itemsize:
            return xs[0].new_empty(size, dtype=self.dtype)
        else:  # it is a part of what is held, or repeats it
            held = xs[0].new_empty(size[0] * self.own_bytes // self.dtype.itemsize, dtype=self.dtype)[: prod(size)]
        return held.reshape(size) if held.numel() == prod(size) else held.as_strided(size, [0] * len(size))


@dataclass(frozen=True)
class Probe:
    """What a block gives and costs for one sample.

    Output shapes, parameters, multiply-adds; most bytes alive at once, with the inputs, and of what is made inside; how outputs lie;
    how many layers it has.
    """

    shapes: tuple[Shape, ...]
    params: int
    macs: int
    peak_bytes: int
    inner_bytes: int
    given: tuple[Given, ...]
    layers: int = 0

    @classmethod
    def nothing(cls, shapes: tuple[Shape, ...]) -> Probe:
        """Return the probe of no block: the main input is passed on."""
        return cls(shapes[:1], 0, 0, sum(size_bytes(s) for s in shapes), 0, (Given(shapes[0], torch.float32, 0, 0),))

    def then(self, after: Probe) -> Probe:
        """Return the probe of this and then a block that reads its last output (and further inputs that both read)."""
        main = self.given[-1].shares == 0
        held = sum(one.own_bytes for one in self.given)  # by the one who called, until the next block is done
        given = tuple(
            one if one.shares != 0 else one._replace(shares=self.given[-1].shares, own_bytes=0 if main else self.given[-1].own_bytes)
            for one in after.given
        )
        return Probe(
            after.shapes,
            self.params + after.params,
            self.macs + after.macs,
            max(self.peak_bytes, after.peak_bytes),
            max(self.inner_bytes, held + after.inner_bytes),
            given,
            self.layers + after.layers,
        )


class Meter:
    """Counts what runs on meta inside it, and what the stand-ins say."""

    def __init__(self) -> None:
        self.flops, self.live, self.quiet = FlopCounterMode(display=False), LivePeak(), torch.no_grad()
        self.macs = 0

    def __enter__(self) -> None:
        for mode in (self.quiet, self.flops, self.live):
            mode.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for mode in (self.live, self.flops, self.quiet):
            mode.__exit__(kind, error, trace)

    def spend(self, known: Probe, batch: int) -> None:
        """Count a block that is not run."""
        self.macs += batch * known.macs
        self.live.reach(batch * known.inner_bytes)

    def read(self, module: nn.Module, inputs: list[Tensor], out: Any) -> Probe:
        """Return what the module, which gave `out`, is and costs."""
        outs = tuple(out) if isinstance(out, tuple | list) else (out,)
        sources = {x.untyped_storage()._cdata: i for i, x in reversed(list(enumerate(inputs)))}
        given = []
        for one in outs:
            shared = sources.get(one.untyped_storage()._cdata)
            given.append(Given(tuple(one.shape[1:]), one.dtype, one.untyped_storage().nbytes() if shared is None else 0, shared))
        inside = [part.known for part in module.modules() if isinstance(part, StandIn)]
        return Probe(
            tuple(one.shape for one in given),
            sum(p.numel() for p in module.parameters()) + sum(known.params for known in inside),
            self.macs + self.flops.get_total_flops() // 2,
            self.live.peak_bytes + sum(x.nbytes for x in inputs),
            self.live.peak_bytes,
            tuple(given),
            1 + sum(known.layers for known in inside),
        )


class StandIn(Layer):
    """A block of which all is known: gives outputs like its own and puts its costs on the meter, without being run."""

    reads = "all"

    def __init__(self, known: Probe, meter: Meter) -> None:
        super().__init__()
        self.known, self.meter = known, meter

    def forward(self, *xs: Tensor) -> Any:
        self.meter.spend(self.known, xs[0].shape[0])
        outs = tuple(one.like(xs) for one in self.known.given)
        return outs if len(outs) > 1 else outs[0]
