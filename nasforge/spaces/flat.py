"""A space as others want it: all its domains at once, each with a short name, and when each of them is asked.

A search of ours draws a tree: what is not chosen is never asked. Other optimizers take a list of parameters, and the better ones
conditions: this parameter counts only where that one has one of these values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nasforge.errors import UserError
from nasforge.spaces.domains import Branch, Domain, Each, Fork, Ref, Scalar, Tree
from nasforge.spaces.space import Space, depths_of

MOST = 2000  # domains of a flat space
Term = tuple[tuple[str, tuple[Scalar, ...]], ...]  # (a domain, the values that it may have), all of which must hold


@dataclass
class Parameter:
    """A domain with a short name. when: it is asked where one of these terms holds; an empty term always does."""

    name: str
    domain: Domain
    when: list[Term] = field(default_factory=list)

    @property
    def always(self) -> bool:
        return () in self.when

    @property
    def count(self) -> int | None:
        """How many values it may have; None for a float."""
        return None if self.domain.kind == "float" else int(self.domain.size())

    def place(self, value: Scalar) -> int | float:
        """Return a value as a number: its place among those it may have, a float as it is, or its logarithm where it is drawn by that."""
        domain = self.domain
        if domain.kind == "choose":
            return next(i for i, option in enumerate(domain.options) if type(option) is type(value) and option == value)
        assert isinstance(value, int | float)
        if domain.kind == "float":
            return math.log(value) if domain.log else value
        return (int(value) - int(domain.low)) // domain.step

    @property
    def ends(self) -> tuple[float, float]:
        """Between which numbers its places lie."""
        if self.count is not None:
            return 0, self.count - 1
        return (math.log(self.domain.low), math.log(self.domain.high)) if self.domain.log else (self.domain.low, self.domain.high)

    def value(self, number: float) -> Scalar:
        """Return the value that lies nearest to a number."""
        domain = self.domain
        if domain.kind == "float":
            return min(domain.high, max(domain.low, math.exp(number) if domain.log else float(number)))
        place = min(int(domain.size()) - 1, max(0, int(number)))
        return domain.options[place] if domain.kind == "choose" else int(domain.low) + domain.step * place


class FlatSpace:
    """All domains of a space, repeats of `draw: each` up to the largest depth included.

    Raises:
        UserError: a depth has no largest value, or there are more than 2,000 domains.
    """

    def __init__(self, space: Space) -> None:
        self.space, self.parameters = space, dict[str, Parameter]()
        self._walk(space.root, ())
        self.by_name = {one.name: one for one in self.parameters.values()}

    def _walk(self, node: Tree, when: Term) -> None:
        for domain, term in _asked(node, when, self.space.lets):
            if len(self.parameters) >= MOST and domain.name not in self.parameters:
                raise UserError(f"{domain.name}: a flat space has at most {MOST:,} domains, this one has more; take another strategy")
            one = self.parameters.setdefault(domain.name, Parameter(f"c{len(self.parameters)}", domain))
            if term not in one.when:
                one.when.append(term)

    def places(self, choices: Mapping[str, Scalar], dead: bool = False) -> dict[str, int | float]:
        """Return choices as numbers by short names. dead: also those that are not asked, as their first value."""
        out: dict[str, int | float] = {}
        for name, one in self.parameters.items():
            if name in choices:
                out[one.name] = one.place(choices[name])
            elif dead:
                out[one.name] = one.ends[0]
        return out

    def choices(self, places: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return what numbers by short names mean; other names are left out."""
        return {self.by_name[name].domain.name: self.by_name[name].value(number) for name, number in places.items() if name in self.by_name}


def _asked(node: Tree, when: Term, lets: Mapping[str, Tree]) -> Iterator[tuple[Domain, Term]]:
    """Every domain with a term under which it is asked, in the order of asking."""
    match node:
        case Fork(domain, options):
            yield domain, when
            for label, option in options.items():
                yield from _asked(option, (*when, (domain.name, (label,))), lets)
        case Ref(name):
            yield from _asked(lets[name], when, lets)
        case Branch(parts):
            for part in parts.values() if isinstance(parts, Mapping) else parts:
                yield from _asked(part, when, lets)
        case Each(rest, depth, block, where):
            yield from _asked(Branch(rest), when, lets)
            yield from _asked(depth, when, lets)
            depths = sorted(set(depths_of(depth, where, lets)))
            for repeat in range(depths[-1]):
                enough = tuple(value for value in depths if value > repeat)
                for term in _deep(depth, enough, when, lets) if len(enough) < len(depths) else [when]:
                    yield from _asked(block(repeat), term, lets)


def _deep(depth: Tree, enough: tuple[int, ...], when: Term, lets: Mapping[str, Tree]) -> Iterator[Term]:
    """The terms under which a depth is one of these."""
    if isinstance(depth, Ref):
        yield from _deep(lets[depth.name], tuple(round(value / (depth.times or 1)) for value in enough), when, lets)
    elif isinstance(depth, Fork) and depth.options:
        for label, option in depth.options.items():
            yield from _deep(option, enough, (*when, (depth.domain.name, (label,))), lets)
    elif isinstance(depth, Fork):
        yield (*when, (depth.domain.name, enough))
    elif getattr(depth, "value", None) in enough:
        yield when
