"""The live graph of a canonical block: one node an operation, an edge where one reads what another gives.

An edge of a cell that passes its input on, and a shortcut, are operations too (`SKIP`), so that a path shows where it skips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasforge.spaces.arch import Node, split

SKIP = "skip"
START = -1  # what the first operations read
SMALL = 9  # numbers up to this one tell kinds of operations apart; larger ones are widths

Ends = list[int]  # the operations whose outputs are read next


@dataclass
class Graph:
    """Labels of operations and the operations that each reads, in an order in which they can be computed; `ends` are the outputs."""

    labels: list[str] = field(default_factory=list)
    reads: list[tuple[int, ...]] = field(default_factory=list)
    ends: Ends = field(default_factory=list)

    def add(self, label: str, sources: Ends) -> Ends:
        """Return the place of one more operation."""
        self.labels.append(label)
        self.reads.append(tuple(sources))
        return [len(self.labels) - 1]


def graph_of(chain: Sequence[Node]) -> Graph:
    """Return the graph of a canonical chain."""
    graph = Graph()
    graph.ends = _chain(graph, chain, [START])
    return graph


def label(name: str, args: Mapping[str, Any]) -> str:
    """Return the kind of an operation: its name, words, switches and small numbers."""
    kinds = [f"{k}={v}" for k, v in sorted(args.items()) if isinstance(v, bool | str) or (isinstance(v, int | float) and abs(v) <= SMALL)]
    return " ".join([name, *kinds])


def _chain(graph: Graph, chain: Any, sources: Ends) -> Ends:
    for node in chain:
        name, args, _ = split(node)
        sources = _block(graph, name, args, sources)
    return sources


def _branch(graph: Graph, chain: Any, sources: Ends) -> Ends:
    return _chain(graph, chain, sources) if chain else graph.add(SKIP, sources)


def _block(graph: Graph, name: str, args: Mapping[str, Any], sources: Ends) -> Ends:
    """The ends of one block. What joins branches is no operation: whatever reads it reads all of them."""
    if name == "cell" and "graph" in args:
        return _cell(graph, args, sources)
    if isinstance(args.get("nodes"), Mapping):
        return _gates(graph, args["nodes"], sources)
    if name == "parallel":
        return [end for branch in args["branches"] for end in _branch(graph, branch, sources)]
    if name == "dense":
        for layer in args["layers"]:
            sources = graph.add(f"dense {'+'.join(split(node)[0] for node in layer)}", sources)
        return sources
    if isinstance(args.get("body"), list):
        ends = _branch(graph, args["body"], sources)
        shortcut = args.get("shortcut", "auto")
        if shortcut == "none":
            return ends
        return ends + (_branch(graph, shortcut, sources) if isinstance(shortcut, list) else graph.add(SKIP, sources))
    return graph.add(label(name, args), sources)


def _cell(graph: Graph, args: Mapping[str, Any], sources: Ends) -> Ends:
    nodes, ends = args["graph"]
    first = args.get("inputs", 1)
    outs: dict[int, Ends] = dict.fromkeys(range(first), sources)
    for i, edges in enumerate(nodes, first):
        outs[i] = [end for source, chain in edges for end in _branch(graph, chain, outs[source])]
    return [end for node in ends for end in outs[node]]


def _gates(graph: Graph, nodes: Mapping[str, Any], sources: Ends) -> Ends:
    """Named nodes, each after what it reads. What a step reads of the one before are operations too: a path shows where it comes in."""
    outs: dict[str, Ends] = {}
    for name, node in nodes.items():
        reads = []
        for source in node["from"]:
            if source not in outs:
                outs[source] = sources if source == "x" else graph.add(source, sources)
            reads += outs[source]
        outs[name] = graph.add(node["op"], reads)
    return [end for name in nodes if name.startswith("h_new_") for end in outs[name]]
