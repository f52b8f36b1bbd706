"""Trials from best to worst: by their loss, or by fronts and the room around them where there are several objectives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasforge.objectives.objective import Objective, scaled
from nasforge.strategies.base import History, Trial

FEW = 64  # trials that a look at the best ones begins with
Points = NDArray[np.float64]  # (trials, objectives), smaller is better


def ranked(trials: Sequence[Trial], objectives: Sequence[Objective], points: Points | None = None) -> Iterator[Trial]:
    """Finished trials, best first; front by front, and in a front those with most room around them first.

    points: the losses of the trials, where they are at hand as an array.
    """
    return chain.from_iterable(ranks(trials, objectives, points))


def ranks(trials: Sequence[Trial], objectives: Sequence[Objective], points: Points | None = None) -> Iterator[list[Trial]]:
    """Yield the same by rank: with one objective each trial has its own, with several a front shares one."""
    if len(objectives) == 1:
        yield from ([t] for t in sorted(trials, key=lambda t: t.losses or ()))
        return
    if points is None or not len(trials):
        points = np.array([t.losses for t in trials], dtype=float).reshape(len(trials), len(objectives))
    for members in fronts(points):
        some = [trials[i] for i in members]
        yield [some[int(i)] for i in np.argsort(-crowding(scale(some, objectives)), kind="stable")]


def leading(history: History) -> Iterator[list[Trial]]:
    """Yield the `ranks` of all finished trials; the first of them cost hardly more among many trials than among few."""
    size, groups, told = FEW, 0, 0
    while told < len(history.finished):
        trials, points = history.leaders(size)
        reached = 0
        for group, peers in enumerate(ranks(trials, history.problem.objectives, points)):
            if reached >= size:  # from here on only some of a rank are among the leaders
                break
            reached += len(peers)
            if group >= groups:
                yield peers
                groups, told = group + 1, told + len(peers)
        size *= 4


def fronts(points: Points) -> Iterator[list[int]]:
    """The indices of points by non-dominated fronts, best first; of equal points one a front. Source: Deb et al. 2002, section III-A."""
    order = np.lexsort(points.T[::-1])  # no point is dominated by a later one
    left = points[order]
    while len(left):
        chosen = _planar(left[:, 1]) if left.shape[1] == 2 else _front(left)
        yield order[chosen].tolist()
        left, order = np.delete(left, chosen, axis=0), np.delete(order, chosen)


def _planar(heights: Points) -> list[int]:
    """From left to right, the points that are lower than all before them."""
    lowest = np.minimum.accumulate(heights)
    return [0, *(1 + np.flatnonzero(heights[1:] < lowest[:-1])).tolist()]


def _front(points: Points) -> list[int]:
    """The first front of points in order."""
    open_ = np.ones(len(points), dtype=bool)
    chosen: list[int] = []
    while open_.any():
        first = int(open_.argmax())
        chosen.append(first)
        open_ &= ~(points >= points[first]).all(axis=1)
    return chosen


def crowding(points: Points) -> Points:
    """How far apart the neighbours of each point of one front are, summed over objectives. Source: Deb et al. 2002, section III-B."""
    out = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        values = column[order]
        reach = values[-1] - values[0]
        out[order[[0, -1]]] = np.inf
        if reach > 0:
            out[order[1:-1]] += (values[2:] - values[:-2]) / reach
    return out


def scale(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Points:
    """Return the losses of finished trials, costs and errors as powers of ten."""
    rows: list[Any] = []
    for trial in trials:
        values = {o.metric: -x if o.maximize else x for o, x in zip(objectives, trial.losses or (), strict=True)}
        rows.append(scaled(values, objectives))
    return np.array(rows, dtype=float).reshape(len(trials), len(objectives))
