"""Small directed graphs as data: which nodes an output needs, and a form that does not depend on how nodes were numbered."""

from __future__ import annotations

import hashlib
import json
from itertools import permutations, product
from math import factorial, prod
from typing import Any

Graph = dict[int, list[tuple[int, Any]]]  # node -> (source, operation) of its edges
Output = str | list[int]  # last, concat, mean (of the nodes that no other reads), or the numbers of nodes

STATELESS = ("shuffle", "zero_pad", "upsample")  # two copies of such an operation are one
STATELESS_KINDS = {
    "pool": ("max", "avg", "min"),
    "act": ("relu", "relu6", "swish", "sigmoid", "tanh", "elu", "gelu", "hard_swish", "leaky_relu"),
}
MOST_ORDERS = 5040  # ties between alike nodes are settled by trying all orders, up to so many


def edges_of(nodes: list[Any], inputs: int) -> list[list[tuple[int, Any]]]:
    """Return (source, operation) of each edge of each node. Raise ValueError for an edge that reads no earlier node."""
    return [[(_source(edge, i + inputs), edge.get("op")) for edge in node] for i, node in enumerate(nodes)]


def _source(edge: Any, node: int) -> int:
    source = edge.get("from") if isinstance(edge, dict) else None
    if isinstance(source, bool) or not isinstance(source, int) or not 0 <= source < node or set(edge) - {"from", "op"}:
        raise ValueError(f"an edge into node {node} is {{from: a node below {node}, op: a block}}, got {edge!r}")
    return source


def is_zero(op: Any) -> bool:
    """Return whether an operation is `zero`, however it is written."""
    if isinstance(op, list):
        return len(op) == 1 and is_zero(op[0])
    return op == "zero" or (isinstance(op, dict) and set(op) == {"zero"})


def is_identity(op: Any) -> bool:
    """Return whether an operation passes its input on, however it is written."""
    if isinstance(op, list):
        return all(is_identity(part) for part in op)
    return op is None or op == "identity" or (isinstance(op, dict) and set(op) == {"identity"})


def alive(graph: list[list[tuple[int, Any]]], inputs: int, output: Output) -> tuple[Graph, list[int]]:
    """Return the nodes that lie between an input and an output, and the output nodes; no outputs where all is zero."""
    reached = set(range(inputs))
    edges: Graph = {}
    for i, node in enumerate(graph):
        edges[i + inputs] = [(s, op) for s, op in node if s in reached and not is_zero(op)]
        if edges[i + inputs]:
            reached.add(i + inputs)
    outputs = [n for n in _ends(graph, inputs, output) if n in reached]
    needed = set(outputs)
    for number in sorted(edges, reverse=True):
        if number in needed:
            needed |= {s for s, _ in edges[number]}
    return {n: edges[n] for n in sorted(edges) if n in needed}, outputs


def _ends(graph: list[list[tuple[int, Any]]], inputs: int, output: Output) -> list[int]:
    count = inputs + len(graph)
    if isinstance(output, list):
        if not output or len(set(output)) < len(output) or not all(isinstance(n, int) and 0 <= n < count for n in output):
            raise ValueError(f"output must be last, concat, mean or different numbers of nodes from 0 to {count - 1}, got {output}")
        return output
    if output == "last":
        return [count - 1]
    read = {source for node in graph for source, _ in node}
    return [n for n in range(inputs, count) if n not in read]


def merged(graph: Graph, outputs: list[int], inputs: int, weighs: bool = False) -> tuple[Graph, list[int]]:
    """Return the graph without nodes that only pass on: identities, links of a chain, second copies of stateless nodes.

    `weighs`: the nodes have weights of their own, so that no node of several edges is stateless.
    """
    same: dict[int, int] = {}
    out: Graph = {}
    names: dict[str, int] = {}
    for node, edges in graph.items():
        moved = [(same.get(s, s), op) for s, op in edges]
        if len(moved) == 1 and moved[0][1] == []:
            same[node] = moved[0][0]
            continue
        name = json.dumps(sorted((s, json.dumps(op)) for s, op in moved))
        copies = all(_stateless(block) for _, op in moved for block in op) and not (weighs and len(moved) > 1)
        if name in names and copies:
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
    """Return whether a canonical block has neither weights nor chance."""
    ((name, args),) = block.items()
    defaults = {"pool": "max", "act": "relu"}
    return name in STATELESS or (name in STATELESS_KINDS and args.get("kind", defaults[name]) in STATELESS_KINDS[name])


def canonical_order(graph: Graph, outputs: list[int], inputs: int, commutes: bool) -> list[Any]:
    """Return the graph as a list that does not depend on how its nodes were numbered."""
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
