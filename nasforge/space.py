"""Search spaces: architecture data with some values left open.

Openings, anywhere in the file:

    {choose: [a, b, ...]}  or  {choose: {label: a, ...}}      one of the options (anything, with openings inside)
    {int: [low, high], step: 1, log: false}                   a whole number, both ends included
    {float: [low, high], log: false}                          a number
    $name  or  $name*2                                        the value of `let: {name: ...}`: one draw used in many places
    stage: {block: ..., depth: ..., draw: each}               the openings of the block are drawn anew for each repeat

A *choice* is one drawn scalar; its name is the path of the opening in the file, so it never changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nasforge.arch import Arch
from nasforge.errors import UserError

Scalar = bool | int | float | str | None
Choices = dict[str, Scalar]
KINDS = ("choose", "int", "float")
_REF = re.compile(r"^\$(\w+)(?:\s*\*\s*([0-9.]+))?$")


@dataclass(frozen=True)
class Opening:
    """One value left open: its path, and what may be drawn."""

    name: str
    kind: str
    options: tuple[Scalar, ...] = ()
    low: float = 0
    high: float = 0
    step: int = 1
    log: bool = False

    def valid(self, value: Scalar) -> bool:
        """Whether `value` may be drawn here."""
        if self.kind == "choose":
            return any(type(value) is type(o) and value == o for o in self.options)
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return self.kind == "float" or (isinstance(value, int) and (value - int(self.low)) % self.step == 0)

    def size(self) -> float:
        """How many values may be drawn; infinite for a float."""
        if self.kind == "choose":
            return len(self.options)
        return math.inf if self.kind == "float" else (int(self.high) - int(self.low)) // self.step + 1

    def __str__(self) -> str:
        if self.kind == "choose":
            return "one of " + ", ".join(map(repr, self.options))
        step = f" in steps of {self.step}" if self.step != 1 else ""
        return f"{self.kind} from {self.low:g} to {self.high:g}{step}"


Chooser = Callable[[Opening], Scalar]
Draw = Callable[[Chooser, dict[str, Any]], Any]


# ---------------------------------------------------------------- the tree of a space


@dataclass(frozen=True)
class Const:
    """Data without openings."""

    value: Any


@dataclass(frozen=True)
class Fork:
    """A `choose`, `int` or `float`; `options` are the trees of the labels of a choose."""

    opening: Opening
    options: Mapping[Any, Tree]


@dataclass(frozen=True)
class Ref:
    """`$name*times`."""

    name: str
    times: float | None
    where: str


@dataclass(frozen=True)
class Branch:
    """A mapping or list with openings somewhere inside."""

    parts: Mapping[str, Tree] | tuple[Tree, ...]


@dataclass(frozen=True)
class Each:
    """A stage that draws its block anew for each repeat; `block` gives the tree of repeat i."""

    rest: Mapping[str, Tree]
    depth: Tree
    block: Callable[[int], Tree]


Tree = Const | Fork | Ref | Branch | Each


def tree(data: Any, path: str) -> Tree:
    """The tree of `data`. Raises UserError with the path of a malformed opening."""
    if isinstance(data, str) and data.startswith("$"):
        match = _REF.match(data)
        if not match:
            raise UserError(f"{path}: a reference is $name or $name*number, got {data!r}")
        return Ref(match[1], float(match[2]) if match[2] else None, path)
    if isinstance(data, Mapping):
        kind = next((k for k in KINDS if k in data), None)
        if kind:
            return _fork(kind, data, path)
        if set(data) == {"stage"} and isinstance(data["stage"], Mapping) and data["stage"].get("draw") == "each":
            return _each(data["stage"], f"{path}.stage")
        parts = {k: tree(v, f"{path}.{k}" if path else str(k)) for k, v in data.items()}
        return Const(data) if all(isinstance(p, Const) for p in parts.values()) else Branch(parts)
    if isinstance(data, list | tuple):
        items = tuple(tree(v, f"{path}.{i}") for i, v in enumerate(data))
        return Const(data) if all(isinstance(p, Const) for p in items) else Branch(items)
    return Const(data)


def _fork(kind: str, data: Mapping[str, Any], path: str) -> Fork:
    unknown = set(data) - {kind, "step", "log"}
    if unknown:
        raise UserError(f"{path}: an opening `{kind}` has only the keys {kind}, step, log; remove {sorted(map(str, unknown))}")
    if kind == "choose":
        options = _labelled(data["choose"], path)
        trees = {label: tree(value, f"{path}.{label}" if not _own_name(label, value) else path) for label, value in options.items()}
        return Fork(Opening(path, "choose", tuple(options)), trees)
    bounds = data[kind]
    if isinstance(bounds, list) and len(bounds) == 3 and kind == "int" and "step" not in data:
        bounds, data = bounds[:2], {**data, "step": bounds[2]}
    numbers = isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(b, int | float) and not isinstance(b, bool) for b in bounds)
    if not numbers or not bounds[0] <= bounds[1] or (kind == "int" and any(b != int(b) for b in bounds)):
        raise UserError(f"{path}: {kind} takes [low, high] with low <= high, got {data[kind]!r}; write for example {{{kind}: [1, 4]}}")
    step, log = data.get("step", 1), bool(data.get("log", False))
    if not isinstance(step, int) or step < 1 or (log and bounds[0] <= 0) or (log and step != 1):
        raise UserError(f"{path}: step is a whole number >= 1 (without log), and log needs low > 0; got step={step!r}, low={bounds[0]!r}")
    high = bounds[1] - (bounds[1] - bounds[0]) % step if kind == "int" else bounds[1]
    return Fork(Opening(path, kind, (), bounds[0], high, step, log), {})


def _labelled(options: Any, path: str) -> dict[Any, Any]:
    """Option values by their label: scalars are their own, blocks are called by their name."""
    if not isinstance(options, list | Mapping) or not options:
        raise UserError(f"{path}: choose takes a list of options or {{label: option}}, at least one; got {options!r}")
    if isinstance(options, Mapping):
        return dict(options)
    if all(isinstance(o, Scalar) and not str(o).startswith("$") for o in options):
        if len({(type(o), o) for o in options}) != len(options) or len(set(options)) != len(options):
            raise UserError(f"{path}: the options of choose must differ, got {options}")
        return {o: o for o in options}
    out: dict[Any, Any] = {}
    for option in options:
        label = base = _label(option)
        number = 2
        while label in out:
            label, number = f"{base}#{number}", number + 1
        out[label] = option
    return out


def _label(option: Any) -> str:
    if isinstance(option, Mapping):
        return str(next((k for k in option if k not in ("as", "from")), "empty"))
    if isinstance(option, list):
        return "+".join(_label(o) for o in option) or "none"
    return "none" if option is None else str(option)


def _own_name(label: Any, value: Any) -> bool:
    """Whether the path inside the option starts with its label anyway, as in {conv: {...}} under the label conv."""
    return isinstance(value, Mapping) and len(value) == 1 and label in value


def _each(stage: Mapping[str, Any], path: str) -> Tree:
    if "block" not in stage:
        raise UserError(f"{path}: a stage with draw: each needs `block`")
    rest = {k: tree(v, f"{path}.{k}") for k, v in stage.items() if k not in ("block", "depth", "draw")}
    return Each(rest, tree(stage.get("depth", 1), f"{path}.depth"), lambda i: tree(stage["block"], f"{path}.block.{i}"))


# ---------------------------------------------------------------- drawing


def _compile(node: Tree, lets: Mapping[str, Draw]) -> Draw:
    """A function (chooser, values of lets drawn so far) -> data; the tree is walked once, not at every draw."""
    match node:
        case Const(value):
            return lambda ask, env: value
        case Fork(opening, options):
            draws = {label: _compile(option, lets) for label, option in options.items()}

            def fork(ask: Chooser, env: dict[str, Any]) -> Any:
                value = ask(opening)
                if not opening.valid(value):
                    raise UserError(f"{opening.name}: must be {opening}, got {value!r}")
                return draws[value](ask, env) if draws else value

            return fork
        case Ref(name, times, where):
            if name not in lets:
                raise UserError(f"{where}: ${name} is not under `let`; it has {', '.join(lets) or 'nothing'}")

            def ref(ask: Chooser, env: dict[str, Any]) -> Any:
                if name not in env:
                    env[name] = lets[name](ask, env)
                return env[name] if times is None else _multiply(env[name], times, where)

            return ref
        case Branch(parts) if isinstance(parts, Mapping):
            items = [(k, _compile(p, lets)) for k, p in parts.items()]
            return lambda ask, env: {k: draw(ask, env) for k, draw in items}
        case Branch(parts):
            elements = [_compile(p, lets) for p in parts]  # type: ignore[arg-type]
            return lambda ask, env: [draw(ask, env) for draw in elements]
        case Each(rest, depth, block):
            draw_rest, draw_depth = _compile(Branch(rest), lets), _compile(depth, lets)
            repeats: list[Draw] = []

            def each(ask: Chooser, env: dict[str, Any]) -> Any:
                count = draw_depth(ask, env)
                while len(repeats) < count:
                    repeats.append(_compile(block(len(repeats)), lets))
                return {"stage": {**draw_rest(ask, env), "blocks": [repeats[i](ask, env) for i in range(count)]}}

            return each
    raise AssertionError(node)


def _multiply(value: Any, times: float, where: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: only a number can be multiplied, got {value!r}")
    product = value * times
    return int(product) if isinstance(value, int) and product == int(product) else product


def drawer(node: Tree, lets: Mapping[str, Tree]) -> Draw:
    """The function that draws a tree, given the lets of its space (a let may use the ones above it)."""
    ready: dict[str, Draw] = {}
    for name, let in lets.items():
        ready[name] = _compile(let, dict(ready))
    return _compile(node, ready)


class Space:
    """A search space: call `draw(chooser)` for an architecture and the choices that made it.

    Raises UserError, with the path, for a malformed file.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)
        body = {k: v for k, v in data.items() if k not in ("let", "constraints", "search")}
        self.lets = {k: tree(v, f"let.{k}") for k, v in (data.get("let") or {}).items()}
        self.root = tree(body, "")
        self._draw = drawer(self.root, self.lets)

    def draw(self, ask: Chooser) -> tuple[Arch, Choices]:
        """The architecture that `ask` chooses, and its choices (live ones only, in order of asking)."""
        made: Choices = {}
        return self._draw(recorder(ask, made), {}), made

    def openings(self) -> Iterator[Opening]:
        """Every opening of the file once, those inside all options included (repeats of `draw: each` as repeat 0)."""
        seen: set[str] = set()
        for node in (*self.lets.values(), self.root):
            for opening in _openings(node):
                if opening.name not in seen:
                    seen.add(opening.name)
                    yield opening

    def size(self) -> float:
        """How many different sets of choices there are: exact, infinite where a float is open."""
        lets = {name: _count(node) for name, node in self.lets.items()}
        return sum(number * _lets_size(used, lets) for used, number in _count(self.root).items())


