"""Which networks of a space to measure for a profile: those that tell most about the blocks of all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasforge.latency.design import covering
from nasforge.latency.fit import AMOUNTS, RATES, expected, label_columns
from nasforge.latency.units import amounts, units_of
from nasforge.spaces.arch import Arch

# Rates of a middling processor, ms: one core at some 50 G multiply-adds and 10 GB a second. They only weigh blocks against each other.
MIDDLING = dict(zip(RATES, (0.05, 0.01, 2e-8, 5e-8, 1e-7), strict=True))
EXACT, KIND, RATE = 1e-2, 1e-2, 1.0  # variances expected of blocks, kinds and rates
NOISE = 0.05


def pick(archs: Sequence[Arch], wanted: int) -> list[int]:
    """The places of the networks to measure, most telling first. No latency is needed to know them."""
    networks = [units_of(arch) for arch in archs]
    mean, (exact, kinds), _ = expected(networks, MIDDLING, label_columns(networks))
    work = np.array([np.sum([n * np.array(amounts(block)) for block, n in units.items()], 0) for units in networks])
    work *= np.array([MIDDLING[name] for name in AMOUNTS])
    rows = np.concatenate([np.sqrt(RATE) * work, np.sqrt(EXACT) * exact, np.sqrt(KIND) * kinds], 1) / mean[:, None]
    return covering(rows, NOISE, wanted)
