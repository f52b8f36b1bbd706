"""Architectures as plain data: their blocks, their canonical form and their key.

An architecture is nested dictionaries, lists and scalars without openings. A *block* inside it is one of

    conv                                a name (all defaults)
    conv: {out: 32, kernel: 3}          a name with its arguments
    [conv: {out: 32}, relu]             a chain, in order; [] and null are the empty chain

At the top level of `stem`, `body`, `neck`, `head` a block may also carry `as: NAME` (its output gets a name) and
`from: NAME` or `from: [NAME, ...]` (it reads named outputs; `last` is the output of the line above).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nasforge.errors import UserError

Arch = dict[str, Any]
Node = Any  # a block: str | {name: args} | list of blocks | None

SECTIONS = ("stem", "body", "neck", "head")
WIRES = ("as", "from")
NOT_FUNCTION = (
    "name",
    "source",
    "note",
    "recipe",
    "constraints",
    "search",
    "published",
    "family",
    "task",
)  # parts that do not change what it computes


@dataclass(frozen=True)
class Param:
    """One argument of a block: its type and default (`...` where it must be given)."""

    hint: Any
    default: Any = ...


@dataclass(frozen=True)
class Block:
    """One entry of the block table.

    kind: 'layer' (a module made from an input shape), 'combinator' (a module made from blocks) or 'motif' (a function to data).
    make: the class, or the function of a motif.
    simplify: for combinators and layers with dead forms, arguments -> list of canonical blocks.
    """

    name: str
    kind: str
    make: Callable[..., Any]
    params: Mapping[str, Param] = field(default_factory=dict)
    simplify: Callable[[dict[str, Any], Callable[[Node], list[Node]]], list[Node] | None] | None = None


Blocks = Mapping[str, Block]


def split(node: Node, where: str = "block") -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(name, arguments, wires) of one block that is not a chain."""
    if isinstance(node, str):
        return node, {}, {}
    if not isinstance(node, Mapping):
        raise UserError(f"{where}: a block is a name, {{name: arguments}} or a list of blocks, got {node!r}")
    names = [k for k in node if k not in WIRES]
    if len(names) != 1:
        raise UserError(f"{where}: a block has exactly one name (and optionally `as`, `from`), got the keys {list(node)}")
    args = node[names[0]]
    if args is None:
        args = {}
    if not isinstance(args, Mapping):
        raise UserError(f"{where}.{names[0]}: arguments must be a mapping like {{out: 32}}, got {args!r}")
    return names[0], dict(args), {k: node[k] for k in WIRES if k in node}


def chain(node: Node) -> list[Node]:
    """The blocks of `node` in order; one block is a chain of one."""
    if node is None:
        return []
    return list(node) if isinstance(node, list | tuple) else [node]


def lines(arch: Arch, section: str) -> Iterator[tuple[str, Node]]:
    """(path, block) of each line of a section; a list among them (from an option, say) stands for its own lines."""

    def walk(node: Node, where: str) -> Iterator[tuple[str, Node]]:
        for i, part in enumerate(chain(node)):
            if isinstance(part, list | tuple):
                yield from walk(part, f"{where}.{i}")
            else:
                yield f"{where}.{i}", part

    yield from walk(arch.get(section), section)


def head_lines(node: Node) -> tuple[list[Node], list[str]]:
    """The blocks of a head, and the outputs that it reads: what `from` on its first line names, else the last one."""
    first, *rest = chain(node) or [None]
    if not isinstance(first, Mapping) or "from" not in first:
        return chain(node), ["last"]
    return [{k: v for k, v in first.items() if k != "from"}, *rest], _names(first["from"])


# ---------------------------------------------------------------- canonical form and key


