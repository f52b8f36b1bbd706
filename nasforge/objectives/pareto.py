"""Several objectives at once: who dominates whom, the front, the volume below a reference point. Smaller is better throughout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Return whether losses `a` are nowhere worse than `b` and somewhere better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the points (losses) that no other dominates; of equal points the first."""
    out = []
    for i, p in enumerate(points):
        if not any(dominates(q, p) or (j < i and tuple(q) == tuple(p)) for j, q in enumerate(points)):
            out.append(i)
    return out


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the volume of what the points (losses) dominate below the reference.

    Source: Zitzler & Thiele 1999, by slicing.
    """
    inside = [tuple(p) for p in points if all(x < r for x, r in zip(p, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(p[0] for p in inside)
    edges = [*sorted({p[-1] for p in inside}), reference[-1]]
    return sum((high - low) * hypervolume([p[:-1] for p in inside if p[-1] <= low], reference[:-1]) for low, high in pairwise(edges))
