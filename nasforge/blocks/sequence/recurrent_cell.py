"""Recurrent layers of cells that are written as graphs of gates."""

from __future__ import annotations

from functools import reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nasforge.blocks.base import Combinator
from nasforge.blocks.core.shapes import Make, Shape, need_rank
from nasforge.blocks.sequence.recurrent_graph import Gates, before, canonical_nodes, gates_of, states_of
from nasforge.blocks.sequence.recurrent_steps import uniform


def add(*parts: Tensor) -> Tensor:
    """Return the sum of all."""
    return reduce(torch.add, parts)


def mul(*parts: Tensor) -> Tensor:
    """Return the product of all."""
    return reduce(torch.mul, parts)


def blend(share: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return `a` where the share is 1, `b` where it is 0."""
    return share * a + (1 - share) * b


FUNCTIONS: dict[str, Any] = {
    "add": add,
    "mul": mul,
    "blend": blend,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": F.leaky_relu,
}


class RecurrentCell(Combinator):
    """A cell of named nodes, run over time. Shapes: (T, K) -> (T, N), output last: (N).

    nodes: `{f: {op: linear, from: [x, h_prev_0]}, h_new_0: {op: tanh, from: f}}`, in any order. A node reads x, other nodes, and as
    `h_prev_i` what the node `h_new_i` was a step before (0 at first); h_new_0 is the output. Operations: linear, W x + U h + .. + b;
    blend of z, a, b, z a + (1 - z) b; add, mul, tanh, sigmoid, leaky_relu. Only what the output depends on is built.
    Parameters of a linear node: N*(K, if it reads x, + N for each other input + 1).
    Source: Klyuchnikov et al. 2020 (NAS-Bench-NLP), the operations of its search space.
    """

    scope = "global"

    def __init__(self, before: int, hidden: int, gates: Gates, output: str) -> None:
        super().__init__()
        self.before, self.hidden, self.gates, self.output = before, hidden, gates, output
        linear = [sources for op, sources in gates.values() if op == "linear"]
        reads, others = (sum((s == "x") is is_x for sources in linear for s in sources) for is_x in (True, False))
        self.read = uniform(hidden, reads, hidden, before) if reads else None  # W of each linear node that reads x
        self.recur = uniform(hidden, others, hidden, hidden) if others else None  # U of each other input, node by node
        self.bias = uniform(hidden, len(linear), hidden) if linear else None  # b of each linear node

    @classmethod
    def build(
        cls, make: Make, shapes: tuple[Shape, ...], nodes: dict, hidden: int, output: Literal["sequence", "last"] = "sequence"
    ) -> RecurrentCell:  # fmt: skip
        shape = shapes[0]
        need_rank(shape, (2,), "recurrent_cell")
        if hidden < 1:
            raise ValueError(f"needs hidden >= 1, got {hidden}")
        gates = gates_of(nodes)
        for name, (op, sources) in gates.items():
            if op != "linear" and "x" in sources and shape[1] != hidden:
                raise ValueError(f"node {name}: {op} reads x, whose {shape[1]} features must be hidden, {hidden}; let linear read x")
        return cls(shape[1], hidden, gates, output)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any]:
        return [{"recurrent_cell": {**args, "nodes": canonical_nodes(args["nodes"])}}]

    def forward(self, x: Tensor) -> Tensor:
        outs = self.steps(x)
        return outs[-1] if self.output == "last" else torch.stack(outs, 1)

    def steps(self, x: Tensor) -> list[Tensor]:
        """Return the output of each step."""
        sums = self.sums(x)
        state = dict.fromkeys(states_of(self.gates), x.new_zeros(x.shape[0], self.hidden))
        outs = []
        for t, now in enumerate(x.unbind(1)):
            values = {"x": now} | {before(name): value for name, value in state.items()}
            for name, (op, sources) in self.gates.items():
                if op == "linear":
                    ahead, weights = sums[name]
                    others = [values[s] for s in sources if s != "x"]
                    values[name] = add(ahead[t], *map(F.linear, others, weights))
                else:
                    values[name] = FUNCTIONS[op](*(values[s] for s in sources))
            state = {name: values[name] for name in state}
            outs.append(values["h_new_0"])
        return outs

    def sums(self, x: Tensor) -> dict[str, tuple[Any, Any]]:
        """Return for each linear node W x + b of each step, all in one product, and its other weights."""
        read, recur, bias = (iter(()) if p is None else iter(p.unbind(0)) for p in (self.read, self.recur, self.bias))
        found: dict[str, tuple[Any, Any]] = {}
        for name, (op, sources) in self.gates.items():
            if op == "linear":
                b, reads_x = next(bias), "x" in sources
                ahead = F.linear(x, next(read), b).unbind(1) if reads_x else (b,) * x.shape[1]
                found[name] = (ahead, [next(recur) for _ in range(len(sources) - reads_x)])
        return found


BLOCKS = {"recurrent_cell": RecurrentCell}
