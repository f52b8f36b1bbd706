"""Domains: values that a space leaves open, and the tree of a file that has some.

Domains, anywhere in the file:

    {choose: [a, b, ...]}  or  {choose: {label: a, ...}}      one of the options (anything, with domains inside)
    {int: [low, high], step: 1, log: false}                   a whole number, both ends included
    {float: [low, high], log: false}                          a number
    $name  or  $name*2                                        the value of `let: {name: ...}`: one draw used in many places
    stage: {block: ..., depth: ..., draw: each}               the domains of the block are drawn anew for each repeat

A *choice* is one drawn scalar; its name is the path of the domain in the file, so it never changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nasforge.errors import UserError

Scalar = bool | int | float | str | None
KINDS = ("choose", "int", "float")
MOST_OPTIONS = 10_000
_REF = re.compile(r"^\$(\w+)(?:\s*\*\s*(\d+(?:\.\d*)?|\.\d+))?$")


@dataclass(frozen=True)
class Domain:
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
            return isinstance(value, Scalar) and (type(value), value) in self._options
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return self.kind == "float" or (isinstance(value, int) and (value - int(self.low)) % self.step == 0)

    @cached_property
    def _options(self) -> frozenset[tuple[type, Scalar]]:
        return frozenset((type(option), option) for option in self.options)

    def size(self) -> float:
        """Return how many values may be drawn; infinite for a float."""
        if self.kind == "choose":
            return len(self.options)
        return math.inf if self.kind == "float" else (int(self.high) - int(self.low)) // self.step + 1

    def __str__(self) -> str:
        if self.kind == "choose":
            return "one of " + ", ".join(map(repr, self.options))
        step = f" in steps of {self.step}" if self.step != 1 else ""
        return f"{self.kind} from {self.low:g} to {self.high:g}{step}"


# ---------------------------------------------------------------- the tree of a space


@dataclass(frozen=True)
class Const:
    """Data without domains."""

    value: Any


@dataclass(frozen=True)
class Fork:
    """A `choose`, `int` or `float`; `options` are the trees of the labels of a choose."""

    domain: Domain
    options: Mapping[Any, Tree]


@dataclass(frozen=True)
class Ref:
    """`$name*times`."""

    name: str
    times: float | None
    where: str


@dataclass(frozen=True)
class Branch:
    """A mapping or list with domains somewhere inside."""

    parts: Mapping[str, Tree] | tuple[Tree, ...]


@dataclass(frozen=True)
class Each:
    """A stage that draws its block anew for each repeat; `block` gives the tree of repeat i."""

    rest: Mapping[str, Tree]
    depth: Tree
    block: Callable[[int], Tree]
    where: str


Tree = Const | Fork | Ref | Branch | Each


def tree(data: Any, path: str) -> Tree:
    """Return the tree of `data`. Raises UserError with the path of a malformed domain."""
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
    allowed = {"choose": {kind}, "int": {kind, "step", "log"}, "float": {kind, "log"}}[kind]
    if set(data) - allowed:
        raise UserError(f"{path}: a domain `{kind}` has only the keys {sorted(allowed)}; remove {sorted(map(str, set(data) - allowed))}")
    if kind == "choose":
        options = _labeled(data["choose"], path)
        trees = {}
        for label, value in options.items():  # under the label conv, the path inside {conv: {...}} starts with conv anyway
            named = isinstance(value, Mapping) and len(value) == 1 and label in value and label not in KINDS
            trees[label] = tree(value, path if named else f"{path}.{label}")
        return Fork(Domain(path, "choose", tuple(options)), trees)
    bounds = data[kind]
    if isinstance(bounds, list) and len(bounds) == 3 and kind == "int" and "step" not in data:
        bounds, data = bounds[:2], {**data, "step": bounds[2]}
    numbers = isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(b, int | float) and not isinstance(b, bool) for b in bounds)
    if (
        not numbers
        or not all(map(math.isfinite, bounds))
        or not bounds[0] <= bounds[1]
        or (kind == "int" and any(b != int(b) for b in bounds))
    ):
        raise UserError(f"{path}: {kind} takes [low, high] with low <= high, got {data[kind]!r}; write for example {{{kind}: [1, 4]}}")
    step, log = data.get("step", 1), bool(data.get("log", False))
    if not isinstance(step, int) or step < 1 or (log and bounds[0] <= 0) or (log and step != 1):
        raise UserError(f"{path}: step is a whole number >= 1 (without log), and log needs low > 0; got step={step!r}, low={bounds[0]!r}")
    high = bounds[1] - (bounds[1] - bounds[0]) % step if kind == "int" else bounds[1]
    return Fork(Domain(path, kind, (), bounds[0], high, step, log), {})


def _labeled(options: Any, path: str) -> dict[Any, Any]:
    """Option values by their label: scalars are their own, blocks are called by their name."""
    if not isinstance(options, list | Mapping) or not options:
        raise UserError(f"{path}: choose takes a list of options or {{label: option}}, at least one; got {options!r}")
    if len(options) > MOST_OPTIONS:
        raise UserError(f"{path}: choose takes at most {MOST_OPTIONS:,} options, got {len(options):,}; write int or float for a range")
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


def _each(stage: Mapping[str, Any], path: str) -> Tree:
    if "block" not in stage:
        raise UserError(f"{path}: a stage with draw: each needs `block`")
    rest = {k: tree(v, f"{path}.{k}") for k, v in stage.items() if k not in ("block", "depth", "draw")}
    return Each(rest, tree(stage.get("depth", 1), f"{path}.depth"), lambda i: tree(stage["block"], f"{path}.block.{i}"), path)
