"""Models of a target by rows of numbers: each gives the mean and the spread of its belief."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from sklearn.ensemble import ExtraTreesRegressor

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
LEAST_SPREAD = 1e-3  # of standardised targets
LEAST_ERROR = 0.02  # of a cost told by a linear model, as a power of ten
MOST_FITTED = 120  # targets on which the weights of a Gaussian process are fitted
SLOPE = 0.7  # of a standardised target by the mean of its hints, as it is expected
DOUBT_OF_SLOPE = 0.4  # how far that of each hint may be from its share
LEFT = 0.5  # variance of a standardised target that no hint tells


@dataclass(frozen=True)
class Belief:
    """What a model holds of each row."""

    mean: Vector
    spread: Vector


# ---------------------------------------------------------------- Gaussian process


@dataclass(frozen=True)
class Weights:
    """Logarithms of how much a distance in each group of columns counts, and of the noise."""

    groups: Vector
    noise: float


def distances(a: Sequence[Matrix], b: Sequence[Matrix]) -> NDArray[np.float64]:
    """(groups, rows of a, rows of b): squared distances in each group of columns."""
    out = [(x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T for x, y in zip(a, b, strict=True)]
    return np.maximum(np.array(out), 0.0)


def matern(squares: NDArray[np.float64], weights: Weights) -> Matrix:
    """Matérn 3/2 of the weighted distance. Source: Rasmussen & Williams 2006, equation 4.17."""
    r = np.sqrt(3 * np.tensordot(np.exp(weights.groups), squares, 1))
    return (1 + r) * np.exp(-r)


class Process:
    """A Gaussian process on standardised targets, about a plane through their hints of which the slopes are learned too.

    Source: Rasmussen & Williams 2006, section 2.7.
    """

    def __init__(self, groups: Sequence[Matrix], targets: Vector, hints: Matrix, weights: Weights, extra: Vector | None = None) -> None:
        """extra: variance of each target beyond the noise."""
        self.groups, self.hints, self.weights = groups, hints, weights
        kernel = matern(distances(groups, groups), weights) + line(hints, hints)
        kernel[np.diag_indices(len(targets))] += math.exp(weights.noise) + (0.0 if extra is None else extra) + 1e-6
        self.lower = cholesky(kernel, lower=True)
        left = targets - expected(hints)
        self.middle = float(left.mean())
        self.half = solve_triangular(self.lower, left - self.middle, lower=True)
        self.variance = max(float(self.half @ self.half) / len(targets), 1e-6)

    def believe(self, groups: Sequence[Matrix], hints: Matrix) -> Belief:
        """Return the belief about rows."""
        kernel = matern(distances(self.groups, groups), self.weights) + line(self.hints, hints)
        across = solve_triangular(self.lower, kernel, lower=True)
        own = 1 + DOUBT_OF_SLOPE**2 * (hints**2).sum(axis=1)
        left = np.maximum(own - (across**2).sum(0), LEAST_SPREAD**2)
        return Belief(self.middle + expected(hints) + across.T @ self.half, np.sqrt(left * self.variance))


def line(a: Matrix, b: Matrix) -> Matrix:
    """(a, b): the covariance of lines through hints, beyond the slopes that are expected."""
    out: Matrix = DOUBT_OF_SLOPE**2 * a @ b.T
    return out


def expected(hints: Matrix) -> Vector:
    """(rows,): targets by hints alone."""
    out: Vector = SLOPE * hints.mean(axis=1)
    return out


def slopes(hints: Matrix, targets: Vector) -> Vector:
    """(hints,): the likely slopes of targets: those expected, corrected by what was seen."""
    far, prior = hints - hints.mean(axis=0), 1 / DOUBT_OF_SLOPE**2
    out: Vector = np.linalg.solve(prior * np.eye(far.shape[1]) + far.T @ far / LEFT, prior * SLOPE / far.shape[1] + far.T @ targets / LEFT)
    return out


def fit_weights(groups: Sequence[Matrix], targets: Vector, hints: Matrix) -> Weights:
    """Return the most likely weights under broad beliefs about them, searched one at a time."""
    squares, targets, known = distances(groups, groups), targets - expected(hints), line(hints, hints)
    point = np.array([-1.0] * len(groups) + [-3.0])
    best = _surprise(point, squares, targets, known)
    for step in (1.5, 1.0, 0.5):
        for i in range(len(point)):
            for sign in (step, -step):
                other = point.copy()
                other[i] = np.clip(other[i] + sign, -7.0, 3.0)
                value = _surprise(other, squares, targets, known)
                if value < best:
                    point, best = other, value
                    break
    return Weights(point[:-1], float(point[-1]))


def _surprise(point: Vector, squares: NDArray[np.float64], targets: Vector, known: Matrix) -> float:
    """The negative logarithm of how likely the targets are, the variance at its best, with that of the weights."""
    count = len(targets)
    kernel = matern(squares, Weights(point[:-1], 0.0)) + known
    kernel[np.diag_indices(count)] += math.exp(point[-1]) + 1e-6
    try:
        lower = cholesky(kernel, lower=True)
    except LinAlgError:
        return math.inf
    half = solve_triangular(lower, targets - targets.mean(), lower=True)
    unlikely = ((point[:-1] + 1) ** 2).sum() / 8 + (point[-1] + 3) ** 2 / 8
    return float(0.5 * count * math.log(max(half @ half / count, 1e-12)) + np.log(np.diag(lower)).sum() + unlikely)


# ---------------------------------------------------------------- trees


class Trees:
    """Extremely randomised trees of what a plane through hints leaves; the spread is that among them. Source: Geurts et al. 2006."""

    def __init__(self, rows: Matrix, targets: Vector, hints: Matrix, seed: int, count: int = 40) -> None:
        self.slopes = slopes(hints, targets)
        left = targets - hints @ self.slopes
        self.forest = ExtraTreesRegressor(count, max_features=0.3, random_state=seed).fit(rows.astype(np.float32), left)

    def believe(self, rows: Matrix, hints: Matrix) -> Belief:
        """Return the belief about rows."""
        some = rows.astype(np.float32)
        each = np.array([tree.tree_.predict(some).ravel() for tree in self.forest.estimators_])
        return Belief(each.mean(axis=0) + hints @ self.slopes, each.std(axis=0) + LEAST_SPREAD)


# ---------------------------------------------------------------- costs


class Ridge:
    """A linear model of a known cost's logarithm: nearly exact, for a first look at many networks."""

    def __init__(self, rows: Matrix, targets: Vector, penalty: float = 1e-2) -> None:
        self.middle, self.center = float(targets.mean()), rows.mean(axis=0)
        self.rows = rows - self.center
        kernel = self.rows @ self.rows.T
        self.dual = np.linalg.solve(kernel + penalty * np.eye(len(targets)), targets - self.middle)
        left = targets - self.middle - kernel @ self.dual
        self.spread = float(left.std()) + LEAST_ERROR

    def believe(self, rows: Matrix) -> Belief:
        """Return the belief about rows."""
        return Belief(self.middle + (rows - self.center) @ (self.rows.T @ self.dual), np.full(len(rows), self.spread))
