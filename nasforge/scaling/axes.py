"""Growth along one axis, for comparison with compound scaling: deeper only, wider only, finer only, more groups, a steeper pyramid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

from nasforge.blocks import BLOCKS
from nasforge.blocks.core.shapes import Tokens
from nasforge.errors import UserError, nearest
from nasforge.networks.build import input_shapes
from nasforge.scaling.compound import PAPER, Coefficients, Member, Meter, named, scale
from nasforge.scaling.grow import GRADED, PATHS, blocks_in, check_factors, grow, holds
from nasforge.spaces.arch import SECTIONS, Arch, chain

AXES: Mapping[str, str] = {  # axis -> the argument of `grow`
    "depth": "depth",  # more blocks, as ResNet-50 to 152
    "width": "width",  # more maps: the k of wide residual networks, Zagoruyko & Komodakis 2016
    "resolution": "resolution",
    "cardinality": "cardinality",  # more paths: the C of ResNeXt, Xie et al. 2017
    "pyramid": "steepness",  # more maps towards the end: the alpha of PyramidNet, Han et al. 2017
}
FARTHEST = 10  # factors are looked for between 2^-10 and 2^10
ROUNDS = 12  # of halving an interval of 1 in the exponent
MIXED = 8  # lines of which the best mixture of two depths is sought


def along(arch: Arch, axis: str, factor: float, divisor: int = 8) -> Arch:
    """Return the architecture grown by a factor on one axis. Raises UserError for an unknown axis, or one that the architecture has not."""
    _check_axis(arch, axis)
    check_factors("scale", factor=factor)
    return named(grow(arch, **{AXES[axis]: factor}, divisor=divisor), arch, f"{axis}{factor:.4g}")


def matched(arch: Arch, axis: str, target: float, meter: Meter, divisor: int = 8) -> Arch:
    """Return the architecture grown on one axis until its cost is as near to `target` as it comes.

    Depths and widths grow in whole blocks and maps, so some stages may be those of the next larger member, some of the next smaller one.
    Raises UserError where the axis cannot bring the cost there.
    """
    _check_axis(arch, axis)
    low, high = nearest_two(lambda factor: along(arch, axis, factor, divisor), target, meter, axis)
    return _nearest(low, high, target, meter)


def matched_compound(arch: Arch, target: float, meter: Meter, coefficients: Coefficients = PAPER, divisor: int = 8) -> Arch:
    """Return the compound member whose cost is as near to `target` as it comes, its stages rounded up or down where two members differ."""
    low, high = nearest_two(
        lambda factor: scale(arch, math.log2(factor), *coefficients, divisor=divisor), target, meter, "compound scaling"
    )
    return _nearest(low, high, target, meter)


def _nearest(low: Arch, high: Arch, target: float, meter: Meter) -> Arch:
    """The one of two members and their mixtures whose cost is nearest to the target, by ratio."""
    best, least = low, math.inf
    for one in (low, high, *between(low, high)):
        try:
            apart = abs(math.log(max(1e-9, meter(one)) / target))
        except UserError:  # some mixtures cannot be built: heads of one and widths of the other, say
            continue
        if apart < least:
            best, least = one, apart
    return best


def nearest_two(member: Member, target: float, meter: Meter, what: str) -> tuple[Arch, Arch]:
    """Return the members (by a factor above 0) whose costs are next below and next above the target."""
    if not target > 0:
        raise UserError(f"scale: the cost to reach must be above 0, got {target!r}")
    up = meter(member(1.0)) <= target
    near, far = 0.0, 0.0
    while (meter(member(2.0**far)) <= target) == up:
        near, far = far, far + (1.0 if up else -1.0)
        if abs(far) > FARTHEST or (abs(far) > 4 and member(2.0**far) == member(2.0**near)):
            raise UserError(f"scale: {what} alone does not bring the cost to {target:g}; take another axis or another --phi")
    low, high = (near, far) if up else (far, near)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if meter(member(2.0**middle)) <= target else (low, middle)
    return member(2.0**low), member(2.0**high)


def between(low: Arch, high: Arch) -> list[Arch]:
    """Return all mixtures of two members, by the lines (and the input) in which they differ; none where these are many."""
    places = [(s, i) for s in SECTIONS for i, (a, b) in enumerate(zip(chain(low.get(s)), chain(high.get(s)), strict=True)) if a != b]
    if len(places) > MIXED:
        return []
    mixtures = []
    sizes = [low["input"]] + [high["input"]] * (high["input"] != low["input"])
    for size, *taken in product(sizes, *[(False, True)] * len(places)):
        lines = {section: chain(low[section])[:] for section in SECTIONS if section in low}
        for (section, i), other in zip(places, taken, strict=True):
            if other:
                lines[section][i] = chain(high[section])[i]
        mixtures.append({**low, **lines, "input": size})
    return mixtures


def _check_axis(arch: Arch, axis: str) -> None:
    """Raise UserError for an axis that is unknown, or along which nothing in the architecture grows."""
    if axis not in AXES:
        raise UserError(f"scale.axis: there is no axis {axis!r}; {nearest(axis, AXES)}")
    if axis == "pyramid" and not holds(arch, "pyramid"):
        raise UserError("scale.axis: pyramid grows the alpha of `pyramid` blocks, and this architecture has none; take width")
    if axis == "cardinality" and not any(_paths(name, args) for s in SECTIONS for name, args in blocks_in(arch.get(s))):
        kinds = ", ".join((*PATHS, *GRADED))
        raise UserError(f"scale.axis: cardinality grows the groups of {kinds}, and this architecture has none with several; take width")
    if axis == "resolution" and not any(not isinstance(shape, Tokens) and len(shape) >= 3 for shape in input_shapes(arch).values()):
        raise UserError(f"scale.axis: resolution grows images, and the input is {arch.get('input')}; take depth or width")


def _paths(name: str, args: Mapping[str, Any]) -> bool:
    return name in (*PATHS, *GRADED) and int(args.get("groups", BLOCKS[name].params["groups"].default)) > 1
