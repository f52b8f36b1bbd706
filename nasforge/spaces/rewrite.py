"""The forms in which one and the same network may be written, brought into one, so that `locate` has little to compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasforge.spaces.arch import SECTIONS, WIRES, Arch, Blocks, Node, chain, head_lines, names
from nasforge.spaces.domains import Branch, Const, Each, Fork, Ref, Tree


def written_plainly(arch: Arch) -> Arch:
    """Return the architecture without empty lines and without names of outputs that nothing reads."""
    out = {**arch, **{section: _flat(arch[section]) for section in SECTIONS if section in arch}}
    read = set(out.get("aux") or {}) | {name for node in (out.get("heads") or {}).values() for name in head_lines(node)[1]}
    for section in SECTIONS:
        for node in out.get(section, []):
            read |= set(names(node["from"], section)) if isinstance(node, Mapping) and "from" in node else set()
    for section in SECTIONS:
        for i, node in enumerate(out.get(section, [])):
            if isinstance(node, Mapping) and "as" in node and not read & set(names(node["as"], "as")):
                out[section][i] = {k: v for k, v in node.items() if k != "as"}
    return out


def stages_opened(arch: Arch, blocks: Blocks) -> Arch:
    """Return the architecture with each repeat of its stages as a line of its own."""
    found = {s: [part for node in arch[s] for part in _stage_opened(node, blocks)] for s in SECTIONS if s in arch}
    return {**arch, **found}


def _flat(node: Node) -> list[Node]:
    """The blocks of a chain with the chains in it opened."""
    return [inner for part in node for inner in _flat(part)] if isinstance(node, list | tuple) else chain(node)


def motif_opened(node: Node, blocks: Blocks) -> list[Node] | None:
    """Return what a named block of the literature stands for; None for other blocks, and where it cannot be opened alone."""
    if isinstance(node, list | tuple) and len(node) == 1:
        node = node[0]
    name, args = _single(node)
    if name not in blocks or blocks[name].kind != "motif":
        return None
    try:
        return _flat(blocks[name].make(**args))
    except (ValueError, TypeError, KeyError):
        return None


def _single(node: Node) -> tuple[str, dict[str, Any]]:
    """Name and arguments of one block without wires; an empty name for anything else."""
    if isinstance(node, str):
        return node, {}
    if isinstance(node, Mapping) and len(node) == 1 and not set(node) & set(WIRES):
        ((name, args),) = node.items()
        return str(name), dict(args or {})
    return "", {}


def repeats(wanted: Node, given: Mapping[str, Any], blocks: Blocks) -> tuple[list[Node], dict[str, Any]]:
    """Return the repeats of a stage written in any form, and its other arguments.

    Of blocks in a row, the first one's stride is the stage's. The width stands where the space has it: among the arguments `given`
    of its stage, or in the blocks.
    """
    name, args = _single(wanted)
    if name == "stage":
        same = list(args["blocks"]) if args.get("blocks") is not None else [args.get("block")] * args.get("depth", 1)
        rest = {k: v for k, v in args.items() if k not in ("block", "blocks", "depth", "draw")}
    else:
        same, rest = [part for node in chain(wanted) for part in _stage_opened(node, blocks)], {}
        stride = _single(same[0])[1].get("stride") if same else None
        if stride is not None:
            same, rest = [_without(same[0], "stride"), *same[1:]], {"stride": stride}
    if "out" in rest and "out" not in given:
        return list(blocks["stage"].make(blocks=same, out=rest.pop("out"))), rest
    if "out" in given and "out" not in rest:
        widths = [_single(node)[1].get("out") for node in same]
        if same and widths[0] is not None and all(width == widths[0] for width in widths):
            return [_without(node, "out") for node in same], {**rest, "out": widths[0]}
    return same, rest


def _stage_opened(node: Node, blocks: Blocks) -> list[Node]:
    opened = motif_opened(node, blocks) if _single(node)[0] == "stage" else None
    return [node] if opened is None else opened


def _without(node: Node, argument: str) -> Node:
    name, args = _single(node)
    return {name: {k: v for k, v in args.items() if k != argument}}


def draws(node: Tree, lets: Mapping[str, Tree], seen: set[str]) -> float:
    """At least as many as the ways to draw `node`; a let counts once (`seen` are those counted already)."""
    match node:
        case Ref(name):
            if name in seen or name not in lets:
                return 1
            seen.add(name)
            return draws(lets[name], lets, seen)
        case Fork(domain, options):
            return sum(draws(option, lets, seen) for option in options.values()) if options else domain.size()
        case Branch(parts):
            total = 1.0
            for part in parts.values() if isinstance(parts, Mapping) else parts:
                total *= draws(part, lets, seen)
            return total
        case Each():
            return float("inf")
        case Const():
            return 1
    raise AssertionError(node)
