"""Whether a space has networks within its limits at all: the smallest or largest is looked for on paper, before anything is trained."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from nasforge.blocks import BLOCKS
from nasforge.data import Dataset
from nasforge.errors import UserError
from nasforge.evaluation.train import fit_to_data
from nasforge.networks.cost import count
from nasforge.objectives.metrics import Known, metric
from nasforge.objectives.objective import Limit, limits_of
from nasforge.search.default_space import default_space
from nasforge.search.plan import Plan
from nasforge.search.screening import Predict
from nasforge.spaces.arch import Arch
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.files import find_space, read, space_names
from nasforge.spaces.space import Choices, Chooser, Space

DRAWN = 4  # random points that are looked at first, besides the lowest or highest
MOST_LOOKS = 600  # at networks, for a limit; then nothing is refused
FEW_LOOKS = 40  # at each of the other spaces
OTHERS_S = 1.0  # of the processor, for all of them together
MOST_S = 6.0  # of the processor, for a limit
FAR = 10.0  # times that the first point of another space may miss the limit, to be looked at
OF_SPACE = "of the space"
MOST_VALUES = 12  # of a domain that are tried


def extreme(space: Space, limit: Limit, predict: Mapping[str, Predict], looks: int = MOST_LOOKS, drawn: int = DRAWN) -> tuple[float, bool]:
    """Return the value of a limit's metric that was found in a space, lowest for an upper limit, highest for a lower one, and whether it
    settles the matter.

    It does where it keeps the limit, or is the extreme; it does not where that takes more looks.

    From the best of a few points (`drawn` at random, and the lowest or highest) one domain is changed at a time, while that helps. Costs
    are nearly sums over blocks: a network that no single change makes smaller is the smallest, and likewise the largest.

    Raises:
        UserError: no network that was drawn can be built.
    """
    until = time.process_time() + MOST_S
    reason, sign, outermost = "", 1 if limit.upper else -1, lowest if limit.upper else highest

    def look(draw: Chooser) -> tuple[float, Choices, list[Domain]]:
        nonlocal reason, looks
        looks -= 1
        asked: list[Domain] = []

        def ask(domain: Domain) -> Scalar:
            asked.append(domain)
            return draw(domain)

        arch, made = space.draw(ask)
        try:
            check_arch(arch, BLOCKS)
            return sign * _cost(arch, limit, predict), made, asked
        except UserError as error:
            reason = str(error)
            return math.inf, made, asked

    best, choices, asked = min((look(one) for one in (outermost, *map(random_chooser, map(Random, range(drawn))))), key=lambda p: p[0])
    if best == math.inf:
        raise UserError(f"the space: no network drawn can be built; {reason}")
    improved = True
    while improved and limit.excess(sign * best) > 0:
        improved = False
        for domain in asked:
            for value in _values(domain)[::sign]:
                if looks <= 0 or time.process_time() > until:
                    return sign * best, False
                if choices.get(domain.name, value) != value:
                    other = look(replay({**choices, domain.name: value}, outermost))
                    if other[0] < best:
                        (best, choices, _), improved = other, True
        asked = look(replay(choices, outermost))[2]
    return sign * best, True


def lowest(domain: Domain) -> Scalar:
    """The first option, or the lowest number: a chooser."""
    return domain.options[0] if domain.kind == "choose" else domain.low if domain.kind == "float" else int(domain.low)


def highest(domain: Domain) -> Scalar:
    """The last option, or the highest number: a chooser."""
    return domain.options[-1] if domain.kind == "choose" else domain.high if domain.kind == "float" else _values(domain)[-1]


def _values(domain: Domain) -> list[Scalar]:
    if domain.kind == "choose":
        return list(domain.options[:MOST_VALUES])
    if domain.kind == "float":
        return [domain.low, domain.high]
    values = range(int(domain.low), int(domain.high) + 1, domain.step)
    return [values[0], values[len(values) // 2], values[-1]]


def _cost(arch: Arch, limit: Limit, predict: Mapping[str, Predict]) -> float:
    base, _, device = limit.metric.partition("@")
    return predict[device](arch).high_ms if base == "latency_ms" else float(getattr(count(arch), base))


def origin(limit: Limit, space: Mapping[str, Any]) -> str:
    """Return, in words, who set a limit."""
    own = limit in limits_of(space.get("constraints"))
    return OF_SPACE if own else "--constraint"


def check_within(plan: Plan, data: Dataset, predict: Mapping[str, Predict]) -> None:
    """Raise UserError, within seconds, where no network of the space keeps a limit on costs; with the packaged spaces that have some.

    Limits that are only together too tight are found by the search itself.
    """
    told = (Known.PAPER, Known.PREDICTED)  # before anything runs
    limits = [x for x in plan.limits if metric(x.metric).known in told]
    space = Space(plan.space)
    for limit in limits:
        found, settled = extreme(space, limit, predict)
        if settled and limit.excess(found) > 0:
            which, sign = ("smallest", "<=") if limit.upper else ("largest", ">=")
            whose = origin(limit, plan.space)
            other = f"give another with --constraint '{limit.metric}{sign}...', or lift it with --constraint none"
            remedy = other if whose == OF_SPACE else "relax it"
            others = ", ".join(_that_fit(data, limits, predict))
            raise UserError(
                f"constraints: no network of the space keeps {limit} ({whose}), the {which} has {found:,.6g}; "
                f"{remedy}, or take another space" + (f": {others} have networks within the limits" if others else "")
            )


def _that_fit(data: Dataset, limits: Sequence[Limit], predict: Mapping[str, Predict]) -> list[str]:
    """The packaged spaces for such data that have networks within the limits, as far as a few looks in OTHERS_S tell."""
    out, until = [], time.process_time() + OTHERS_S
    try:
        usual = default_space(data.spec, data.name)
    except UserError:
        usual = ""
    for name in sorted(space_names(), key=lambda name: name != usual):
        if time.process_time() > until:
            break
        raw = read(find_space(name))
        if not _alike(raw["input"], data.spec.input):
            continue
        try:
            space = Space(fit_to_data(raw, data))
            if all(_has(space, limit, predict) for limit in limits):
                out.append(name)
        except UserError:
            continue
    return out


def _has(space: Space, limit: Limit, predict: Mapping[str, Predict]) -> bool:
    """Whether a space has networks within a limit, as far as a few looks tell."""
    first, _ = extreme(space, limit, predict, looks=1, drawn=0)
    near = first <= FAR * limit.bound if limit.upper else FAR * first >= limit.bound
    return near and limit.excess(extreme(space, limit, predict, FEW_LOOKS, drawn=0)[0]) <= 0


def _alike(one: Any, other: Any) -> bool:
    """Whether two inputs are both images, both rows, both sequences: plain shapes of one length."""
    return isinstance(one, list | tuple) and all(isinstance(n, int) for n in (*one, *other)) and len(one) == len(other)
