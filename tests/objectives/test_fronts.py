"""Fronts and volumes against their definitions, on points with many ties."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from nasforge.objectives.pareto import Front, dominates, front, hypervolume


def by_definition(points: list[tuple[float, ...]]) -> list[int]:
    return [
        i for i, p in enumerate(points) if not any(dominates(q, p) or (j < i and q == p) for j, q in enumerate(points))
    ]  # fmt: skip


def sliced(points: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    inside = [p for p in points if all(x < r for x, r in zip(p, reference, strict=True))]
    if not inside or len(reference) == 1:
        return reference[0] - min(p[0] for p in inside) if inside else 0.0
    edges = [*sorted({p[-1] for p in inside}), reference[-1]]
    return sum((high - low) * sliced([p[:-1] for p in inside if p[-1] <= low], reference[:-1]) for low, high in pairwise(edges))


@pytest.mark.parametrize("sides", [1, 2, 3])
def test_fronts_and_volumes_are_those_of_their_definitions(sides: int) -> None:
    rng = Random(sides)
    for size in (1, 2, 5, 30, 80):
        points = [tuple(rng.randrange(9) / 7 for _ in range(sides)) for _ in range(size)]
        assert front(points) == by_definition(points)
        kept = Front()
        for i, point in enumerate(points):
            kept.join(point)
            assert sorted(kept.points) == sorted(points[j] for j in by_definition(points[: i + 1]))
        reference = tuple(1.1 for _ in range(sides))
        assert hypervolume(points, reference) == sliced(points, reference)
