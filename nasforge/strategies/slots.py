"""Values of domains as slots: the options of a choice, and ranges cut into parts, so that every domain is a small table."""

from __future__ import annotations

import math
from random import Random

from nasforge.spaces.domains import Domain, Scalar

SLOTS = 8  # parts that a wide range is cut into


def slots(domain: Domain) -> int:
    """Return how many values, or parts of a wide range, a policy tells apart."""
    return int(domain.size()) if domain.kind == "choose" or domain.size() <= 2 * SLOTS else SLOTS


def slot_of(domain: Domain, value: Scalar) -> int:
    """Return the slot in which a value lies."""
    if domain.kind == "choose":
        return next(i for i, o in enumerate(domain.options) if type(o) is type(value) and o == value)
    assert isinstance(value, int | float)
    if slots(domain) == domain.size():
        return round((value - domain.low) / domain.step)
    return min(SLOTS - 1, int(SLOTS * share_of(domain, value)))


def share_of(domain: Domain, value: float) -> float:
    """Where in the (log) range of its domain a number lies, from 0 to 1."""
    low, high = domain.low, domain.high
    if high == low:
        return 0.0
    return math.log(value / low) / math.log(high / low) if domain.log else (value - low) / (high - low)


def value_in(domain: Domain, slot: int, rng: Random) -> Scalar:
    """A value of a slot."""
    if domain.kind == "choose":
        return domain.options[slot]
    if slots(domain) == domain.size():
        return int(domain.low) + domain.step * slot
    low, high, share = domain.low, domain.high, (slot + rng.random()) / SLOTS
    value = low * (high / low) ** share if domain.log else low + share * (high - low)
    if domain.kind == "float":
        return min(max(value, low), high)
    return int(low) + domain.step * round((value - low) / domain.step)
