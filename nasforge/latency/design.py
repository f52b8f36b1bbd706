"""Which networks to measure: those after which the times of all others would be known best. No latency is looked at.

Greedy: each next network is the one whose measurement would lower the summed variance of all predictions most. The variances
of a Gaussian process do not depend on the times measured, so the whole order is known beforehand.
Source: Cohn, Ghahramani & Jordan 1996 (average variance as the criterion).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def covering(rows: np.ndarray, noise: float, wanted: int, usable: Callable[[int], bool] = lambda _: True) -> list[int]:
    """The numbers of `wanted` rows (n, f), best first; of two equally good ones the earlier.

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
