"""Recurrent layers of cells that are written as graphs of gates."""

from __future__ import annotations

from functools import reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.gates import Gates, before, canonical_nodes, gates_of, states_of
from nasforge.blocks.shapes import Make, Shape, need_rank
from nasforge.blocks.steps import uniform


class Gate(nn.Module):
    """W x + U_1 h_1 + U_2 h_2 + ... + b, without W where `before` is 0. Shapes: x (B, T, K), each h (B, N)."""

    def __init__(self, before: int, others: int, hidden: int) -> None:
        super().__init__()
        self.read = uniform(hidden, hidden, before) if before else None
        self.recur = uniform(hidden, hidden, others * hidden) if others else None
        self.bias = uniform(hidden, hidden)

    def ahead(self, x: Tensor) -> tuple[Tensor | None, ...]:
        """W x + b of each step, (B, N), all in one product; nothing without W."""
        return (None,) * x.shape[1] if self.read is None else F.linear(x, self.read, self.bias).unbind(1)

    def at(self, ahead: Tensor | None, *others: Tensor) -> Tensor | None:
        """All of it for one step, (B, N)."""
        if self.recur is None:
            return ahead
        return F.linear(torch.cat(others, 1), self.recur) + (self.bias if ahead is None else ahead)


def add(*parts: Tensor) -> Tensor:
    """The sum of all."""
    return reduce(torch.add, parts)


def mul(*parts: Tensor) -> Tensor:
    """The product of all."""
    return reduce(torch.mul, parts)


def blend(share: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`a` where the share is 1, `b` where it is 0."""
    return share * a + (1 - share) * b


FUNCTIONS: dict[str, Any] = {
    "add": add,
    "mul": mul,
    "blend": blend,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky_relu": F.leaky_relu,
}


class RecurrentCell(nn.Module):
    """A cell of named nodes, run over time. Shapes: (T, K) -> (T, N), output last: (N).

    nodes: `{f: {op: linear, from: [x, h_prev_0]}, h_new_0: {op: tanh, from: f}}`, in any order. A node reads x, other nodes, and as
    `h_prev_i` what the node `h_new_i` was a step before (0 at first); h_new_0 is the output. Operations: linear, W x + U h + .. + b;
    blend of z, a, b, z a + (1 - z) b; add, mul, tanh, sigmoid, leaky_relu. Only what the output depends on is built.
    Parameters of a linear node: N*(K, if it reads x, + N for each other input + 1).
    Source: Klyuchnikov et al. 2020 (NAS-Bench-NLP), the operations of its search space.
    """

    sees_all = True

    def __init__(self, before: int, hidden: int, gates: Gates, output: str) -> None:
        super().__init__()
        self.before, self.hidden, self.gates, self.output = before, hidden, gates, output
        self.linear = nn.ModuleList()  # of the linear nodes, in order
        for op, sources in gates.values():
            if op == "linear":
                reads_x = "x" in sources
                self.linear.append(Gate(before if reads_x else 0, len(sources) - reads_x, hidden))

    @classmethod
    def of(
        cls, make: Make, shape: Shape, nodes: dict, hidden: int, output: Literal["sequence", "last"] = "sequence"
    ) -> RecurrentCell:  # fmt: skip
        need_rank(shape, (2,), "recurrent_cell")
        if hidden < 1:
            raise ValueError(f"needs hidden >= 1, got {hidden}")
        gates = gates_of(nodes)
        for name, (op, sources) in gates.items():
            if op != "linear" and "x" in sources and shape[1] != hidden:
                raise ValueError(f"node {name}: {op} reads x, whose {shape[1]} features must be hidden, {hidden}; let linear read x")
        return cls(shape[1], hidden, gates, output)

    @staticmethod
    def simplify(args: dict[str, Any], canon: Any) -> list[Any]:
        return [{"recurrent_cell": {**args, "nodes": canonical_nodes(args["nodes"])}}]

    def forward(self, x: Tensor) -> Tensor:
        names = [name for name, (op, _) in self.gates.items() if op == "linear"]
        linear: dict[str, Any] = dict(zip(names, self.linear, strict=True))
        ahead = {name: gate.ahead(x) for name, gate in linear.items()}
        state = dict.fromkeys(states_of(self.gates), x.new_zeros(x.shape[0], self.hidden))
        outs = []
        for t, now in enumerate(x.unbind(1)):
            values = {"x": now} | {before(name): value for name, value in state.items()}
            for name, (op, sources) in self.gates.items():
                if op == "linear":
                    values[name] = linear[name].at(ahead[name][t], *(values[s] for s in sources if s != "x"))
                else:
                    values[name] = FUNCTIONS[op](*(values[s] for s in sources))
            state = {name: values[name] for name in state}
            outs.append(values["h_new_0"])
        return outs[-1] if self.output == "last" else torch.stack(outs, 1)


LAYERS: dict[str, object] = {}
COMBINATORS = {"recurrent_cell": RecurrentCell}
MOTIFS: dict[str, object] = {}
