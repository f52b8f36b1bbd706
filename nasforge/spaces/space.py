"""Search spaces: architecture data with some values left open (see `nasforge.spaces.domains` for how that is written).

A *choice* is one drawn scalar; its name is the path of the domain in the file, so it never changes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nasforge.errors import UserError
from nasforge.spaces.arch import Arch
from nasforge.spaces.domains import Branch, Const, Domain, Each, Fork, Ref, Scalar, Tree, tree

DEEPEST = 2000  # repeats of a stage
MOST_REPEATS = 10_000  # in one network, of stages in stages together
LARGEST = 10**300  # size of a space; larger ones are called infinite
_REPEATS = object()  # under which the repeats are counted among the lets
Choices = dict[str, Scalar]
Chooser = Callable[[Domain], Scalar]
Draw = Callable[[Chooser, dict[Any, Any]], Any]


# ---------------------------------------------------------------- drawing


def _compile(node: Tree, lets: Mapping[str, Draw]) -> Draw:
    """A function (chooser, values of lets drawn so far) -> data; the tree is walked once, not at every draw."""
    match node:
        case Const(value):
            return lambda ask, env: value
        case Fork(domain, options):
            draws = {label: _compile(option, lets) for label, option in options.items()}

            def fork(ask: Chooser, env: dict[Any, Any]) -> Any:
                value = ask(domain)
                if not domain.valid(value):
                    raise UserError(f"{domain.name}: must be {domain}, got {value!r}")
                return draws[value](ask, env) if draws else value

            return fork
        case Ref(name, times, where):
            if name not in lets:
                raise UserError(f"{where}: ${name} is not under `let`; it has {', '.join(map(str, lets)) or 'nothing'}")

            def ref(ask: Chooser, env: dict[Any, Any]) -> Any:
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
        case Each(rest, depth, block, where):
            draw_rest, draw_depth = _compile(Branch(rest), lets), _compile(depth, lets)
            repeats = [_compile(block(0), lets)]  # here, so that a mistake in it is told at once

            def each(ask: Chooser, env: dict[Any, Any]) -> Any:
                count = draw_depth(ask, env)
                if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= DEEPEST:
                    raise UserError(f"{where}.depth: must be a whole number from 0 to {DEEPEST}, got {count!r}")
                env[_REPEATS] = env.get(_REPEATS, 0) + count
                if env[_REPEATS] > MOST_REPEATS:
                    raise UserError(f"{where}: stages in stages must give at most {MOST_REPEATS:,} repeats, got more; lower a depth")
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
    """Return the function that draws a tree, given the lets of its space (a let may use the ones above it)."""
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
        if not isinstance(data.get("let") or {}, Mapping):
            raise UserError(f"let: must be a mapping from names to values, got {data['let']!r}")
        body = {k: v for k, v in data.items() if k not in ("let", "constraints", "search")}
        self.lets = {k: tree(v, f"let.{k}") for k, v in (data.get("let") or {}).items()}
        self.root = tree(body, "")
        self._draw = drawer(self.root, self.lets)

    def draw(self, ask: Chooser) -> tuple[Arch, Choices]:
        """Return the architecture that `ask` chooses, and its choices (live ones only, in order of asking)."""
        made: Choices = {}
        return self._draw(recorder(ask, made), {}), made

    def domains(self) -> Iterator[Domain]:
        """Yield every domain of the file once, those inside all options included (repeats of `draw: each` as repeat 0)."""
        seen: set[str] = set()
        for node in (*self.lets.values(), self.root):
            for domain in _openings(node):
                if domain.name not in seen:
                    seen.add(domain.name)
                    yield domain

    def size(self) -> float:
        """Return how many different sets of choices there are: exact, infinite where a float is open or from 10^300 on."""
        lets = {name: _count(node) for name, node in self.lets.items()}
        return sum(number * _lets_size(used, lets) for used, number in _count(self.root).items())


def recorder(ask: Chooser, made: Choices) -> Chooser:
    """Return the chooser, with each value written down in `made`."""

    def record(domain: Domain) -> Scalar:
        value = made[domain.name] = ask(domain)
        return value

    return record


def _openings(node: Any) -> Iterator[Domain]:
    if isinstance(node, Fork):
        yield node.domain
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
            out[used_a | used_b] = _bounded(out.get(used_a | used_b, 0) + (math.inf if math.inf in (n_a, n_b) else n_a * n_b))
    return out


def _plus(a: Count, b: Count) -> Count:
    return {used: _bounded(a.get(used, 0) + b.get(used, 0)) for used in a.keys() | b.keys()}


def _bounded(number: float) -> float:
    return number if number < LARGEST else math.inf


def _count(node: Tree) -> Count:
    one: Count = {frozenset(): 1}
    match node:
        case Ref(name):
            return {frozenset([name]): 1}
        case Fork(domain, options):
            total: Count = {} if options else {frozenset(): domain.size()}
            for option in options.values():
                total = _plus(total, _count(option))
            return total
        case Branch(parts):
            for part in parts.values() if isinstance(parts, Mapping) else parts:
                one = _times(one, _count(part))
            return one
        case Each(rest, depth, block, where):
            depths, total, product, repeat = Counter(depths_of(depth, where)), dict[frozenset[str], float](), one, _count(block(0))
            for count in range(max(depths) + 1):
                for _ in range(depths[count]):
                    total = _plus(total, product)
                product = _times(product, repeat)
            return _times(total, _count(Branch(rest)))
    return one


def depths_of(depth: Tree, where: str, lets: Mapping[str, Tree] | None = None) -> list[int]:
    """Return the values that the depth of a stage with draw: each may take, with repetition. lets: followed, where they are given."""
    found: list[Any] = []
    if isinstance(depth, Ref) and lets is not None:
        found = [value * (depth.times or 1) for value in depths_of(lets[depth.name], where, lets)]
        found = [int(value) if value == int(value) else value for value in found]
    elif isinstance(depth, Const):
        found = [depth.value]
    elif isinstance(depth, Fork) and depth.domain.kind == "int" and depth.domain.high <= DEEPEST:
        found = list(range(int(depth.domain.low), int(depth.domain.high) + 1, depth.domain.step))
    elif isinstance(depth, Fork) and depth.options:
        found = [value for option in depth.options.values() for value in depths_of(option, where, lets)]
    if not found or any(isinstance(v, bool) or not isinstance(v, int) or not 0 <= v <= DEEPEST for v in found):
        raise UserError(
            f"{where}.depth: with draw: each the size of a space needs numbers up to {DEEPEST}, {{int: ...}} or {{choose: ...}} of them"
        )
    return found


def _lets_size(used: frozenset[str], lets: Mapping[str, Count]) -> float:
    """The number of draws of the lets in `used` and of the lets these use in turn."""
    if not used:
        return 1
    last = [name for name in lets if name in used][-1]  # a let uses only lets above it
    return sum(n * _lets_size(used - {last} | inner, lets) for inner, n in lets[last].items())
