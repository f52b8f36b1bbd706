"""Drivers of `Space.draw`: each is a function from a domain to a value. None of them knows what a block is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from nasforge.errors import UserError
from nasforge.spaces.arch import Arch
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Choices, Chooser, Space

T = TypeVar("T")


def random_chooser(rng: random.Random) -> Chooser:
    """Each option, whole number or (log) interval alike."""

    def ask(domain: Domain) -> Scalar:
        if domain.kind == "choose":
            return domain.options[int(rng.random() * len(domain.options))]
        if domain.log:
            value = math.exp(rng.uniform(math.log(domain.low), math.log(domain.high)))
            return value if domain.kind == "float" else max(int(domain.low), min(int(domain.high), round(value)))
        if domain.kind == "float":
            return rng.uniform(domain.low, domain.high)
        return int(domain.low) + domain.step * rng.randrange(int(domain.size()))

    return ask


def replay(choices: Mapping[str, Scalar], otherwise: Chooser | None = None) -> Chooser:
    """Return the recorded choices; domains they lack are asked of `otherwise`, or are a UserError."""

    def ask(domain: Domain) -> Scalar:
        if domain.name in choices and (otherwise is None or domain.valid(choices[domain.name])):
            return choices[domain.name]
        if otherwise is None:
            raise UserError(f"{domain.name}: the recorded choices lack this domain ({domain}); were they made in another space?")
        return otherwise(domain)

    return ask


def mutate(choices: Mapping[str, Scalar], rng: random.Random, count: int = 1) -> Chooser:
    """Return the recorded choices with `count` of them forgotten and drawn anew, to another value where there is one."""
    forgotten = set(rng.sample(sorted(choices), min(count, len(choices))))
    fresh = random_chooser(rng)

    def other(domain: Domain) -> Scalar:
        if domain.name not in forgotten:
            return fresh(domain)
        if domain.kind == "choose":
            rest = [o for o in domain.options if not (type(o) is type(choices[domain.name]) and o == choices[domain.name])]
            return rng.choice(rest) if rest else domain.options[0]
        for _ in range(20):  # a wide range soon gives another value; a range of one never does
            value = fresh(domain)
            if value != choices[domain.name]:
                break
        return value

    return replay({k: v for k, v in choices.items() if k not in forgotten}, other)


def crossover(mother: Mapping[str, Scalar], father: Mapping[str, Scalar], rng: random.Random) -> Chooser:
    """Each choice from one of two parents; what neither has is drawn."""
    names = sorted(set(mother) | set(father))
    mixed = {n: (mother if n in mother and (n not in father or rng.random() < 0.5) else father)[n] for n in names}
    return replay(mixed, random_chooser(rng))


def enumerate_space(space: Space) -> Iterator[tuple[Arch, Choices]]:
    """Return every architecture of a finite space, in the order of its file; raises UserError at a float."""
    return every(space.draw)


def every(draw: Callable[[Chooser], T]) -> Iterator[T]:
    """`draw(chooser)` for every sequence of values that the domains it asks allow."""
    digits: list[list[Scalar]] = []  # values still to come at each domain asked, current one first
    position = 0

    def ask(domain: Domain) -> Scalar:
        nonlocal position
        if position == len(digits):
            digits.append(list(_values(domain)))
        position += 1
        return digits[position - 1][0]

    while True:
        position = 0
        yield draw(ask)
        del digits[position:]
        while digits and len(digits[-1]) == 1:
            digits.pop()
        if not digits:
            return
        digits[-1].pop(0)


def _values(domain: Domain) -> Iterator[Scalar]:
    if domain.kind == "float":
        raise UserError(f"{domain.name}: a float has no last value to enumerate; use choose with some numbers")
    if domain.kind == "choose":
        yield from domain.options
    else:
        yield from range(int(domain.low), int(domain.high) + 1, domain.step)
