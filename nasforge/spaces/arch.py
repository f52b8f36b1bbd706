"""Architectures as plain data: their blocks, their canonical form and their key.

An architecture is nested dictionaries, lists and scalars without domains. A *block* inside it is one of

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
MOST_BLOCKS = 100_000  # of a network, when what names and depths stand for is written out
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
    canonical: for layers and combinators, arguments -> list of canonical blocks; None for the block as it stands.
    """

    name: str
    kind: str
    make: Callable[..., Any]
    params: Mapping[str, Param] = field(default_factory=dict)
    canonical: Callable[[dict[str, Any], Callable[[Node], list[Node]]], list[Node] | None] | None = None


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
    """Return the blocks of `node` in order; one block is a chain of one."""
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


def head_lines(node: Node) -> tuple[list[Node], tuple[str, ...]]:
    """Return the blocks of a head, and the outputs that it reads: what `from` on its first line names, else the last one."""
    first, *rest = chain(node) or [None]
    if not isinstance(first, Mapping) or "from" not in first:
        return chain(node), ("last",)
    return [{k: v for k, v in first.items() if k != "from"}, *rest], names(first["from"], "heads: from")


# ---------------------------------------------------------------- canonical form and key


def canonical_blocks(node: Node, blocks: Blocks, counted: Iterator[int] | None = None) -> list[Node]:
    """Return the chain that `node` computes, with motifs opened, defaults and dead parts dropped. Raise UserError above MOST_BLOCKS."""
    counted = counted or iter(range(MOST_BLOCKS))
    if node is None:
        return []
    if isinstance(node, list | tuple):
        return [block for part in node for block in canonical_blocks(part, blocks, counted)]
    if next(counted, None) is None:
        raise UserError(f"a network must have at most {MOST_BLOCKS:,} blocks, got more; lower the depth of a stage")
    name, args, _ = split(node)
    if name not in blocks:
        return [{name: args}]
    block = blocks[name]
    if block.kind == "motif":
        return canonical_blocks(block.make(**{k: plain_value(v) for k, v in args.items()}), blocks, counted)
    kept = {k: plain_value(v) for k, v in args.items() if k not in block.params or not _same(v, block.params[k].default)}
    if block.canonical is not None:
        simpler = block.canonical(kept, lambda inner: canonical_blocks(inner, blocks, counted))
        if simpler is not None:
            return simpler
    return [{name: kept}]


@dataclass(frozen=True)
class Line:
    """One line of an architecture: its path, its block, the outputs it reads (none: the last one), and the names it gives."""

    where: str
    node: Node
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def live_lines(arch: Arch) -> list[Line]:
    """Return the lines of stem, body, neck and head that an output depends on, in order."""
    found = []
    for section in SECTIONS:
        for where, node in lines(arch, section):
            wires = split(node, where)[2] if isinstance(node, Mapping) else {}
            bare = {k: v for k, v in node.items() if k not in WIRES} if isinstance(node, Mapping) else node
            reads = names(wires.get("from"), f"{where}.from")
            found.append(Line(where, bare, () if reads == ("last",) else reads, names(wires.get("as"), f"{where}.as")))
    heads = [head_lines(node)[1] for node in (arch.get("heads") or {}).values()]
    needed = {name for reads in heads for name in reads} | set(arch.get("aux") or {}) | (set() if heads else {"last"})
    kept = []
    for line in reversed(found):
        if "last" in needed or needed & set(line.writes):
            kept.append(line)
            needed = (needed - {"last", *line.writes}) | set(line.reads or ("last",))
    return kept[::-1]


def canonical(arch: Arch, opened: Callable[[Node], list[Node]]) -> dict[str, Any]:
    """Return the architecture as live steps only: two architectures that compute the same function give equal data.

    `opened` gives the canonical chain of a block: `canonical_blocks` with a block table, or a memo of it.
    """
    heads = {name: head_lines(node) for name, node in (arch.get("heads") or {}).items()}
    extra = arch.get("aux") or {}
    other = (*NOT_FUNCTION, *SECTIONS, "heads", "aux")
    form = {k: plain_value(v) for k, v in arch.items() if k not in other and (k, v) not in (("drop_path", 0), ("padding", False))}
    steps, known = _numbered(live_lines(arch), opened)
    aux = sorted(([known.get(name, name), opened(node)] for name, node in extra.items()), key=repr)
    ends = [[str(name), opened(nodes), [known.get(r, r) for r in reads]] for name, (nodes, reads) in heads.items()]
    return {**form, "steps": steps, "heads": sorted(ends, key=repr), "aux": aux}


def _numbered(live: list[Line], opened: Callable[[Node], list[Node]]) -> tuple[list[Any], dict[str, str]]:
    """Steps with their names replaced by step and place, chains without names joined; and what each name stands for."""
    known: dict[str, str] = {}
    out: list[Any] = []
    for i, line in enumerate(live):
        sources = [known.get(r, r) for r in line.reads]  # a name may be given again later
        known.update({name: f"{i}.{place}" for place, name in enumerate(line.writes)})
        later = {r for other in live[i + 1 :] for r in other.reads}
        made = [known[name] for name in line.writes if name in later]
        if not sources and out and not out[-1]["as"] and len(out[-1]["from"]) <= 1:  # blocks that read more than one share it
            out[-1]["do"] = out[-1]["do"] + opened(line.node)
            out[-1]["as"] = made
        else:
            out.append({"do": opened(line.node), "from": sources, "as": made})
    return out, known


def key(arch: Arch, opened: Callable[[Node], list[Node]]) -> str:
    """Return the name of the function that `arch` computes: 16 hexadecimal digits, the hash of its canonical form."""
    return digest(canonical(arch, opened))


def digest(data: Any) -> str:
    """16 hexadecimal digits that name plain data (order of mapping keys does not count)."""
    return hashlib.blake2b(json.dumps(data, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def names(value: Any, where: str) -> tuple[str, ...]:
    """Return the names of a wire: a word or a list of words."""
    words = () if value is None else (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else (None,)
    if not all(isinstance(w, str) and w for w in words):
        raise UserError(f"{where}: must be a name or a list of names, got {value!r}")
    return words  # type: ignore[return-value]


def plain_value(value: Any) -> Any:
    """Return the value with whole numbers as int and tuples as lists: 2.0 and 2 are one value."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [plain_value(v) for v in value] if isinstance(value, list | tuple) else value


def _same(value: Any, default: Any) -> bool:
    return default is not ... and type(value is True) is type(default is True) and plain_value(value) == plain_value(default)
