"""What the trials of a search say about its objectives: the numbers that models learn, of stopped and failed trainings too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasforge.objectives.objective import Losses
from nasforge.strategies.predictor.cases import Case

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
LEAST_PAIRS = 4  # finished curves from which the end of a stopped one is told
DOUBT = 0.3  # variance of a standardised target that was told from a part of its curve
SHARPNESS = 0.05  # of the warp: the share of the usual distance to the best at which distances stop to count on a log scale
FAR = 2.0  # times the usual distance to the best, beyond which a loss counts no worse


@dataclass(frozen=True)
class Evidence:
    """Cases with a verdict. points: scaled losses, (cases, objectives); doubt: variance of a standardised target beyond the noise."""

    cases: Sequence[Case]
    points: Matrix
    doubt: Vector

    @property
    def finished(self) -> Matrix:
        """The points of all that was trained to the end, in earlier searches too."""
        return self.points[[c.final is not None for c in self.cases]]

    @property
    def reached(self) -> Matrix:
        """The points that this search has reached within its limits."""
        return self.points[[c.final is not None and c.own and c.within for c in self.cases]]


def evidence(cases: Sequence[Case]) -> Evidence:
    """Return what cases that teach something say, as far as they say it.

    A stopped training is told from the finished ones at its last epoch, a failed one counts as the worst that finished.
    """
    done = [c for c in cases if c.final is not None]
    worst = tuple(max(column) for column in zip(*(c.final or () for c in done), strict=True))
    lines = {epochs: _line(epochs, done) for epochs in sorted({len(c.rungs) for c in cases if c.stopped})}
    kept, points = [], []
    for case in cases:
        found = case.final if case.final is not None else worst or None
        if case.stopped:
            found = _end(case.rungs[-1], lines[len(case.rungs)], worst)
        if found is not None:
            kept.append(case)
            points.append(found)
    doubt = np.array([0.0 if c.final is not None else DOUBT for c in kept])
    return Evidence(kept, np.array(points, dtype=float).reshape(len(kept), len(points[0]) if points else 1), doubt)


def _line(epochs: int, done: Sequence[Case]) -> Matrix | None:
    """(4, objectives): from losses after so many epochs to the last ones: slope, two means, and the middle of the last ones."""
    pairs = np.array([(c.rungs[epochs - 1], c.final) for c in done if len(c.rungs) >= epochs])
    pairs = pairs[np.isfinite(pairs).all(axis=(1, 2))] if len(pairs) else pairs
    if len(pairs) < LEAST_PAIRS:
        return None
    early, late = pairs[:, 0], pairs[:, 1]
    across = ((early - early.mean(0)) * (late - late.mean(0))).sum(0)
    slope = np.clip(across / np.maximum(((early - early.mean(0)) ** 2).sum(0), 1e-12), 0.0, 1.0)
    return np.stack([slope, early.mean(0), late.mean(0), np.median(late, axis=0)])


def _end(now: Losses, line: Matrix | None, worst: Losses) -> Losses | None:
    """Where a curve that was stopped would have ended; None where too few tell.

    With one objective no better than most, for it was stopped for being bad.
    """
    if line is None:
        return None
    if not np.isfinite(now).all():
        return worst
    slope, early, late, middle = line
    end = late + slope * (np.array(now) - early)
    return tuple(np.maximum(end, middle) if len(now) == 1 else end)


# ---------------------------------------------------------------- targets


@dataclass(frozen=True)
class Target:
    """What a model learns of an objective: larger is better. A scaled loss is `middle - spread * target`, where it is not warped."""

    values: Vector
    middle: float
    spread: float
    warp: Callable[[Vector], Vector]

    def at(self, losses: Vector) -> Vector:
        """Return the targets of scaled losses."""
        return (self.middle - self.warp(losses)) / self.spread


def target(points: Vector, warp: Callable[[Vector], Vector]) -> Target:
    """Losses, warped, as targets with mean 0 and spread 1."""
    losses = warp(points)
    middle, spread = float(losses.mean()), max(float(losses.std()), 1e-9)
    return Target((middle - losses) / spread, middle, spread, warp)


def targets(points: Matrix) -> list[Target]:
    """Return the target of each objective.

    The only one is the logarithm of the distance to the best: a model sees the best most finely. Of several, those far worse than usual
    are brought near.
    """
    best = points.min(axis=0)
    usual = np.maximum(np.median(points, axis=0) - best, 1e-9)
    if points.shape[1] == 1:
        return [target(points[:, 0], lambda losses: np.log(SHARPNESS + np.maximum(losses - best[0], 0) / usual[0]))]
    most = best + (1 + FAR) * usual
    return [target(column, lambda losses, m=m: np.minimum(losses, m)) for column, m in zip(points.T, most, strict=True)]
