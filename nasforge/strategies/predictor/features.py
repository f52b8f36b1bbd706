"""Features of an architecture: numbers by name, in groups, from its choices and from the live graph of its canonical form.

Groups, the part of a name before `/`: `choice` (domains), `op` (how many of which operations, how wide, how deep), `path` (what lies
between input and output of a block), `real` (the same without what only passes on), `near` (an operation with its neighbours), `score`
(what zero-cost proxies say, where a search asks for them: `nasforge.strategies.predictor.scores`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasforge.spaces.arch import Node, split
from nasforge.spaces.domains import Domain, Scalar
from nasforge.strategies.predictor.graph import SKIP, START, Graph, graph_of, label

GROUPS = ("choice", "op", "path", "real", "near", "score")
MOST_PATHS = 200  # a block with more is told by its operations and their neighbours alone
Features = dict[str, float]


def choice_features(domain: Domain, value: Scalar) -> Features:
    """One choice: its place between the ends of a range, and which option it is; a domain that was not asked has neither."""
    out: Features = {}
    if domain.kind == "choose":
        out[f"choice/{domain.name}={value}"] = 1.0
    numbers = [o for o in domain.options if isinstance(o, int | float) and not isinstance(o, bool)]
    if domain.kind != "choose" or len(numbers) == len(domain.options) > 2:
        low, high = (min(numbers), max(numbers)) if numbers else (domain.low, domain.high)
        number = float(value or 0)
        if domain.log:
            number, low, high = math.log(number), math.log(low), math.log(high)
        out[f"choice/{domain.name}"] = 1.0 + ((number - low) / (high - low) if high > low else 0.0)
    return out


@dataclass(frozen=True)
class Part:
    """What one block adds to a network: features that are summed over blocks, those of which the largest counts, and its kind."""

    sums: Features
    most: Features
    kind: str


def part(node: Node) -> Part:
    """Return the features of one canonical block."""
    graph = graph_of([node])
    sums: Counter[str] = Counter()
    most: dict[str, float] = {}
    for name, args in _operations(node):
        sums[f"op/{name}"] += 1
        for key, value in args.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                width = math.log2(1 + value)
                sums[f"op/{name}.{key}"] += width  # type: ignore[assignment]
                most[f"op/{name}.{key} most"] = max(most.get(f"op/{name}.{key} most", 0.0), width)
    sums.update({f"op/{kind}": number for kind, number in Counter(graph.labels).items()})
    sums.update(_neighbors(graph))
    if _number_of_paths(graph) <= MOST_PATHS:
        sums.update(_paths(graph))
    name, args, _ = split(node)
    inner = sorted({inner for inner, _ in _operations(node)} - {name})
    return Part(dict(sums), most, f"{label(name, args)}({','.join(inner)})")


def chains(form: Mapping[str, Any]) -> Iterator[Sequence[Node]]:
    """Yield the chains of blocks of a canonical architecture (`nasforge.spaces.arch.canonical`)."""
    for step in form["steps"]:
        yield step["do"]
    for end in form["heads"]:
        yield end[1]


def _operations(node: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, arguments) of a canonical block and of every block inside it."""
    if isinstance(node, list):
        for part in node:
            yield from _operations(part)
    elif isinstance(node, dict):
        for name, args in node.items():
            if isinstance(args, dict) and "from" not in args:  # a gate of a recurrent cell is no block: the graph has it
                yield name, args
                yield from _operations(list(args.values()))


# ---------------------------------------------------------------- the graph of a block


def _number_of_paths(graph: Graph) -> int:
    counts = {START: 1}
    for i, reads in enumerate(graph.reads):
        counts[i] = sum(counts[r] for r in reads)
    return sum(counts[e] for e in graph.ends)


def _paths(graph: Graph) -> Counter[str]:
    """All ways from input to output as words. Source: White et al. 2021 (BANANAS), section 4.1, counted."""
    ways: dict[int, list[tuple[str, ...]]] = {START: [()]}
    for i, reads in enumerate(graph.reads):
        ways[i] = [(*way, graph.labels[i]) for r in reads for way in ways[r]]
    out: Counter[str] = Counter()
    lengths = []
    for way in (way for e in graph.ends for way in ways[e]):
        real = [word for word in way if word != SKIP]
        out[f"path/{'>'.join(way)}"] += 1
        out[f"real/{'>'.join(real)}"] += 1
        out[f"op/long {len(real)}"] += 1
        lengths.append(len(real))
    if len(graph.labels) > 1:
        out["op/paths"] += len(lengths)
        out["op/longest"] += max(lengths)
        out["op/shortest"] += min(lengths)
        out["op/length"] += sum(lengths) / len(lengths)  # type: ignore[assignment]
    return out


def _neighbors(graph: Graph) -> Counter[str]:
    """Each operation with what it reads and what reads it. Source: Shervashidze et al. 2011 (Weisfeiler-Lehman), one round."""
    after: dict[int, list[str]] = defaultdict(list)
    for i, reads in enumerate(graph.reads):
        for r in reads:
            after[r].append(graph.labels[i])
    for e in set(graph.ends):
        after[e].append("out")
    out: Counter[str] = Counter()
    for i, reads in enumerate(graph.reads):
        before = sorted(graph.labels[r] if r >= 0 else "in" for r in reads)
        out[f"near/{graph.labels[i]}<{'|'.join(before)}>{'|'.join(sorted(after[i]))}"] += 1
        out[f"op/{graph.labels[i]} reads {len(reads)}"] += 1
    return out
