"""The inverse of choosing: the choices that give an architecture in a space, or the first place that does not fit.

Sizes of input and classes are the data's, not the architecture's: they do not count. Missing arguments mean their defaults, and
repeats may be written as a stage or one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from nasforge.arch import SECTIONS, Arch, Blocks, Node, canonical_blocks, chain, key
from nasforge.choosers import every, replay
from nasforge.errors import UserError
from nasforge.openings import Branch, Const, Each, Fork, Opening, Ref, Scalar, Tree, tree
from nasforge.space import Choices, Chooser, Space, drawer, recorder

DATA = ("input", "classes")  # where they are not open, they are those of the data
MOST_FORMS = 2000  # a block written in another form is found by drawing its openings, up to so many
Found = tuple[Choices, dict[str, Any]]  # choices and lets bound so far


class Misfit(UserError):
    """The architecture is no point of the space."""


@dataclass
class _Search:
    """What matching carries along: the block table, the lets of the space, the farthest mismatch."""

    blocks: Blocks
    lets: Mapping[str, Tree]
    left: int = 0  # lines of the architecture still unmatched
    farthest: tuple[int, int] = (-(10**9), 0)
    reason: str = "the architecture and the space have different parts"

    def fail(self, where: str, text: str) -> None:
        reached = (-self.left, where.count("."))
        if reached > self.farthest:
            self.farthest, self.reason = reached, f"{where}: {text}"

    def opened(self, node: Node) -> list[Node]:
        return canonical_blocks(node, self.blocks)


def locate(arch: Arch, space: Space, blocks: Blocks) -> Choices:
    """The choices that draw `arch` from `space`. Raises Misfit naming the first path that does not fit."""
    search = _Search(blocks, space.lets)
    wanted = {**arch, **{k: space.data[k] for k in DATA if k in space.data and isinstance(tree(space.data[k], k), Const)}}
    target = key(wanted, search.opened)
    for choices, _ in _match_arch(space, arch, search):
        drawn, made = space.draw(replay(choices, _first))
        if key(drawn, search.opened) == target:
            return made
    raise Misfit(search.reason)


def _first(opening: Opening) -> Scalar:
    return opening.options[0] if opening.kind == "choose" else opening.low if opening.kind == "float" else int(opening.low)


def _match_arch(space: Space, arch: Arch, search: _Search) -> Iterator[Found]:
    parts = space.root.parts if isinstance(space.root, Branch) and isinstance(space.root.parts, Mapping) else {}
    if isinstance(space.root, Const):
        parts = {k: Const(v) for k, v in space.root.value.items()}
    lines = [line for section in SECTIONS for line in _lines(parts.get(section), section)]
    wanted = [node for section in SECTIONS for node in chain(arch.get(section))]
    rest = [
        (k, t)
        for k, t in parts.items()
        if k in arch and (k in ("heads", "aux", "drop_path", "recipe") or (k in DATA and not isinstance(t, Const)))
    ]

    def others(i: int, found: Found) -> Iterator[Found]:
        if i == len(rest):
            yield found
            return
        for more in _match(rest[i][1], arch[rest[i][0]], rest[i][0], found, search):
            yield from others(i + 1, more)

    for found in _match_list(lines, wanted, ({}, {}), search, top=True):
        yield from others(0, found)


def _lines(node: Tree | None, path: str) -> list[tuple[Tree, str]]:
    if node is None:
        return []
    if isinstance(node, Const):
        return [(Const(v), f"{path}.{i}") for i, v in enumerate(chain(node.value))]
    if isinstance(node, Branch) and isinstance(node.parts, tuple):
        return [(t, f"{path}.{i}") for i, t in enumerate(node.parts)]
    return [(node, path)]


def _match_list(lines: list[tuple[Tree, str]], wanted: list[Node], found: Found, search: _Search, top: bool = False) -> Iterator[Found]:
    """Match lines in order; a line may stand for one block, none, or several in a row."""
    search.left = len(wanted) if top else search.left
    if not lines:
        if wanted:
            search.fail("the end", f"the space has nothing for {_short(wanted[0])}")
        else:
            yield found
        return
    (line, path), later = lines[0], lines[1:]
    counts = [1, 0, *range(2, len(wanted) + 1)] if _elastic(line, search.blocks) else [1]
    for count in counts:
        if count > len(wanted):
            search.fail(path, "the architecture ends before this line of the space")
            continue
        here: Node = wanted[0] if count == 1 else list(wanted[:count])
        for more in _match(line, here, path, found, search):
            yield from _match_list(later, wanted[count:], more, search, top)
        search.left = len(wanted) if top else search.left


def _elastic(line: Tree, blocks: Blocks) -> bool:
    """Whether a line may stand for other than one block: a motif, a choice, or a chain."""
    data = line.value if isinstance(line, Const) else line.parts if isinstance(line, Branch) else None
    names = [data] if isinstance(data, str) else data if isinstance(data, Mapping) else []
    return (
        isinstance(line, Each | Fork | Ref)
        or isinstance(data, tuple | list)
        or any(n in blocks and blocks[n].kind == "motif" for n in names)
    )


def _match(node: Tree, wanted: Any, path: str, found: Found, search: _Search) -> Iterator[Found]:
    """Every way to draw `wanted` from `node` that agrees with what is bound already."""
    seen = False
    for more in _structural(node, wanted, path, found, search):
        seen = True
        yield more
    if not seen and not isinstance(node, Const) and isinstance(wanted, Mapping | list | str) and not isinstance(node, Ref):
        yield from _by_drawing(node, wanted, found, search)


def _structural(node: Tree, wanted: Any, path: str, found: Found, search: _Search) -> Iterator[Found]:
    match node:
        case Const(value):
            if value == wanted or _same_blocks(value, wanted, search):
                yield found
            else:
                search.fail(path, f"the space has {_short(value)}, the architecture {_short(wanted)}")
        case Ref(name, times, _):
            yield from _match_ref(name, times, wanted, path, found, search)
        case Fork(opening, options):
            yield from _match_fork(opening, options, wanted, path, found, search)
        case Each(rest, depth, block, _):
            yield from _match_each(rest, depth, block, wanted, path, found, search)
        case Branch(parts) if isinstance(parts, Mapping):
            yield from _match_mapping(parts, wanted, path, found, search)
        case Branch(parts):
            items: list[tuple[Tree, str]] = [(t, f"{path}.{i}") for i, t in enumerate(parts)]  # type: ignore[misc]
            yield from _match_list(items, chain(wanted), found, search)


def _match_ref(name: str, times: float | None, wanted: Any, path: str, found: Found, search: _Search) -> Iterator[Found]:
    value = wanted / times if times and isinstance(wanted, int | float) else wanted
    value = int(value) if isinstance(value, float) and value.is_integer() and isinstance(wanted, int) else value
    if name in found[1]:
        if found[1][name] == value:
            yield found
        else:
            search.fail(path, f"${name} is {_short(found[1][name])} elsewhere, here it would be {_short(value)}")
        return
    for choices, lets in _match(search.lets[name], value, f"let.{name}", found, search):
        yield choices, {**lets, name: value}


def _match_fork(opening: Opening, options: Mapping[Any, Tree], wanted: Any, path: str, found: Found, search: _Search) -> Iterator[Found]:
    if not options:
        if opening.valid(wanted):
            yield {**found[0], opening.name: wanted}, found[1]
        else:
            search.fail(path, f"must be {opening}, the architecture has {_short(wanted)}")
        return
    fits = False
    for label, option in options.items():
        if isinstance(option, Const) and not (option.value == wanted or _same_blocks(option.value, wanted, search)):
            continue  # the sentence below names all options at once
        own = isinstance(option, Branch) and isinstance(option.parts, Mapping) and label in option.parts
        where = path if own else f"{path}.{label}"
        for more in _match(option, wanted, where, ({**found[0], opening.name: label}, found[1]), search):
            fits = True
            yield more
    if not fits:
        search.fail(path, f"must be {opening}, the architecture has {_short(wanted)}")


def _repeats(wanted: Any) -> tuple[list[Node], dict[str, Any]]:
    """The repeats of a stage in any form, and its other arguments: of blocks in a row, the first one's stride is the stage's."""
    if isinstance(wanted, Mapping) and set(wanted) == {"stage"}:
        args = dict(wanted["stage"])
        rest = {k: v for k, v in args.items() if k not in ("block", "blocks", "depth", "draw")}
        return (list(args["blocks"]) if "blocks" in args else [args.get("block")] * args.get("depth", 1)), rest
    first, *others = chain(wanted) or [None]
    if isinstance(first, Mapping) and len(first) == 1:
        ((name, args),) = first.items()
        if isinstance(args, Mapping) and "stride" in args:
            return [{name: {k: v for k, v in args.items() if k != "stride"}}, *others], {"stride": args["stride"]}
    return chain(wanted), {}


def _match_each(
    rest: Mapping[str, Tree], depth: Tree, block: Callable[[int], Tree], wanted: Any, path: str, found: Found, search: _Search
) -> Iterator[Found]:
    repeats, others = _repeats(wanted)

    def blocks(i: int, now: Found) -> Iterator[Found]:
        if i == len(repeats):
            yield now
            return
        for more in _match(block(i), repeats[i], f"{path}.stage.block.{i}", now, search):
            yield from blocks(i + 1, more)

    for sized in _match(depth, len(repeats), f"{path}.stage.depth", found, search):
        for more in _match_args("stage", rest, others, f"{path}.stage", sized, search):
            yield from blocks(0, more)


def _match_mapping(parts: Mapping[str, Tree], wanted: Any, path: str, found: Found, search: _Search) -> Iterator[Found]:
    wanted = {wanted: {}} if isinstance(wanted, str) else wanted
    if "stage" in parts and not (isinstance(wanted, Mapping) and "stage" in wanted):
        same, rest = _repeats(wanted)
        if any(node != same[0] for node in same):
            search.fail(path, "the space repeats one block, the architecture has different ones")
            return
        wanted = {"stage": {"block": same[0] if same else None, "depth": len(same), **rest}}
    if not isinstance(wanted, Mapping):
        search.fail(path, f"the space has {' '.join(parts)}, the architecture {_short(wanted)}")
        return
    name = next((k for k in parts if k in search.blocks), None)
    if name is None:
        yield from _match_args("", parts, wanted, path, found, search)
        return
    if name not in wanted:
        search.fail(path, f"the space has {name}, the architecture {_short(wanted)}")
        return
    wires = {k: v for k, v in parts.items() if k != name}
    inner = parts[name]
    args = inner.parts if isinstance(inner, Branch) and isinstance(inner.parts, Mapping) else None
    given = dict(wanted[name] or {})
    if name == "stage" and "blocks" in given:
        blocks = given.pop("blocks")
        given |= {"block": blocks[0] if blocks else None, "depth": len(blocks)}
    for now in _match_args("", wires, {k: v for k, v in wanted.items() if k != name}, path, found, search):
        if args is None:
            yield from _match(inner, given, f"{path}.{name}", now, search)
        else:
            yield from _match_args(name, args, given, f"{path}.{name}", now, search)


def _match_args(
    name: str, parts: Mapping[str, Tree], given: Mapping[str, Any], path: str, found: Found, search: _Search
) -> Iterator[Found]:
    """Match arguments by name; what one side lacks must be, or be drawn as, the default."""
    params = search.blocks[name].params if name else {}
    extra = [k for k in given if k not in parts and not (k in params and given[k] == params[k].default)]
    if extra:
        search.fail(f"{path}.{extra[0]}", f"the space leaves this at its default, the architecture has {_short(given[extra[0]])}")
        return
    items = list(parts.items())

    def following(i: int, now: Found) -> Iterator[Found]:
        if i == len(items):
            yield now
            return
        key_, node = items[i]
        if key_ not in given and (key_ not in params or params[key_].default is ...):
            search.fail(f"{path}.{key_}", "the architecture lacks it")
            return
        value = given[key_] if key_ in given else params[key_].default
        for more in _match(node, value, f"{path}.{key_}", now, search):
            yield from following(i + 1, more)

    yield from following(0, found)


def _same_blocks(value: Any, wanted: Any, search: _Search) -> bool:
    try:
        return search.opened(value) == search.opened(wanted)
    except (UserError, ValueError, TypeError, KeyError):
        return False


def _by_drawing(node: Tree, wanted: Any, found: Found, search: _Search) -> Iterator[Found]:
    """Draws of a small part of the space whose canonical form is that of `wanted`."""
    draw = drawer(node, search.lets)

    def once(ask: Chooser) -> tuple[Any, Choices, dict[str, Any]]:
        made: Choices = {}
        lets = dict(found[1])
        return draw(recorder(ask, made), lets), made, lets

    try:
        for value, made, lets in islice(every(once), MOST_FORMS):
            if _same_blocks(value, wanted, search):
                yield {**found[0], **made}, lets
    except UserError:  # a float is open: too many forms to draw
        return


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 90 else text[:87] + "..."
