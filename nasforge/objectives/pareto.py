"""Several objectives at once: who dominates whom, the front, the volume below a reference point. Smaller is better throughout."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from operator import le, lt


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Return whether losses `a` are nowhere worse than `b` and somewhere better."""
    return all(map(le, a, b)) and any(map(lt, a, b))


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the points (losses) that no other dominates; of equal points the first."""
    kept = Front()
    return sorted(i for point, i in sorted((tuple(p), i) for i, p in enumerate(points)) if kept.join(point))


class Front:
    """The points (losses) seen so far that no other dominates, each once. In a plane a look-up costs the logarithm of their number."""

    def __init__(self) -> None:
        self.points: list[tuple[float, ...]] = []  # in order: in a plane the second loss falls where the first one rises

    def join(self, point: tuple[float, ...]) -> bool:
        """Return whether a point belongs to the front; those that it dominates are removed then."""
        if len(point) > 2:
            if any(dominates(p, point) or p == point for p in self.points):
                return False
            self.points = [*(p for p in self.points if not dominates(point, p)), point]
            return True
        place = bisect_right(self.points, point)
        if place and self.points[place - 1][-1] <= point[-1]:
            return False
        end = place
        while end < len(self.points) and self.points[end][-1] >= point[-1]:
            end += 1
        self.points[place:end] = [point]
        return True


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the volume of what the points (losses) dominate below the reference.

    Source: Zitzler & Thiele 1999, by slicing.
    """
    inside = [tuple(p) for p in points if all(x < r for x, r in zip(p, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(p[0] for p in inside)
    if len(reference) == 2:
        widest: dict[float, float] = {}  # by the second loss, from below: the least first loss that is reached with it
        for x, y in sorted(inside, key=lambda p: p[1]):
            widest[y] = min(x, next(reversed(widest.values()), x))
        return sum((high - low) * (reference[0] - widest[low]) for low, high in pairwise([*widest, reference[1]]))
    edges = [*sorted({p[-1] for p in inside}), reference[-1]]
    return sum((high - low) * hypervolume([p[:-1] for p in inside if p[-1] <= low], reference[:-1]) for low, high in pairwise(edges))
