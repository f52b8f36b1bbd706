"""The module of a whole architecture: steps with named wires, one or several heads, auxiliary heads."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nasforge.blocks.core.padding import Padded, cleared, run_padded, with_lengths
from nasforge.blocks.core.shapes import run


class Network(nn.Module):
    """Steps in order; each reads the last output or named ones, and may name its own.

    Inputs named in `uneven` are sequences that may end early: NaN, or -1 for tokens, from there on; outputs are zero there.
    In training a network with auxiliary heads gives (main, [auxiliary, ...]); several heads give a dict.
    """

    def __init__(
        self,
        inputs: list[str],
        steps: dict[str, nn.Module],
        reads: list[list[str]],
        writes: list[list[str]],
        heads: dict[str, nn.Module],
        aux: dict[str, nn.Module],
        head_reads: dict[str, list[str]],
        uneven: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.inputs, self.reads, self.writes, self.head_reads = inputs, reads, writes, head_reads
        self.uneven, self.run = uneven, run_padded if uneven else run
        self.steps = nn.ModuleDict(steps)
        self.heads = nn.ModuleDict(heads)
        self.aux = nn.ModuleDict(aux)

    def forward(self, *xs: Tensor) -> Any:
        values: dict[str, Any] = {}
        for name, x in zip(self.inputs, xs, strict=True):
            values[name] = with_lengths(x) if name in self.uneven else x
        values["last"] = values[self.inputs[0]]
        for step, reads, writes in zip(self.steps.values(), self.reads, self.writes, strict=True):
            x, *context = [values[name] for name in reads]
            out = self.run(step, x, tuple(context))
            many = (out,) if isinstance(out, Tensor | Padded) else out
            values.update(zip(writes, many, strict=False))
            values["last"] = many[-1]
        main = ended(values["last"])
        if self.heads:
            read = {name: [values[word] for word in words] for name, words in self.head_reads.items()}
            main = {name: ended(self.run(head, read[name][0], tuple(read[name][1:]))) for name, head in self.heads.items()}
        if self.training and self.aux:
            return main, [ended(self.run(head, values[name], ())) for name, head in self.aux.items()]
        return main


def ended(x: Any) -> Any:
    """Return an output as a tensor, zero beyond the end of sequences."""
    return cleared(x) if isinstance(x, Padded) else x
