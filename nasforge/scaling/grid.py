"""The small grid search for the coefficients of compound scaling.

Source: Tan & Le 2019, section 3.3, step 1: phi = 1, twice the resources, alpha * beta^2 * gamma^2 about 2 with all of them at least 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean

from nasforge.errors import UserError
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.scaling.compound import Coefficients, Meter, scale
from nasforge.spaces.arch import Arch

MOST_POINTS = 100_000  # points of a grid before any is left out
LOOSE = 0.5  # share by which the rule may miss the target where a real cost decides: rounding adds much to a small network


@dataclass
class Point:
    """One set of coefficients: what the member of phi = 1 costs, and how it did. cost: by the budget, as a multiple of the base."""

    coefficients: Coefficients
    arch: Arch = field(repr=False)
    params: int
    macs: int
    cost: float
    score: float = 0.0
    loss: float = float("inf")


def coefficient_grid(step: float = 0.1, target: float = 2.0, tolerance: float = 0.1) -> list[Coefficients]:
    """All (alpha, beta, gamma) >= 1 in steps with alpha * beta^2 * gamma^2 within a share `tolerance` of the target."""
    if not 0.01 <= step <= 1:
        raise UserError(f"grid.step: must be from .01 to 1, got {step!r}")
    if not target > 1 or not 0 < tolerance < 1:
        raise UserError(f"grid: needs a target above 1 and a tolerance between 0 and 1, got {target!r} and {tolerance!r}")
    high = target * (1 + tolerance)
    depths, sides = (int((top - 1) / step + 1e-9) + 1 for top in (high, high**0.5))
    if depths * sides**2 > MOST_POINTS:
        raise UserError(f"grid.step: {step:g} gives {depths * sides**2:,} points, more than {MOST_POINTS:,}; take a larger step")
    points = [Coefficients(*(round(1 + i * step, 6) for i in (a, b, c))) for a in range(depths) for b in range(sides) for c in range(sides)]
    return [point for point in points if abs(point.product - target) <= tolerance * target + 1e-9]


def candidates(
    arch: Arch, step: float = 0.1, target: float = 2.0, tolerance: float = 0.1, meter: Meter | None = None, divisor: int = 8
) -> list[Point]:
    """Return the members to try, one for each function: coefficients that round to one network stand once, the smallest product first.

    Without a meter the rule decides; with one, its real cost must be within the tolerance of `target` times that of the architecture.
    """
    grid = coefficient_grid(step, target, tolerance if meter is None else LOOSE)
    measure = meter or (lambda one: float(count(one).macs))
    base, found = measure(arch), {}
    for coefficients in sorted(grid, key=lambda c: c.product):
        made = scale(arch, 1.0, *coefficients, divisor=divisor)
        if key(made) in found:
            continue
        ratio = measure(made) / base
        if meter is None or abs(ratio - target) <= tolerance * target:
            cost = count(made)
            found[key(made)] = Point(coefficients, made, cost.params, cost.macs, ratio)
    if not found:
        raise UserError(f"grid: no coefficients cost {target:g} times as much within {tolerance:.0%}; take a smaller --step, a smaller "
                        "--divisor or another --budget")  # fmt: skip
    return list(found.values())


def search_grid(points: Sequence[Point], judge: Callable[[Arch, int], tuple[float, float]], seeds: Sequence[int] = (0,)) -> Point:
    """Return the point with the best mean score over the seeds, of equally good ones that of lower loss; each point is told its own.

    judge: (validation score, the larger the better, and validation loss) of an architecture trained with a seed.
    """
    for point in points:
        scores = [judge(point.arch, seed) for seed in seeds]
        point.score, point.loss = (mean(values) for values in zip(*scores, strict=True))
    return min(points, key=lambda p: (-p.score, p.loss))
