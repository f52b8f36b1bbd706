"""Recurrent cells as data: gates by name, the ones that the output needs, and a form that does not depend on names and order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import permutations
from typing import Any

from nasforge.blocks.compose.cell_graph import Graph, canonical_order

READS: dict[str, tuple[int, int | None]] = {  # how many inputs: at least, at most
    "linear": (1, None), "add": (2, None), "mul": (2, None), "blend": (3, 3), "tanh": (1, 1), "sigmoid": (1, 1), "leaky_relu": (1, 1),
}  # fmt: skip
IN_ORDER = ("blend",)  # what its inputs mean depends on their places
NOW, BEFORE = "h_new_", "h_prev_"  # a state, and what it was a step before
MOST_STATES = 5  # the canonical form tries all orders of those behind the first
Gates = dict[str, tuple[str, list[str]]]  # name -> (operation, what it reads), each after those it reads


def gates_of(nodes: Mapping[str, Any]) -> Gates:
    """Return the nodes that `h_new_0` depends on, now or over time. Raise ValueError for what is no cell."""
    if f"{NOW}0" not in nodes:
        raise ValueError(f"needs a node {NOW}0, its output and first state; it has {', '.join(map(str, nodes))}")
    given = {name: _gate(name, node, nodes) for name, node in nodes.items()}
    gates: Gates = {}
    waiting = [f"{NOW}0"]
    while waiting:
        state = waiting.pop()
        if state not in gates:
            _follow(state, given, gates, ())
        waiting += [_now(s) for _, sources in gates.values() for s in sources if s.startswith(BEFORE) and _now(s) not in gates]
    if not any("x" in sources for _, sources in gates.values()):
        raise ValueError(f"no node that {NOW}0 depends on reads x")
    if len(states_of(gates)) > MOST_STATES:
        raise ValueError(f"a cell has up to {MOST_STATES} states, got {', '.join(states_of(gates))}")
    return gates


def states_of(gates: Gates) -> list[str]:
    """Return the states that a step reads, the output first."""
    read = {_now(s) for _, sources in gates.values() for s in sources if s.startswith(BEFORE)}
    return [f"{NOW}0", *sorted(read - {f"{NOW}0"})]


def before(state: str) -> str:
    """Return the name under which a step reads what a state was."""
    return BEFORE + state.removeprefix(NOW)


def _now(source: str) -> str:
    return NOW + source.removeprefix(BEFORE)


def _gate(name: str, node: Any, nodes: Mapping[str, Any]) -> tuple[str, list[str]]:
    where = f"node {name}"
    if name == "x" or not isinstance(name, str) or name.startswith(BEFORE):
        raise ValueError(f"{where}: x and {BEFORE}* are what a step is given; call it otherwise")
    if not isinstance(node, Mapping) or set(node) != {"op", "from"} or not isinstance(node["from"], str | list | tuple):
        raise ValueError(f"{where}: a node is {{op: OPERATION, from: [NAME, ...]}}, got {node!r}")
    op, sources = node["op"], [node["from"]] if isinstance(node["from"], str) else list(node["from"])
    if op not in READS:
        raise ValueError(f"{where}: there is no operation {op!r}; valid: {', '.join(READS)}")
    least, most = READS[op]
    if len(sources) < least or (most and len(sources) > most):
        raise ValueError(f"{where}: {op} reads {least}{'' if most else ' or more'}, got {sources}")
    known = ["x", *nodes, *(before(n) for n in nodes if str(n).startswith(NOW))]
    unknown = [s for s in sources if s not in known]
    if unknown:
        raise ValueError(f"{where}: there is no {unknown[0]!r}; it may read x, {', '.join(nodes)}, and {BEFORE}i where there is {NOW}i")
    if sources.count("x") > 1 and op == "linear":
        raise ValueError(f"{where}: linear reads x once, got {sources}")
    return op, sources


def _follow(name: str, given: Gates, gates: Gates, path: tuple[str, ...]) -> None:
    """Take in a node after all that it reads in the same step."""
    if name in path:
        raise ValueError(f"nodes read each other in one step: {' > '.join([*path[path.index(name) :], name])}; read {BEFORE}i instead")
    if name not in gates and name in given:
        for source in given[name][1]:
            _follow(source, given, gates, (*path, name))
        gates[name] = given[name]


# ---------------------------------------------------------------- canonical form


def canonical_nodes(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nodes of the same function under names and in an order of their own: equal for cells that differ in form only.

    Inputs of add, mul and linear commute; second copies of what has no weights are one; states other than the output have no order.
    """
    gates = _merged(gates_of(nodes))
    first, *rest = states_of(gates)
    return min((_nodes(gates, [first, *order]) for order in permutations(rest)), key=json.dumps)


def _merged(gates: Gates) -> Gates:
    """Return gates without second copies of operations without weights."""
    states = states_of(gates)
    kept: dict[str, str] = {}
    same: dict[str, str] = {}
    for name in sorted(gates, key=lambda n: (n not in states, n)):
        op, sources = gates[name]
        text = json.dumps([op, sources if op in IN_ORDER else sorted(sources)])
        if op != "linear" and kept.setdefault(text, name) != name:
            same[name] = kept[text]
    if not same:
        return gates
    same |= {before(state): before(same[state]) for state in states if state in same}
    rest = {n: {"op": op, "from": [same.get(s, s) for s in sources]} for n, (op, sources) in gates.items() if n not in same}
    return _merged(gates_of(rest))


def _nodes(gates: Gates, states: list[str]) -> dict[str, Any]:
    """Return nodes of gates named by their places, for one order of the states."""
    number = {name: i for i, name in enumerate(["x", *map(before, states), *gates])}
    inputs, use = 1 + len(states), _uses(gates, states)
    graph: Graph = {
        number[name]: [(number[s], [op, place, use[name]]) for place, s in _places(op, sources)] for name, (op, sources) in gates.items()
    }
    edges, ends = canonical_order(graph, [number[s] for s in states], inputs, True)
    name_of = {0: "x"} | {1 + i: f"{BEFORE}{i}" for i in range(len(states))}
    name_of |= {inputs + i: f"n{i}" for i in range(len(edges))} | {end: f"{NOW}{i}" for i, end in enumerate(ends)}
    return {name_of[inputs + i]: _node(node, name_of) for i, node in enumerate(edges)}


def _uses(gates: Gates, states: list[str]) -> dict[str, str]:
    """Return what becomes of each node within a step, as a word: tells gates apart that read the same."""
    uses: dict[str, str] = {}
    for name in reversed(gates):
        readers = sorted([op, place, uses[r]] for r, (op, sources) in gates.items() for place, s in _places(op, sources) if s == name)
        text = json.dumps([states.index(name) if name in states else None, readers])
        uses[name] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return uses


def _places(op: str, sources: list[str]) -> list[tuple[int, str]]:
    """Return each input with its place, where places count."""
    return [(place if op in IN_ORDER else 0, source) for place, source in enumerate(sources)]


def _node(edges: list[Any], name_of: Mapping[int, str]) -> dict[str, Any]:
    in_order = sorted(edges, key=lambda edge: edge[1][1])  # stable: what commutes stays as it was sorted
    return {"op": edges[0][1][0], "from": [name_of[source] for source, _ in in_order]}
