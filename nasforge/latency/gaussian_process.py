"""Times of networks from a few measured ones: a Gaussian process whose mean and whose kinds of deviation are known beforehand.

A network's time is scale * (mean + sum of parts @ weights): `mean` is what was expected of it before anything was measured (its work at the
rates of a machine, its time on other devices), each part is a table of features that times may deviate along. How far they do along
each part, and the noise, are averaged over a grid by the likelihood of the measurements. The same code serves profiles of this
machine (profile.py) and tables of devices (transfer.py). Source: Rasmussen & Williams 2006, sections 2.2, 5.2 and 5.4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

NOISES = (0.02, 0.05, 0.1, 0.2)  # standard deviations of a measurement, as shares of an average time
DOUBT_ROUNDS = 4
DOUBTED = 4.0  # measurements that the others contradict by so many of their usual errors are given less weight ...
DOUBTED_LEAST = 0.3  # ... if by more than this share of an average time


@dataclass(frozen=True)
class Part:
    """Features of n networks (n, f), and how strongly times may deviate along them: variances to be tried."""

    rows: np.ndarray
    variances: tuple[float, ...]


@dataclass(frozen=True)
class Posterior:
    """What measurements say: the scale, the weights of each part's features, and what is needed for a prediction's spread.

    left_out: relative error of the prediction of each measured network by the others, and its expected spread.
    """

    scale: float
    weights: tuple[np.ndarray, ...]
    variances: tuple[float, ...]
    noise: float
    power: float
    rows: np.ndarray  # (n, all features), of measured networks, times the root of the variances
    inverse: np.ndarray  # (n, n)
    left_out: np.ndarray
    left_out_spread: np.ndarray

    def predict(self, mean: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Times of the networks with these means and rows of features."""
        total = mean.copy()
        for rows, weights in zip(parts, self.weights, strict=True):
            total += rows @ weights
        return self.scale * total

    def spread(self, mean: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Standard deviations of measured times around the predictions."""
        new = np.concatenate([np.sqrt(v) * rows for v, rows in zip(self.variances, parts, strict=True)], 1)
        shared = new @ self.rows.T
        variance = np.sum(new**2, 1) - np.einsum("ij,jk,ik->i", shared, self.inverse, shared)
        return self.scale * np.sqrt(np.maximum(variance, 0) + noise_variance(mean, self.noise, self.power))


def noise_variance(mean: np.ndarray, noise: float, power: float, least: float = 0.1) -> np.ndarray:
    """Variances of measurements: they grow with the time itself (power 1) or its square (power 2: a constant share)."""
    return noise**2 * np.maximum(mean, least) ** power


def condition(
    mean: np.ndarray,
    parts: Sequence[Part],
    times: np.ndarray,
    *,
    power: float,
    noises: Sequence[float] = NOISES,
    scale: float | None = None,
) -> Posterior:
    """Return the posterior after the times of n networks; their means must be about 1 on average.

    Measurements that all the others contradict (a phone that was busy) lose their weight step by step.
    """
    scale = scale or float(np.median(times / np.maximum(mean, 1e-3)))
    target = times / scale - mean
    kernels = [part.rows @ part.rows.T for part in parts]
    grid = list(product(*(part.variances for part in parts), noises))
    kernel_of = {point: sum((v * k for v, k in zip(point, kernels, strict=False)), np.zeros((len(times),) * 2)) for point in grid}
    doubt = np.ones(len(times))
    for _ in range(DOUBT_ROUNDS):
        shapes = noise_variance(mean, 1.0, power) * doubt
        fits = [_fit(kernel_of[point], point[-1] ** 2 * shapes, target) for point in grid]
        likelihoods = np.array([fit[0] for fit in fits])
        chances = np.exp(likelihoods - likelihoods.max())
        chances = chances / chances.sum()
        error = sum(c * fit[3] for c, fit in zip(chances, fits, strict=True))
        relative = np.abs(error) / np.sqrt(noise_variance(mean, 1.0, power))
        usual = 1.48 * float(np.median(relative))
        more = np.maximum(1.0, relative / max(DOUBTED * usual, DOUBTED_LEAST)) ** 4
        if (more <= doubt).all():
            break
        doubt = np.maximum(doubt, more)
    weights = tuple(
        sum(
            (c * point[i] * (part.rows.T @ fit[1]) for c, point, fit in zip(chances, grid, fits, strict=True)), np.zeros(part.rows.shape[1])
        )
        for i, part in enumerate(parts)
    )
    best = int(np.argmax(chances))
    _, _, inverse, left_out = fits[best]
    rows = np.concatenate([np.sqrt(v) * part.rows for v, part in zip(grid[best], parts, strict=False)], 1)
    return Posterior(scale, weights, grid[best][:-1], grid[best][-1], power, rows, inverse, left_out, 1 / np.sqrt(np.diag(inverse)))


def _fit(kernel: np.ndarray, noise: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Log likelihood, weights of the measurements, inverse covariance, and errors of each measurement predicted from the others."""
    covariance = kernel + np.diag(noise)
    inverse = np.linalg.inv(covariance)
    alpha = inverse @ target
    likelihood = -0.5 * float(target @ alpha) - 0.5 * float(np.linalg.slogdet(covariance)[1])
    return likelihood, alpha, inverse, alpha / np.diag(inverse)