def recorder(ask: Chooser, made: Choices) -> Chooser:
    """The chooser, with each value written down in `made`."""

    def record(opening: Opening) -> Scalar:
        value = made[opening.name] = ask(opening)
        return value

    return record


def _openings(node: Any) -> Iterator[Opening]:
    if isinstance(node, Fork):
        yield node.opening
        for option in node.options.values():
            yield from _openings(option)
    elif isinstance(node, Branch):
        for part in node.parts.values() if isinstance(node.parts, Mapping) else node.parts:
            yield from _openings(part)
    elif isinstance(node, Each):
        yield from (o for part in (*node.rest.values(), node.depth, node.block(0)) for o in _openings(part))


# ---------------------------------------------------------------- size

Count = dict[frozenset[str], float]  # lets used -> number of choices besides them


def _times(a: Count, b: Count) -> Count:
    out: Count = {}
    for used_a, n_a in a.items():
        for used_b, n_b in b.items():
            out[used_a | used_b] = out.get(used_a | used_b, 0) + n_a * n_b
    return out


def _plus(a: Count, b: Count) -> Count:
    return {used: a.get(used, 0) + b.get(used, 0) for used in a.keys() | b.keys()}


def _count(node: Tree) -> Count:
    one: Count = {frozenset(): 1}
    match node:
        case Ref(name):
            return {frozenset([name]): 1}
        case Fork(opening, options):
            total: Count = {} if options else {frozenset(): opening.size()}
            for option in options.values():
                total = _plus(total, _count(option))
            return total
        case Branch(parts):
            for part in parts.values() if isinstance(parts, Mapping) else parts:
                one = _times(one, _count(part))
            return one
        case Each(rest, depth, block):
            depths = [depth.value] if isinstance(depth, Const) else _depths(depth)
            total = {}
            for count in depths:
                product: Count = {frozenset(): 1}
                for i in range(count):
                    product = _times(product, _count(block(i)))
                total = _plus(total, product)
            return _times(total, _count(Branch(rest)))
    return one


def _depths(depth: Tree) -> list[int]:
    if isinstance(depth, Fork) and depth.opening.kind == "int":
        return list(range(int(depth.opening.low), int(depth.opening.high) + 1, depth.opening.step))
    if isinstance(depth, Fork) and all(isinstance(o, int) for o in depth.opening.options):
        return list(depth.opening.options)  # type: ignore[arg-type]
    raise UserError("the depth of a stage with draw: each must be a number, {int: [low, high]} or {choose: [numbers]}")


def _lets_size(used: frozenset[str], lets: Mapping[str, Count]) -> float:
    """The number of draws of the lets in `used` and of the lets these use in turn."""
    if not used:
        return 1
    last = [name for name in lets if name in used][-1]  # a let uses only lets above it
    return sum(n * _lets_size(used - {last} | inner, lets) for inner, n in lets[last].items())
