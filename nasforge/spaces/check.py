"""Checks of space and architecture data against the block table: names, arguments, types. Domains are checked option by option."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from nasforge.errors import UserError, nearest
from nasforge.spaces.arch import SECTIONS, WIRES, Blocks, Node
from nasforge.spaces.domains import KINDS
from nasforge.spaces.space import DEEPEST

REPEATS = ("depth", "depths", "layers", "times", "modules", "branches", "levels", "extra")  # arguments that say how often a block stands
TOP = (
    *SECTIONS,
    "name",
    "source",
    "note",
    "input",
    "classes",
    "heads",
    "aux",
    "drop_path",
    "padding",
    "recipe",
    "let",
    "constraints",
    "search",
    "published",
    "family",
    "task",
)


def check_arch(data: Mapping[str, Any], blocks: Blocks) -> None:
    """Raise UserError, with the path, for the first thing in a space or architecture that no block would accept."""
    for name in data:
        if name not in TOP:
            raise UserError(f"{name}: unknown key; {nearest(name, TOP)}")
    if "input" not in data:
        raise UserError("input: is missing; write for example `input: [3, 32, 32]` (channels, height, width)")
    classes = data.get("classes", 1)
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise UserError(f"classes: must be a whole number >= 1, got {classes!r}")
    rate = data.get("drop_path", 0.0)
    if not _open(rate) and (isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1):
        raise UserError(f"drop_path: must be a number from 0 to below 1, got {rate!r}")
    if not isinstance(data.get("padding", False), bool):
        raise UserError(f"padding: must be true (sequences may end early) or false, got {data['padding']!r}")
    for section in SECTIONS:
        if section in data:
            check_node(data[section], blocks, section, deep=True)
    for kind in ("heads", "aux"):
        branches = data.get(kind) or {}
        if not isinstance(branches, Mapping):
            raise UserError(f"{kind}: must be a mapping from a name to a list of blocks, got {branches!r}")
        for name, node in branches.items():
            if not isinstance(name, str):
                raise UserError(f"{kind}: the name of a head is a word, got {name!r}")
            check_node(node, blocks, f"{kind}.{name}", deep=True)


def check_node(node: Node, blocks: Blocks, where: str, deep: bool = False) -> None:
    """Raise UserError unless `node` is a block of the table with arguments of the right names and types."""
    if node is None or (isinstance(node, str) and node.startswith("$")):
        return
    if isinstance(node, list | tuple):
        for i, part in enumerate(node):
            check_node(part, blocks, f"{where}.{i}", deep)
        return
    if isinstance(node, Mapping) and any(k in node for k in KINDS):
        _check_options(node, where, lambda option, path: check_node(option, blocks, path, deep), "block")
        return
    if not isinstance(node, str | Mapping):
        raise UserError(f"{where}: a block is a name, {{name: arguments}} or a list of blocks, got {node!r}")
    names = [node] if isinstance(node, str) else [k for k in node if k not in WIRES]
    if len(names) != 1:
        raise UserError(
            f"{where}: a block has exactly one name (and optionally `as`, `from`), got the keys {list(node)}; indent its arguments below it"
        )
    for wire in WIRES:
        if isinstance(node, Mapping) and wire in node and not fits(node[wire], str | list[str]):
            raise UserError(f"{where}.{wire}: must be a name or a list of names, got {node[wire]!r}")
    name = names[0]
    if name not in blocks:
        raise UserError(f"{where}: there is no block {name!r}; {nearest(name, blocks, 'nasforge blocks')}")
    args = ({} if isinstance(node, str) else node[name]) or {}
    if not isinstance(args, Mapping):
        raise UserError(f"{where}.{name}: arguments must be a mapping like {{out: 32}}, got {args!r}")
    params = blocks[name].params
    for key, value in args.items():
        if key not in params:
            raise UserError(f"{where}.{name}.{key}: {name} has no argument {key!r}; {nearest(key, params, f'nasforge blocks {name}')}")
        _check_value(value, params[key].hint, blocks, f"{where}.{name}.{key}", deep)
        counts = (value if isinstance(value, list | tuple) else [value]) if key in REPEATS else []
        if any(isinstance(n, int | float) and n > DEEPEST for n in counts):
            raise UserError(f"{where}.{name}.{key}: must be at most {DEEPEST:,}, got {value!r:.60}")
    missing = [key for key, param in params.items() if param.default is ... and key not in args]
    if missing:
        raise UserError(f"{where}.{name}: {name} needs the argument {missing[0]!r}; `nasforge blocks {name}` tells of it")


def _check_value(value: Any, hint: Any, blocks: Blocks, where: str, deep: bool) -> None:
    mark = get_args(hint)[1] if get_origin(hint) is Annotated else None
    if mark in ("block", "blocks"):
        if mark == "blocks" and value is not None and not isinstance(value, list | tuple) and not _open(value):
            raise UserError(f"{where}: must be a list of blocks, got {value!r}")
        if deep and not (isinstance(value, str) and value not in blocks):  # a word may be a kind, such as shortcut: auto
            check_node(value, blocks, where, deep)
        return
    if mark == "edges" and not _open(value):
        if not isinstance(value, list | tuple) or not all(isinstance(node, list | tuple) for node in value):
            raise UserError(f"{where}: must be a list of nodes, each a list of edges {{from: NODE, op: BLOCK}}, got {value!r}")
        for i, node in enumerate(value):
            for j, edge in enumerate(node):
                if not isinstance(edge, Mapping) or set(edge) != {"from", "op"}:
                    raise UserError(f"{where}.{i}.{j}: an edge has the keys from and op, got {edge!r}")
                check_node(edge["op"], blocks, f"{where}.{i}.{j}.op", deep)
        return
    if _open(value):
        if isinstance(value, Mapping):
            _check_options(value, where, lambda option, path: _check_value(option, hint, blocks, path, deep), hint)
        return
    if not fits(value, hint):
        raise UserError(f"{where}: must be {spell(hint)}, got {value!r}")


def _open(value: Any) -> bool:
    return (isinstance(value, Mapping) and any(k in value for k in KINDS)) or (isinstance(value, str) and value.startswith("$"))


def _check_options(domain: Mapping[str, Any], where: str, check: Any, hint: Any) -> None:
    if "choose" in domain:
        options = domain["choose"]
        if not isinstance(options, list | Mapping):
            raise UserError(f"{where}: choose takes a list of options or {{label: option}}, got {options!r}")
        for label, option in options.items() if isinstance(options, Mapping) else enumerate(options):
            check(option, f"{where}.{label}")
    elif hint == "block":
        raise UserError(f"{where}: a number stands where a block must; use choose with blocks")
    else:
        kind = next(k for k in KINDS if k in domain)
        bounds = domain[kind] if isinstance(domain[kind], list) else []
        for bound in bounds[:2]:
            check(bound, where)


def fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value is of the type that a signature asks for; whole floats are ints, ints are floats."""
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in get_args(hint))
    if origin is list:
        return isinstance(value, list | tuple) and all(fits(v, get_args(hint)[0]) for v in value)
    if origin is dict or hint is dict:
        return isinstance(value, Mapping)
    if hint in (None, NoneType):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    return isinstance(value, hint)


def spell(hint: Any) -> str:
    """Return the words for a type in an error message."""
    origin = get_origin(hint)
    if origin is Annotated:
        edges = "a list of nodes, each a list of edges {from: NODE, op: BLOCK}"
        return {"block": "a block", "blocks": "a list of blocks", "edges": edges}.get(get_args(hint)[1]) or spell(get_args(hint)[0])
    if origin in (Union, UnionType):
        return " or ".join(spell(part) for part in get_args(hint))
    if origin is Literal:
        return " | ".join(map(str, get_args(hint)))
    if origin is list:
        return f"a list of {spell(get_args(hint)[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "null", dict: "a mapping"}
    return words.get(hint, str(hint))
