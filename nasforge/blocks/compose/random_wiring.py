"""Randomly wired stages: a random graph from a few numbers and a seed, written out as a cell."""

from __future__ import annotations

import random
from typing import Any, Literal

from nasforge.blocks.core.activation import Act
from nasforge.blocks.core.conv import needed
from nasforge.blocks.core.norm import NormKind

Links = set[tuple[int, int]]  # pairs of nodes, the smaller first
MOST_NODES = 500
MOST_TRIES = 100  # graphs drawn until one is connected


def small_world(nodes: int, neighbors: int, p: float, rng: random.Random) -> Links:
    """Return a ring where each node is linked to `neighbors` around it, each link moved to a random end with probability p.

    Source: Watts & Strogatz 1998; Xie et al. 2019, section 3.3 (WS).
    """
    links = {_link(v, (v + i) % nodes) for i in range(1, neighbors // 2 + 1) for v in range(nodes)}
    for i in range(1, neighbors // 2 + 1):
        for v in range(nodes):
            old = _link(v, (v + i) % nodes)
            free = [w for w in range(nodes) if w != v and _link(v, w) not in links]
            if rng.random() < p and free:
                links = links - {old} | {_link(v, rng.choice(free))}
    return links


def preferential(nodes: int, added: int, rng: random.Random) -> Links:
    """Link each new node, from `added` nodes on, to `added` different ones, drawn by their numbers of links.

    Source: Albert & Barabasi 2002; Xie et al. 2019, section 3.3 (BA).
    """
    links: Links = set()
    ends: list[int] = []  # every node as often as it has links
    targets = list(range(added))
    for v in range(added, nodes):
        links |= {_link(v, w) for w in targets}
        ends += [*targets, *[v] * added]
        drawn: set[int] = set()
        while len(drawn) < added:
            drawn.add(rng.choice(ends))
        targets = sorted(drawn)
    return links


def uniform(nodes: int, p: float, rng: random.Random) -> Links:
    """Link each pair with probability p. Source: Erdos & Renyi 1959; Xie et al. 2019, section 3.3 (ER)."""
    return {(v, w) for v in range(nodes) for w in range(v + 1, nodes) if rng.random() < p}


def _link(v: int, w: int) -> tuple[int, int]:
    return (min(v, w), max(v, w))


def connected(nodes: int, links: Links) -> bool:
    """Return whether every node is reached from node 0."""
    reached, fresh = {0}, [0]
    while fresh:
        v = fresh.pop()
        near = {a + b - v for a, b in links if v in (a, b)} - reached
        reached |= near
        fresh += near
    return len(reached) == nodes


def random_graph(kind: str, nodes: int, k: int, p: float, seed: int) -> Links:
    """Return a connected random graph; the same numbers give the same graph. Raise ValueError where none is found."""
    limits = {"ws": k % 2 == 0 and 2 <= k < nodes, "ba": 1 <= k < nodes, "er": True}[kind]
    if not limits or not 2 <= nodes <= MOST_NODES or not 0 <= p <= 1:
        found = f"nodes={nodes}, k={k}, p={p}"
        raise ValueError(f"a {kind} graph needs 2 to {MOST_NODES} nodes, k below that (even for ws) and p from 0 to 1, got {found}")
    rng = random.Random(seed)
    for _ in range(MOST_TRIES):
        links = small_world(nodes, k, p, rng) if kind == "ws" else preferential(nodes, k, rng) if kind == "ba" else uniform(nodes, p, rng)
        if connected(nodes, links):
            return links
    raise ValueError(f"none of {MOST_TRIES} {kind} graphs with nodes={nodes}, k={k}, p={p} is connected; take a larger k or p")


def randwire(
    out: int | None = None, nodes: int = 32, k: int = 4, p: float = 0.75, seed: int = 0, graph: Literal["ws", "ba", "er"] = "ws",
    stride: int = 2, kernel: int = 3, norm: NormKind = "batch", act: Act = "relu",
) -> list:  # fmt: skip
    """A stage of `nodes` separable convolutions wired by a random graph, from lower to higher numbers.

    A node adds its inputs, each times a learned positive weight; nodes without an input read the stage's and have the stride; the
    output is the mean of the nodes that no other reads.
    ws: small world, k neighbours, p rewired; ba: k links for each new node; er: each pair with probability p.
    Source: Xie et al. 2019, sections 3.1 to 3.3.
    """
    width = needed(out, "randwire")
    conv: dict[str, Any] = {"out": width, "kernel": kernel, "depth": 1, "norm": norm, "act": act}
    before: dict[int, list[int]] = {v: [] for v in range(nodes)}
    for low, high in sorted(random_graph(graph, nodes, k, p, seed)):
        before[high].append(low)
    made: list[Any] = []
    number: dict[int, int] = {}
    for v, sources in before.items():
        if len(sources) > 1:  # a sum, then the operation on it
            made.append([{"from": number[s], "op": "identity"} for s in sources])
        source = 0 if not sources else number[sources[0]] if len(sources) == 1 else len(made)
        made.append([{"from": source, "op": {"sep_conv": conv if sources else {**conv, "stride": stride}}}])
        number[v] = len(made)
    return [{"cell": {"nodes": made, "join": "weighted", "output": "mean"}}]


BLOCKS = {"randwire": randwire}
