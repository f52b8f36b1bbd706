"""How much a network is worth trying: how far it is expected to better what is known, for one objective or several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nasforge.strategies.predictor.models import Belief

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
DRAWS = 32  # from the beliefs, of several objectives
REST = 0.05  # share of the sum of all objectives in a scalarisation
ALONE = 0.25  # share of scalarisations by one objective
SOFT = 0.01  # improvement below this differs little from none: keeps an order among the hopeless


def improvement(belief: Belief, best: float) -> Vector:
    """Return the expected improvement beyond the best target, larger is better. Source: Jones et al. 1998, equation 15."""
    z = (belief.mean - best) / belief.spread
    return belief.spread * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


def directions(count: int, trained: Sequence[int], rng: np.random.Generator) -> Vector:
    """Random weights of objectives that add up to 1; at times one of those that only training tells alone.

    What is known on paper is found at once, and would draw most asks to its end of the front.
    """
    if trained and rng.random() < ALONE:
        return np.eye(count)[rng.choice(trained)]
    weights = rng.exponential(size=count)
    return weights / weights.sum()


def scalar(points: Matrix, weights: Vector) -> Vector:
    """(..., objectives) -> (...): the augmented Chebyshev distance from the ideal. Source: Knowles 2006 (ParEGO), equation 2."""
    weighted = points * weights
    return weighted.max(axis=-1) + REST * weighted.sum(axis=-1)


def scalar_improvement(beliefs: Sequence[Belief], known: Matrix, weights: Vector, rng: np.random.Generator) -> Vector:
    """Return the expected improvement of the scalarisation, from draws.

    beliefs: about each objective, scaled so that the front lies between 0 and 1, smaller is better. known: points of finished trials.
    """
    best = float(scalar(known, weights).min())
    means, spreads = (np.stack([getattr(b, name) for b in beliefs], axis=-1) for name in ("mean", "spread"))
    draws = means + spreads * rng.standard_normal((DRAWS, 1, len(beliefs)))
    return SOFT * np.logaddexp(0.0, (best - scalar(draws, weights)) / SOFT).mean(axis=0)


def feasibility(belief: Belief, bound: float, upper: bool) -> Vector:
    """Return how likely a limit is kept. Source: Gardner et al. 2014, equation 6."""
    return ndtr((bound - belief.mean if upper else belief.mean - bound) / belief.spread)
