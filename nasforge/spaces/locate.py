"""The inverse of choosing: the choices that give an architecture in a space, or the first place that does not fit.

Sizes of input and classes are the data's, not the architecture's: they do not count. Missing arguments mean their defaults, and
repeats may be written as a stage or one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from nasforge.errors import UserError
from nasforge.spaces.arch import SECTIONS, WIRES, Arch, Blocks, Node, canonical_blocks, chain, key
from nasforge.spaces.choosers import every, replay
from nasforge.spaces.domains import Branch, Const, Domain, Each, Fork, Ref, Scalar, Tree, tree
from nasforge.spaces.rewrite import draws, motif_opened, repeats, stages_opened, written_plainly
from nasforge.spaces.space import Choices, Chooser, Space, drawer, recorder

DATA = ("input", "classes")  # where they are not open, they are those of the data
MOST_FORMS = 200  # a block written in another form is found by drawing its domains, up to so many
ANY_WIDTH = 256
Found = tuple[Choices, dict[str, Any]]  # choices and lets bound so far


class Misfit(UserError):
    """The architecture is no point of the space."""


@dataclass
class _Search:
    """What matching carries along: the block table, the lets of the space, the farthest mismatch."""

    blocks: Blocks
    lets: Mapping[str, Tree]
    forms: dict[tuple[int, str], tuple[Tree, dict[str, list[Found]]]] = field(default_factory=dict)  # drawn already; the tree lives on
    left: int = 0  # lines of the architecture still unmatched
    farthest: tuple[int, int] = (-(10**9), 0)
    reason: str = "the architecture and the space have different parts"

    def fail(self, where: str, text: str) -> None:
        reached = (-self.left, where.count("."))
        if reached > self.farthest:
            self.farthest, self.reason = reached, f"{where}: {text}"

    def opened(self, node: Node) -> list[Node]:
        """Return the canonical chain of a block; one whose width stands in its stage gets any width."""
        try:
            return canonical_blocks(node, self.blocks)
        except UserError:
            raise
        except ValueError:
            return canonical_blocks({"stage": {"block": node, "out": ANY_WIDTH}}, self.blocks)


def locate(arch: Arch, space: Space, blocks: Blocks) -> Choices:
    """Return the choices that draw `arch` from `space`. Raises Misfit naming the first path that does not fit."""
    search, arch = _Search(blocks, space.lets), written_plainly(arch)
    wanted = {**arch, **{k: space.data[k] for k in DATA if k in space.data and isinstance(tree(space.data[k], k), Const)}}
    wanted["padding"] = space.data.get("padding", False)  # of the data as well
    target = key(wanted, search.opened)
    for form in (arch, stages_opened(arch, blocks)):
        for choices, _ in _match_arch(space, form, search):
            drawn, made = space.draw(replay(choices, _first))
            if key(drawn, search.opened) == target:
                return made
    raise Misfit(search.reason)


def _first(domain: Domain) -> Scalar:
    return domain.options[0] if domain.kind == "choose" else domain.low if domain.kind == "float" else int(domain.low)


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
    if seen or not isinstance(node, Branch) or not isinstance(wanted, Mapping | list | str):
        return  # the parts of the others were tried in every form
    opened = motif_opened(wanted, search.blocks)
    for more in _structural(node, opened[0] if len(opened) == 1 else opened, path, found, search) if opened else ():
        seen = True
        yield more
    if not seen and "stage" not in node.parts and draws(node, search.lets, set(found[1])) <= MOST_FORMS:
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
        case Fork(domain, options):
            yield from _match_fork(domain, options, wanted, path, found, search)
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


def _match_fork(domain: Domain, options: Mapping[Any, Tree], wanted: Any, path: str, found: Found, search: _Search) -> Iterator[Found]:
    if not options:
        if domain.valid(wanted):
            yield {**found[0], domain.name: wanted}, found[1]
        else:
            search.fail(path, f"must be {domain}, the architecture has {_short(wanted)}")
        return
    fits = False
    for label, option in options.items():
        if isinstance(option, Const) and not (option.value == wanted or _same_blocks(option.value, wanted, search)):
            continue  # the sentence below names all options at once
        own = isinstance(option, Branch) and isinstance(option.parts, Mapping) and label in option.parts
        where = path if own else f"{path}.{label}"
        for more in _match(option, wanted, where, ({**found[0], domain.name: label}, found[1]), search):
            fits = True
            yield more
    if not fits:
        search.fail(path, f"must be {domain}, the architecture has {_short(wanted)}")


def _match_each(
    rest: Mapping[str, Tree], depth: Tree, block: Callable[[int], Tree], wanted: Any, path: str, found: Found, search: _Search
) -> Iterator[Found]:
    same, others = repeats(wanted, rest, search.blocks)

    def blocks(i: int, now: Found) -> Iterator[Found]:
        if i == len(same):
            yield now
            return
        for more in _match(block(i), same[i], f"{path}.stage.block.{i}", now, search):
            yield from blocks(i + 1, more)

    for sized in _match(depth, len(same), f"{path}.stage.depth", found, search):
        for more in _match_args("stage", rest, others, f"{path}.stage", sized, search):
            yield from blocks(0, more)


def _match_mapping(parts: Mapping[str, Tree], wanted: Any, path: str, found: Found, search: _Search) -> Iterator[Found]:
    wanted = {wanted: {}} if isinstance(wanted, str) else wanted
    if "stage" in parts:
        wanted = _as_stage(parts["stage"], wanted, search)
        if wanted is None:
            search.fail(path, "the space repeats one block, the architecture has different ones")
            return
        if not wanted["stage"]["depth"]:
            yield from _match_empty_stage(parts["stage"], path, found, search)
            return
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
    for now in _match_args("", wires, {k: v for k, v in wanted.items() if k != name}, path, found, search):
        if args is None:
            yield from _match(inner, given, f"{path}.{name}", now, search)
        else:
            yield from _match_args(name, args, given, f"{path}.{name}", now, search)


def _match_empty_stage(node: Tree, path: str, found: Found, search: _Search) -> Iterator[Found]:
    """A stage of depth 0: what its block would be is of no account."""
    depth = node.parts.get("depth") if isinstance(node, Branch) and isinstance(node.parts, Mapping) else None
    if depth is None:
        search.fail(path, "the architecture has nothing for this stage of the space")
    else:
        yield from _match(depth, 0, f"{path}.stage.depth", found, search)


def _as_stage(node: Tree, wanted: Any, search: _Search) -> dict[str, Any] | None:
    """The blocks as a stage, its width where the space has it; None where they differ."""
    parts = node.parts if isinstance(node, Branch) and isinstance(node.parts, Mapping) else {}
    bare = {k: v for k, v in wanted.items() if k not in WIRES} if isinstance(wanted, Mapping) else wanted
    wires = {k: v for k, v in wanted.items() if k in WIRES} if isinstance(wanted, Mapping) else {}
    same, rest = repeats(bare, parts, search.blocks)
    if any(one != same[0] for one in same):
        return None
    return {"stage": {"block": same[0] if same else None, "depth": len(same), **rest}, **wires}


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
    try:
        target = repr(search.opened(wanted))
    except (UserError, ValueError, TypeError, KeyError):  # no block
        return
    used: set[str] = set()
    draws(node, search.lets, used)
    bound = {name: value for name, value in found[1].items() if name in used}
    at = (id(node), repr(sorted(bound.items())))
    if at not in search.forms:
        search.forms[at] = node, _forms(node, bound, search)
    for made, lets in search.forms[at][1].get(target, ()):
        yield {**found[0], **made}, {**found[1], **lets}


def _forms(node: Tree, bound: Mapping[str, Any], search: _Search) -> dict[str, list[Found]]:
    """All draws of a small part of the space, by what they open to."""
    draw = drawer(node, search.lets)
    forms: dict[str, list[Found]] = {}

    def once(ask: Chooser) -> tuple[Any, Choices, dict[str, Any]]:
        made: Choices = {}
        lets = dict(bound)
        return draw(recorder(ask, made), lets), made, lets

    for value, made, lets in islice(every(once), MOST_FORMS):
        try:
            forms.setdefault(repr(search.opened(value)), []).append((made, lets))
        except (UserError, ValueError, TypeError, KeyError):  # a draw that no block would accept
            continue
    return forms


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 90 else text[:87] + "..."
