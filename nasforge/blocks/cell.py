"""Cells: small directed graphs of operations, as in NASNet, DARTS, NAS-Bench-201 and randomly wired networks.

    cell:
      nodes:                                    # node 0 is the input (0, 1 with `inputs: 2`); these are the next ones
        - [{from: 0, op: conv}]
        - [{from: 0, op: zero}, {from: 1, op: {pool: {kind: avg, kernel: 3, stride: 1}}}]
      output: last                              # or concat: all nodes that no other reads

A node joins what its edges bring. Edges of `zero`, and nodes that no output depends on, are neither built nor part of the key.
"""

from __future__ import annotations

import hashlib
import json
from itertools import permutations, product
from math import factorial, prod
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from nasforge.blocks.shapes import Make, Shape, run

Edges = Annotated[list[Any], "edges"]  # a list of nodes, each a list of {from: node, op: block}
STATELESS = ("shuffle", "zero_pad", "upsample")  # two copies of such an operation are one
STATELESS_KINDS = {
    "pool": ("max", "avg", "min"),
    "act": ("relu", "relu6", "swish", "sigmoid", "tanh", "elu", "gelu", "hard_swish", "leaky_relu"),
}
MOST_INPUTS = 8
MOST_ORDERS = 5040  # ties between alike nodes are settled by trying all orders, up to so many


class Zero(nn.Module):
    """Zeros of the input's shape: an edge that is not there."""

    free = True

    def __init__(self, shape: Shape) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class Cell(nn.Module):
    """Nodes that join the outputs of their edges; only live nodes are kept.

    sources[i][j] is the node that edge j of live node i reads; outputs are the nodes that are concatenated (or the last one).
    """

    many = True
    free = True
    reads_all = True

    def __init__(
        self, nodes: list[list[nn.Module]], sources: list[list[int]], outputs: list[int], inputs: int, join: str, axis: int
    ) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(nn.ModuleList(edges) for edges in nodes)
        self.sources, self.outputs, self.inputs, self.join, self.axis = sources, outputs, inputs, join, axis

    @classmethod
    def of(
        cls,
        make: Make,
        shapes: tuple[Shape, ...],
        nodes: Edges,
        inputs: int = 1,
        output: Literal["last", "concat"] = "last",
        join: Literal["add", "mean", "max", "concat"] = "add",
    ) -> nn.Module:
        if not 1 <= inputs <= MOST_INPUTS:
            raise ValueError(f"a cell has 1 to {MOST_INPUTS} inputs, got {inputs}")
        if len(shapes) < inputs:
            raise ValueError(f"a cell with inputs: {inputs} reads that many outputs, got {len(shapes)}; write from: [last, NAME]")
        graph = [[(_source(e, i + inputs), e.get("op")) for e in node] for i, node in enumerate(nodes)]
        live, outputs = _live(graph, inputs, output)
        sizes: dict[int, Shape] = dict(enumerate(shapes[:inputs]))
        number = {i: i for i in range(inputs)}
        built: list[list[nn.Module]] = []
        sources: list[list[int]] = []
        for node, edges in live.items():
            made = [(s, *make(op, sizes[s], f"nodes.{node - inputs}.{j}.op")) for j, (s, op) in enumerate(edges)]
            if len({tuple(shape) for _, _, shape in made}) > 1 and join != "concat":
                raise ValueError(
                    f"the edges into node {node} must end in one shape to be joined by {join}, got {[tuple(s) for *_, s in made]}"
                )
            first = made[0][2]
            wide = sum(s[_axis(first, 0)] for *_, s in made)
            sizes[node] = first if join != "concat" else (*first[:-1], wide) if len(first) <= 2 else (wide, *first[1:])
            number[node] = inputs + len(built)
            built.append([m for _, m, _ in made])
            sources.append([number[s] for s, _, _ in made])
        if not outputs:
            return make("zero", shapes[0], "zero")[0]
        return cls(built, sources, [number[o] for o in outputs], inputs, join, _axis(shapes[0], 1))

    @staticmethod
    def simplify(args: dict[str, Any], canon: Any) -> list[Any] | None:
        inputs = args.get("inputs", 1)
        if not 1 <= inputs <= MOST_INPUTS:
            raise ValueError(f"a cell has 1 to {MOST_INPUTS} inputs, got {inputs}")
        graph = [[(_source(e, i + inputs), e.get("op")) for e in node] for i, node in enumerate(args["nodes"])]
        live, outputs = _live(graph, inputs, args.get("output", "last"))
        if not outputs:
            return [{"zero": {}}]
        live, outputs = _merge({n: [(s, canon(op)) for s, op in edges] for n, edges in live.items()}, outputs, inputs)
        if outputs == [0] and not live:
            return []
        if inputs == 1 and len(live) == 1 and outputs == list(live) and len(live[outputs[0]]) == 1:
            return live[outputs[0]][0][1]
        rest = {k: v for k, v in args.items() if k not in ("nodes", "output")}
        return [{"cell": {**rest, "graph": _canonical_order(live, outputs, inputs, args.get("join", "add") != "concat")}}]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        values = [x, *context][: self.inputs]
        for edges, sources in zip(self.nodes, self.sources, strict=True):
            values.append(self._joined([run(op, values[s], ()) for op, s in zip(edges, sources, strict=True)]))  # type: ignore[call-overload]
        outs = [values[i] for i in self.outputs]
        return outs[0] if len(outs) == 1 else torch.cat(outs, self.axis)

    def _joined(self, outs: list[Tensor]) -> Tensor:
        if self.join == "concat":
            return torch.cat(outs, self.axis)
        total = outs[0]
        for out in outs[1:]:
            total = torch.maximum(total, out) if self.join == "max" else total + out
        return total / len(outs) if self.join == "mean" else total