def canonical_blocks(node: Node, blocks: Blocks) -> list[Node]:
    """The chain that `node` computes, with motifs opened, defaults and dead parts dropped."""
    if node is None:
        return []
    if isinstance(node, list | tuple):
        return [block for part in node for block in canonical_blocks(part, blocks)]
    name, args, _ = split(node)
    if name not in blocks:
        return [{name: args}]
    block = blocks[name]
    if block.kind == "motif":
        return canonical_blocks(block.make(**args), blocks)
    kept = {k: plain_value(v) for k, v in args.items() if k not in block.params or not _same(v, block.params[k].default)}
    if block.simplify is not None:
        simpler = block.simplify(kept, lambda inner: canonical_blocks(inner, blocks))
        if simpler is not None:
            return simpler
    return [{name: kept}]


def canonical(arch: Arch, opened: Callable[[Node], list[Node]]) -> dict[str, Any]:
    """The architecture as live steps only: two architectures that compute the same function give equal data.

    `opened` gives the canonical chain of a block: `canonical_blocks` with a block table, or a memo of it.
    """
    steps = []
    for section in SECTIONS:
        for _, node in lines(arch, section):
            wires = split(node)[2] if isinstance(node, Mapping) else {}
            bare = {k: v for k, v in node.items() if k not in WIRES} if isinstance(node, Mapping) else node
            steps.append((opened(bare), _names(wires.get("from")), _names(wires.get("as"))))
    heads = {name: head_lines(node) for name, node in (arch.get("heads") or {}).items()}
    extra = arch.get("aux") or {}
    form = {k: v for k, v in arch.items() if k not in (*NOT_FUNCTION, *SECTIONS, "heads", "aux")}
    read = {name for _, reads in heads.values() for name in reads}
    live, names = _live(steps, {*extra, *read} - {"last"}, not heads or "last" in read)
    aux = sorted(([names.get(name, name), opened(node)] for name, node in extra.items()), key=repr)
    ends = {name: [opened(nodes), [names.get(r, r) for r in reads]] for name, (nodes, reads) in heads.items()}
    return {**form, "steps": live, "heads": ends, "aux": aux}


def key(arch: Arch, opened: Callable[[Node], list[Node]]) -> str:
    """The name of the function that `arch` computes: 16 hexadecimal digits, the hash of its canonical form."""
    return digest(canonical(arch, opened))


def digest(data: Any) -> str:
    """16 hexadecimal digits that name plain data (order of mapping keys does not count)."""
    return hashlib.blake2b(json.dumps(data, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def _live(steps: list[tuple[list[Node], list[str], list[str]]], needed: set[str], last_needed: bool) -> tuple[list[Any], dict[str, str]]:
    """Steps whose output is read, chains without names joined; and for each name of an output its step and place, used instead."""
    kept: list[tuple[list[Node], list[str], list[tuple[str, int]]]] = []
    for nodes, reads, writes in reversed(steps):
        read = [(name, place) for place, name in enumerate(writes) if name in needed]
        if last_needed or read:
            kept.append((nodes, reads, read))
            needed = (needed - set(writes)) | {r for r in reads if r != "last"}
            last_needed = not reads or "last" in reads
    names: dict[str, str] = {}
    out: list[Any] = []
    for i, (nodes, reads, read) in enumerate(reversed(kept)):
        sources = [names.get(r, r) for r in reads]  # a name may be given again later
        names.update({name: f"{i}.{place}" for name, place in read})
        made = [names[name] for name, _ in read]
        if not reads and out and not out[-1]["as"]:
            out[-1]["do"] = out[-1]["do"] + nodes
            out[-1]["as"] = made
        else:
            out.append({"do": nodes, "from": sources, "as": made})
    return out, names


def _names(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def plain_value(value: Any) -> Any:
    """The value with whole numbers as int and tuples as lists: 2.0 and 2 are one value."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [plain_value(v) for v in value] if isinstance(value, list | tuple) else value


def _same(value: Any, default: Any) -> bool:
    return default is not ... and type(value is True) is type(default is True) and plain_value(value) == plain_value(default)
