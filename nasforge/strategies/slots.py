"""Values of openings as slots: the options of a choice, and ranges cut into parts, so that every opening is a small table."""

from __future__ import annotations

import math
from random import Random

from nasforge.spaces.domains import Opening, Scalar

SLOTS = 8  # parts that a wide range is cut into


def slots(opening: Opening) -> int:
    """How many values, or parts of a wide range, a policy tells apart."""
    return int(opening.size()) if opening.kind == "choose" or opening.size() <= 2 * SLOTS else SLOTS


def slot_of(opening: Opening, value: Scalar) -> int:
    """The slot in which a value lies."""
    if opening.kind == "choose":
        return next(i for i, o in enumerate(opening.options) if type(o) is type(value) and o == value)
    assert isinstance(value, int | float)
    if slots(opening) == opening.size():
        return round((value - opening.low) / opening.step)
    return min(SLOTS - 1, int(SLOTS * share_of(opening, value)))


def share_of(opening: Opening, value: float) -> float:
    """Where in the (log) range of its opening a number lies, from 0 to 1."""
    low, high = opening.low, opening.high
    if high == low:
        return 0.0
    return math.log(value / low) / math.log(high / low) if opening.log else (value - low) / (high - low)


def value_in(opening: Opening, slot: int, rng: Random) -> Scalar:
    """A value of a slot."""
    if opening.kind == "choose":
        return opening.options[slot]
    if slots(opening) == opening.size():
        return int(opening.low) + opening.step * slot
    low, high, share = opening.low, opening.high, (slot + rng.random()) / SLOTS
    value = low * (high / low) ** share if opening.log else low + share * (high - low)
    if opening.kind == "float":
        return min(max(value, low), high)
    return int(low) + opening.step * round((value - low) / opening.step)
