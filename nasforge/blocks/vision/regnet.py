"""RegNet: a few numbers give the width and the depth of every stage."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Literal, NamedTuple

from torch import nn

from nasforge.blocks.base import Combinator
from nasforge.blocks.core.activation import Act
from nasforge.blocks.core.norm import NormKind
from nasforge.blocks.core.shapes import Make, Node, Shape, channels, divisible, need_rank

QUANTUM = 8  # widths are multiples of it
DEEPEST = 2000  # blocks


class StageNumbers(NamedTuple):
    """One stage: its width, its number of blocks, the width of its groups."""

    width: int
    depth: int
    group_width: int


def regnet_stages(
    depth: int, w_0: float, w_a: float, w_m: float, group_width: int, ratio: float = 1.0, halves: str = "up"
) -> list[StageNumbers]:
    """Return the stages of a RegNet: widths w_0 + w_a j of its blocks, snapped to w_0 w_m^k, then to multiples of 8 and of the group width.

    `halves`: a width in the middle of two multiples of the group width goes up (torchvision), or to the even multiple (pycls).
    Source: Radosavovic et al. 2020, equations 2 to 4.
    """
    if not 1 <= depth <= DEEPEST or w_0 < 1 or w_a < 0 or w_m <= 1 or group_width < 1 or ratio <= 0:
        found = f"depth={depth}, w_0={w_0}, w_a={w_a}, w_m={w_m}, group_width={group_width}, ratio={ratio}"
        raise ValueError(f"a RegNet needs a depth from 1 on, w_0 >= 1, w_a >= 0, w_m > 1, group_width >= 1 and ratio > 0, got {found}")
    steps = [round(math.log((w_0 + w_a * j) / w_0) / math.log(w_m)) for j in range(depth)]
    widths = [max(QUANTUM, round(w_0 * w_m**step / QUANTUM) * QUANTUM) for step in steps]
    return [_fitted(width, len(list(blocks)), group_width, ratio, halves) for width, blocks in groupby(widths)]


def _fitted(width: int, depth: int, group_width: int, ratio: float, halves: str) -> StageNumbers:
    """Return the stage with its inner width a multiple of its group width."""
    inner = max(1, int(width * ratio))
    group = min(group_width, inner)
    fitting = max(group, round(inner / group) * group) if halves == "even" else divisible(inner, group)
    return StageNumbers(int(fitting / ratio), depth, group)


class RegNetBlock(Combinator):
    """1x1 to out * ratio channels, grouped 3x3, squeeze-excite, 1x1 to out, and a shortcut.

    Groups are `group_width` wide; the width of squeeze-excite is `se` times that of the block's input.
    Source: Radosavovic et al. 2020, figure 4; `se`: section 5.
    """

    @classmethod
    def build(
        cls, make: Make, shapes: tuple[Shape, ...], out: int | None = None, stride: int = 1, group_width: int = 8, ratio: float = 1.0,
        se: float = 0.0, norm: NormKind = "batch", act: Act = "relu",
    ) -> nn.Module:  # fmt: skip
        shape = shapes[0]
        need_rank(shape, (3,), "regnet_block")
        width = channels(shape) if out is None else out
        inner = round(width * ratio)
        if inner < 1 or group_width < 1 or inner % group_width:
            found = f"out={width}, ratio={ratio}, group_width={group_width}"
            raise ValueError(f"regnet_block needs out * ratio to be a multiple of group_width, got {found}")
        rest = {"norm": norm, "act": act}
        body: list[Node] = [
            {"conv": {"out": inner, "kernel": 1, **rest}},
            {"conv": {"out": inner, "kernel": 3, "stride": stride, "groups": inner // group_width, **rest}},
        ]
        if se:
            body.append({"se": {"width": max(1, round(se * channels(shape))), "act": act}})
        body.append({"conv": {"out": width, "kernel": 1, "norm": norm, "act": "none"}})
        return make({"residual_unit": {"body": body, "norm": norm, "act": act}}, shape, "block")[0]


def regnet(
    depth: int,
    w_0: int,
    w_a: float,
    w_m: float,
    group_width: int,
    se: float = 0.0,
    ratio: float = 1.0,
    first_stride: int = 2,
    halves: Literal["up", "even"] = "up",
    norm: NormKind = "batch",
    act: Act = "relu",
) -> list:
    """The stages that `regnet_stages` gives, each with stride 2 (the first with `first_stride`).

    `depth`: blocks in all; block j is about w_0 + w_a j wide; w_m: the ratio of the widths of one stage and the next.
    With `se` the network is a RegNetY. Source: Radosavovic et al. 2020, equations 2 to 4.
    """
    extra = {name: value for name, value, default in (("ratio", ratio, 1), ("se", se, 0)) if value != default}
    kinds = {name: value for name, value, default in (("norm", norm, "batch"), ("act", act, "relu")) if value != default}
    made = []
    for i, numbers in enumerate(regnet_stages(depth, w_0, w_a, w_m, group_width, ratio, halves)):
        block = {"regnet_block": {"group_width": numbers.group_width, **extra, **kinds}}
        stride = first_stride if i == 0 else 2
        made.append({"stage": {"block": block, "out": numbers.width, "depth": numbers.depth, "stride": stride}})
    return made


BLOCKS = {"regnet_block": RegNetBlock, "regnet": regnet}