def _axis(shape: Shape, batch: int) -> int:
    """The axis of channels, counted with the batch (1) or without (0)."""
    return -1 if len(shape) <= 2 else batch


def _source(edge: Any, node: int) -> int:
    source = edge.get("from") if isinstance(edge, dict) else None
    if isinstance(source, bool) or not isinstance(source, int) or not 0 <= source < node or set(edge) - {"from", "op"}:
        raise ValueError(f"an edge into node {node} is {{from: a node below {node}, op: a block}}, got {edge!r}")
    return source


Graph = dict[int, list[tuple[int, Any]]]  # node -> (source, operation) of its edges


def _is_zero(op: Any) -> bool:
    """Whether an operation is `zero`, however it is written."""
    if isinstance(op, list):
        return len(op) == 1 and _is_zero(op[0])
    return op == "zero" or (isinstance(op, dict) and set(op) == {"zero"})


def _live(graph: list[list[tuple[int, Any]]], inputs: int, output: str) -> tuple[Graph, list[int]]:
    """The nodes that lie between an input and an output, and the output nodes; no outputs where all is zero."""
    alive = set(range(inputs))
    edges: Graph = {}
    for i, node in enumerate(graph):
        edges[i + inputs] = [(s, op) for s, op in node if s in alive and not _is_zero(op)]
        if edges[i + inputs]:
            alive.add(i + inputs)
    read = {s for node in graph for s, _ in node}
    last = inputs + len(graph) - 1
    ends = [last] if output == "last" else [n for n in edges if n not in read]
    outputs = [n for n in ends if n in alive]
    needed = set(outputs)
    for number in sorted(edges, reverse=True):
        if number in needed:
            needed |= {s for s, _ in edges[number]}
    return {n: edges[n] for n in sorted(edges) if n in needed}, outputs


def _merge(graph: Graph, outputs: list[int], inputs: int) -> tuple[Graph, list[int]]:
    """The graph without nodes that only pass on: identities, links of a chain, second copies of stateless nodes."""
    same: dict[int, int] = {}
    out: Graph = {}
    names: dict[str, int] = {}
    for node, edges in graph.items():
        moved = [(same.get(s, s), op) for s, op in edges]
        if len(moved) == 1 and moved[0][1] == []:
            same[node] = moved[0][0]
            continue
        name = json.dumps(sorted((s, json.dumps(op)) for s, op in moved))
        if name in names and all(_stateless(block) for _, op in moved for block in op):
            same[node] = names[name]
            continue
        names[name] = node
        out[node] = moved
    outputs = [same.get(o, o) for o in outputs]
    while True:
        reads = [s for edges in out.values() for s, _ in edges]
        link = next((n for n, e in out.items() if len(e) == 1 and reads.count(n) == 1 and n not in outputs and n >= inputs), None)
        if link is None:
            return out, outputs
        ((source, before),) = out.pop(link)
        out = {n: [(source, before + op) if s == link else (s, op) for s, op in edges] for n, edges in out.items()}


def _stateless(block: dict[str, Any]) -> bool:
    """Whether a canonical block has neither weights nor chance."""
    ((name, args),) = block.items()
    defaults = {"pool": "max", "act": "relu"}
    return name in STATELESS or (name in STATELESS_KINDS and args.get("kind", defaults[name]) in STATELESS_KINDS[name])


def _canonical_order(graph: Graph, outputs: list[int], inputs: int, commutes: bool) -> list[Any]:
    """The graph as a list that does not depend on how its nodes were numbered."""
    names = {i: f"in{i}" for i in range(inputs)}
    depth = dict.fromkeys(range(inputs), 0)
    for node, edges in sorted(graph.items()):
        text = [(json.dumps(op), names[s]) for s, op in edges]
        names[node] = hashlib.blake2b(json.dumps(sorted(text) if commutes else text).encode(), digest_size=8).hexdigest()
        depth[node] = 1 + max(depth[s] for s, _ in edges)
    groups: dict[tuple[int, str], list[int]] = {}
    for node in graph:
        groups.setdefault((depth[node], names[node]), []).append(node)
    ordered = [groups[k] for k in sorted(groups)]
    orders: Any = [ordered]
    if prod(factorial(len(group)) for group in ordered) <= MOST_ORDERS:
        orders = product(*(permutations(group) for group in ordered))
    return min((_numbered(graph, [n for group in order for n in group], outputs, inputs, commutes) for order in orders), key=json.dumps)


def _numbered(graph: Graph, order: list[int], outputs: list[int], inputs: int, commutes: bool) -> list[Any]:
    number = {**{i: i for i in range(inputs)}, **{n: inputs + i for i, n in enumerate(order)}}
    edges = [[[number[s], op] for s, op in graph[n]] for n in order]
    ends = [number[o] for o in outputs]  # concatenated in order
    return [[sorted(node, key=json.dumps) for node in edges] if commutes else edges, ends]


LAYERS = {"zero": Zero}
COMBINATORS = {"cell": Cell}
MOTIFS: dict[str, object] = {}
