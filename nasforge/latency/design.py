"""Which networks to measure: those after which the times of all others would be known best. No latency is looked at.

`covering` chooses by any features; `pick` chooses networks of a space for a profile, those that tell most about the blocks of all others.

Greedy: each next network is the one whose measurement would lower the summed variance of all predictions most. The variances
of a Gaussian process do not depend on the times measured, so the whole order is known beforehand.
Source: Cohn, Ghahramani & Jordan 1996 (average variance as the criterion).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nasforge.latency.fit import AMOUNTS, RATES, expected, label_columns
from nasforge.latency.units import amounts, units_of
from nasforge.spaces.arch import Arch

# Rates of a middling processor, ms: one core at some 50 G multiply-adds and 10 GB a second. They only weigh blocks against each other.
MIDDLING = dict(zip(RATES, (0.05, 0.01, 2e-8, 5e-8, 1e-7), strict=True))
EXACT, KIND, RATE = 1e-2, 1e-2, 1.0  # variances expected of blocks, kinds and rates
NOISE = 0.05


def covering(rows: np.ndarray, noise: float, wanted: int, usable: Callable[[int], bool] = lambda _: True) -> list[int]:
    """Return the numbers of `wanted` rows (n, f), best first; of two equally good ones the earlier.

    rows: features scaled so that a network's variance is its row's squared length, and its noise is `noise`. usable: whether a network,
    once asked for, can be measured (it may not compile); a failure teaches nothing and is passed over.
    """
    covariance = rows @ rows.T
    left = np.ones(len(rows), bool)
    chosen: list[int] = []
    while len(chosen) < wanted and left.any():
        variances = np.diag(covariance)
        gains = np.where(left, (covariance**2).mean(0) / (variances + noise**2), -1.0)
        best = int(gains.argmax())
        left[best] = False
        if usable(best):
            chosen.append(best)
            covariance = covariance - np.outer(covariance[:, best], covariance[best]) / (variances[best] + noise**2)
    return chosen


def pick(archs: Sequence[Arch], wanted: int) -> list[int]:
    """Return the places of the networks to measure, most telling first. No latency is needed to know them."""
    networks = [units_of(arch) for arch in archs]
    mean, (exact, kinds), _ = expected(networks, MIDDLING, label_columns(networks))
    work = np.array([np.sum([n * np.array(amounts(block)) for block, n in units.items()], 0) for units in networks])
    work *= np.array([MIDDLING[name] for name in AMOUNTS])
    rows = np.concatenate([np.sqrt(RATE) * work, np.sqrt(EXACT) * exact, np.sqrt(KIND) * kinds], 1) / mean[:, None]
    return covering(rows, NOISE, wanted)
