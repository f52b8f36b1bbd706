"""Cells: small directed graphs of operations, as in NASNet, DARTS, NAS-Bench-201 and randomly wired networks.

    cell:
      nodes:                                    # node 0 is the input (0, 1 with `inputs: 2`); these are the next ones
        - [{from: 0, op: conv}]
        - [{from: 0, op: zero}, {from: 1, op: {pool: {kind: avg, kernel: 3, stride: 1}}}]
      output: last                              # concat or mean: all nodes that no other reads; or the numbers of nodes to concatenate

A node joins what its edges bring. Edges of `zero`, and nodes that no output depends on, are neither built nor part of the key.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.compose.cell_graph import Output, alive, canonical_order, edges_of, is_identity, merged
from nasforge.blocks.core.shapes import Make, Shape, alike, run

Edges = Annotated[list[Any], "edges"]  # a list of nodes, each a list of {from: node, op: block}
Join = Literal["add", "mean", "max", "concat", "weighted"]
MOST_INPUTS = 8


class Zero(Layer):
    """Zeros of the input's shape: an edge that is not there."""

    free = True
    stepwise = True

    def __init__(self, shape: Shape) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Cell(Combinator):
    """Nodes that join the outputs of their edges; only live nodes are kept.

    sources[i][j] is the node that edge j of live node i reads; outputs are the nodes that are concatenated or averaged.
    join `weighted`: the sum of the edges, each times the sigmoid of a learned weight (Xie et al. 2019, section 3.1).
    `drop_path`: the probability that an edge with an operation is left out for a sample of a training step (Larsson et al. 2017).
    """

    reads = "all"
    free = True

    def __init__(
        self, nodes: list[list[nn.Module]], sources: list[list[int]], outputs: list[int], inputs: int, join: str, axis: int,
        averages: bool = False, dropped: list[list[bool]] | None = None, drop_path: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.nodes = nn.ModuleList(nn.ModuleList(edges) for edges in nodes)
        self.sources, self.outputs, self.inputs, self.join, self.axis = sources, outputs, inputs, join, axis
        self.averages, self.dropped, self.drop_path = averages, dropped, drop_path
        shares = {str(i): torch.zeros(len(edges)) for i, edges in enumerate(nodes) if join == "weighted" and len(edges) > 1}
        self.shares = nn.ParameterDict(shares)  # a single edge needs no weight

    @classmethod
    def build(
        cls,
        make: Make,
        shapes: tuple[Shape, ...],
        nodes: Edges,
        inputs: int = 1,
        output: Literal["last", "concat", "mean"] | list[int] = "last",
        join: Join = "add",
        drop_path: float = 0.0,
    ) -> nn.Module:
        return cls.made(make, shapes, nodes, inputs, output, join, drop_path)[0]

    @classmethod
    def made(
        cls, make: Make, shapes: tuple[Shape, ...], nodes: Edges, inputs: int, output: Output, join: str, drop_path: float
    ) -> tuple[nn.Module, Shape]:
        """Return the module, and the shape that it gives."""
        _check_inputs(inputs)
        if len(shapes) < inputs:
            raise ValueError(f"a cell with inputs: {inputs} reads that many outputs, got {len(shapes)}; write from: [last, NAME]")
        live, outputs = alive(edges_of(nodes, inputs), inputs, output)
        sizes: dict[int, Shape] = dict(enumerate(shapes[:inputs]))
        number = {i: i for i in range(inputs)}
        built: list[list[nn.Module]] = []
        for node, edges in live.items():
            made = [make(op, sizes[s], f"nodes.{node - inputs}.{j}.op") for j, (s, op) in enumerate(edges)]
            sizes[node] = alike(shapes[0], _joined_shape([tuple(shape) for _, shape in made], join, node))
            number[node] = inputs + len(built)
            built.append([m for m, _ in made])
        if not outputs:
            return make("zero", shapes[0], "zero")
        shape = _joined_shape([tuple(sizes[o]) for o in outputs], "mean" if output == "mean" else "concat", "the output")
        sources = [[number[s] for s, _ in edges] for edges in live.values()]
        dropped = [[not is_identity(op) for _, op in edges] for edges in live.values()]
        ends = [number[o] for o in outputs]
        axis = _axis(shapes[0], 1)
        return cls(built, sources, ends, inputs, join, axis, output == "mean", dropped, drop_path), alike(shapes[0], shape)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        inputs, join, output = args.get("inputs", 1), args.get("join", "add"), args.get("output", "last")
        _check_inputs(inputs)
        live, outputs = alive(edges_of(args["nodes"], inputs), inputs, output)
        if not outputs:
            return [{"zero": {}}]
        live, outputs = merged({n: [(s, canon(op)) for s, op in edges] for n, edges in live.items()}, outputs, inputs, join == "weighted")
        if outputs == [0] and not live:
            return []
        if inputs == 1 and len(live) == 1 and outputs == list(live) and len(live[outputs[0]]) == 1 and not args.get("drop_path"):
            return live[outputs[0]][0][1]
        averages = {"output": "mean"} if output == "mean" and len(outputs) > 1 else {}
        rest = {k: v for k, v in args.items() if k not in ("nodes", "output")}
        return [{"cell": {**rest, **averages, "graph": canonical_order(live, outputs, inputs, join != "concat")}}]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        values = [x, *context][: self.inputs]
        for i, sources in enumerate(self.sources):
            edges: Any = self.nodes[i]
            values.append(self._joined(i, [self._kept(i, j, run(edges[j], values[s], ())) for j, s in enumerate(sources)]))
        return self.ended([values[i] for i in self.outputs])

    def ended(self, outs: list[Tensor]) -> Tensor:
        """Return the output nodes averaged or concatenated."""
        if self.averages:
            return torch.stack(outs).mean(0)
        return outs[0] if len(outs) == 1 else torch.cat(outs, self.axis)

    def _kept(self, node: int, edge: int, y: Tensor) -> Tensor:
        """Return the output of an edge; in training, zeros for some samples."""
        if not self.training or self.drop_path == 0 or self.dropped is None or not self.dropped[node][edge]:
            return y
        keep = torch.rand([y.shape[0]] + [1] * (y.ndim - 1), device=y.device) >= self.drop_path
        return y * keep.to(y.dtype) / (1 - self.drop_path)

    def _joined(self, node: int, outs: list[Tensor]) -> Tensor:
        if self.join == "concat":
            return torch.cat(outs, self.axis)
        if self.join == "weighted" and len(outs) > 1:
            shares = self.shares[str(node)].sigmoid()
            outs = [share * out for share, out in zip(shares, outs, strict=True)]
        total = outs[0]
        for out in outs[1:]:
            total = torch.maximum(total, out) if self.join == "max" else total + out
        return total / len(outs) if self.join == "mean" else total


def _check_inputs(inputs: int) -> None:
    if not 1 <= inputs <= MOST_INPUTS:
        raise ValueError(f"a cell has 1 to {MOST_INPUTS} inputs, got {inputs}")


def _joined_shape(shapes: list[Shape], join: str, node: int | str) -> Shape:
    """Return the shape of what some edges bring, joined."""
    if len(set(shapes)) > 1 and join != "concat":
        into = f"node {node}" if isinstance(node, int) else node
        raise ValueError(f"the edges into {into} must end in one shape to be joined by {join}, got {shapes}")
    if join != "concat":
        return shapes[0]
    wide = sum(shape[_axis(shape, 0)] for shape in shapes)
    return (*shapes[0][:-1], wide) if len(shapes[0]) <= 2 else (wide, *shapes[0][1:])


def _axis(shape: Shape, batch: int) -> int:
    """Return the axis of channels, counted with the batch (1) or without (0)."""
    return -1 if len(shape) <= 2 else batch


BLOCKS = {"zero": Zero, "cell": Cell}
