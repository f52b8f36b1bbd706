"""Drivers of `Space.draw`: each is a function from an opening to a value. None of them knows what a block is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from nasforge.errors import UserError
from nasforge.spaces.arch import Arch
from nasforge.spaces.domains import Opening, Scalar
from nasforge.spaces.space import Choices, Chooser, Space

T = TypeVar("T")


def random_chooser(rng: random.Random) -> Chooser:
    """Each option, whole number or (log) interval alike."""

    def ask(opening: Opening) -> Scalar:
        if opening.kind == "choose":
            return opening.options[int(rng.random() * len(opening.options))]
        if opening.log:
            value = math.exp(rng.uniform(math.log(opening.low), math.log(opening.high)))
            return value if opening.kind == "float" else max(int(opening.low), min(int(opening.high), round(value)))
        if opening.kind == "float":
            return rng.uniform(opening.low, opening.high)
        return int(opening.low) + opening.step * rng.randrange(int(opening.size()))

    return ask


def replay(choices: Mapping[str, Scalar], otherwise: Chooser | None = None) -> Chooser:
    """The recorded choices; openings they lack are asked of `otherwise`, or are a UserError."""

    def ask(opening: Opening) -> Scalar:
        if opening.name in choices and (otherwise is None or opening.valid(choices[opening.name])):
            return choices[opening.name]
        if otherwise is None:
            raise UserError(f"{opening.name}: the recorded choices lack this opening ({opening}); were they made in another space?")
        return otherwise(opening)

    return ask


def mutate(choices: Mapping[str, Scalar], rng: random.Random, count: int = 1) -> Chooser:
    """The recorded choices with `count` of them forgotten and drawn anew, to another value where there is one."""
    forgotten = set(rng.sample(sorted(choices), min(count, len(choices))))
    fresh = random_chooser(rng)

    def other(opening: Opening) -> Scalar:
        if opening.name not in forgotten:
            return fresh(opening)
        if opening.kind == "choose":
            rest = [o for o in opening.options if not (type(o) is type(choices[opening.name]) and o == choices[opening.name])]
            return rng.choice(rest) if rest else opening.options[0]
        for _ in range(20):  # a wide range soon gives another value; a range of one never does
            value = fresh(opening)
            if value != choices[opening.name]:
                break
        return value

    return replay({k: v for k, v in choices.items() if k not in forgotten}, other)


def crossover(mother: Mapping[str, Scalar], father: Mapping[str, Scalar], rng: random.Random) -> Chooser:
    """Each choice from one of two parents; what neither has is drawn."""
    names = sorted(set(mother) | set(father))
    mixed = {n: (mother if n in mother and (n not in father or rng.random() < 0.5) else father)[n] for n in names}
    return replay(mixed, random_chooser(rng))


def enumerate_space(space: Space) -> Iterator[tuple[Arch, Choices]]:
    """Every architecture of a finite space, in the order of its file; raises UserError at a float."""
    return every(space.draw)


def every(draw: Callable[[Chooser], T]) -> Iterator[T]:
    """`draw(chooser)` for every sequence of values that the openings it asks allow."""
    digits: list[list[Scalar]] = []  # values still to come at each opening asked, current one first
    position = 0

    def ask(opening: Opening) -> Scalar:
        nonlocal position
        if position == len(digits):
            digits.append(list(_values(opening)))
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


def _values(opening: Opening) -> Iterator[Scalar]:
    if opening.kind == "float":
        raise UserError(f"{opening.name}: a float has no last value to enumerate; use choose with some numbers")
    if opening.kind == "choose":
        yield from opening.options
    else:
        yield from range(int(opening.low), int(opening.high) + 1, opening.step)
