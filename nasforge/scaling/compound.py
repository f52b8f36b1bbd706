"""Compound scaling: one number for depth, width and resolution; and the largest member of a family within limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from nasforge.errors import UserError, nearest
from nasforge.networks.cost import count
from nasforge.scaling.grow import check_factors, grow
from nasforge.spaces.arch import Arch

Member = Callable[[float], Arch]  # a family: its member by one number
Meter = Callable[[Arch], float]  # a cost of an architecture

LIMITS = ("params", "macs", "weight_bytes", "peak_bytes", "activation_bytes", "memory_bytes")
ALIASES = {"memory": "memory_bytes"}
STEP = 100  # phi is found in hundredths
FARTHEST = 32  # |phi| beyond which `fit` does not look


class Coefficients(NamedTuple):
    """Bases of compound scaling: depth alpha, width beta, resolution gamma. Source: Tan & Le 2019, section 3.3, step 1."""

    depth: float = 1.2
    width: float = 1.1
    resolution: float = 1.15

    @property
    def product(self) -> float:
        """alpha * beta^2 * gamma^2, about the factor by which the multiply-adds grow with each phi."""
        return self.depth * self.width**2 * self.resolution**2


PAPER = Coefficients()  # those of EfficientNet


def scale(arch: Arch, phi: float = 1.0, depth: float = 1.2, width: float = 1.1, resolution: float = 1.15, divisor: int = 8) -> Arch:
    """Return the architecture with stages depth^phi as deep, maps width^phi as many and the input resolution^phi as large.

    What grows, and how it is rounded, stands at `grow`. With phi 1 the numbers are explicit factors: the published EfficientNet-B1 is
    depth 1.1, width 1, resolution 240/224.
    Source: Tan & Le 2019, equation 3 (depth 1.2, width 1.1, resolution 1.15 from their grid search); rounding as in their code.
    """
    check_factors("scale", depth=depth, width=width, resolution=resolution)
    if not math.isfinite(phi):
        raise UserError(f"scale.phi: must be a number, got {phi!r}")
    return named(grow(arch, depth**phi, width**phi, resolution**phi, divisor=divisor), arch, f"phi{phi:g}")


def named(grown: Arch, arch: Arch, what: str) -> Arch:
    """Return the architecture under the name of its origin and what was done to it."""
    return {**grown, "name": f"{arch['name']}_{what}"} if "name" in arch else grown


def fit(
    arch: Arch, limit: Mapping[str, float], depth: float = 1.2, width: float = 1.1, resolution: float = 1.15, divisor: int = 8, *,
    meters: Mapping[str, Meter] | None = None,
) -> Arch:  # fmt: skip
    """The largest of the architecture's family (phi in hundredths) within every limit: LIMITS, or what `meters` tell, latency_ms say.

    Raises UserError where not even the smallest of the family fits.
    """
    return largest(lambda phi: scale(arch, phi, depth, width, resolution, divisor), limit, meters)


def largest(member: Member, limit: Mapping[str, float], meters: Mapping[str, Meter] | None = None) -> Arch:
    """Return the largest member (phi in hundredths) within every limit. The cheap limits are asked first."""
    own = dict(meters or {})
    bounds = {ALIASES.get(name, name): bound for name, bound in limit.items()}
    unknown = [name for name in bounds if name not in (*LIMITS, *own)]
    if unknown or not bounds:
        hint = nearest(unknown[0] if unknown else "", (*LIMITS, *ALIASES, *own))
        raise UserError(f"limit: takes bounds like {{params: 2.0e6}}, got {dict(limit)!r}; {hint}")

    def fits(step: int) -> bool:
        arch = member(step / STEP)
        return all(cost_of(arch, name) <= bound for name, bound in bounds.items() if name not in own) and all(
            own[name](arch) <= bound for name, bound in bounds.items() if name in own
        )

    low, high = _bracket(fits)
    while high - low > 1 and member(low / STEP) != member(high / STEP):  # low fits, high does not
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return member(low / STEP)


def cost_of(arch: Arch, metric: str) -> float:
    """A cost of LIMITS. memory_bytes: the weights and the most bytes of feature maps alive at once in inference."""
    cost = count(arch)
    return cost.weight_bytes + cost.peak_bytes if metric == "memory_bytes" else float(getattr(cost, metric))


def _bracket(fits: Callable[[int], bool]) -> tuple[int, int]:
    """A step that fits and a larger one that does not."""
    grows = fits(0)
    near, reach = 0, STEP // 4
    while abs(reach) <= FARTHEST * STEP:
        far = reach if grows else -reach
        if fits(far) != grows:
            return (near, far) if grows else (far, near)
        near, reach = far, 2 * reach
    if grows:
        raise UserError(f"limit: even phi {near / STEP:g} is within it; the limit is too high to bound the family")
    raise UserError(f"limit: not even phi {near / STEP:g} is within it; raise the limit or begin with a smaller architecture")
