"""Blocks that go down and up again: hourglasses, and attention modules whose masks are learned that way."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from nasforge.blocks.base import Combinator
from nasforge.blocks.core.activation import Act
from nasforge.blocks.core.shapes import Make, Node, Shape, need_rank, run
from nasforge.blocks.vision.pyramids import resize


class SameSize(Combinator):
    """The output of a body, enlarged or shrunk to the height and width of its input. Shapes: (C, H, W) -> (out, H, W)."""

    reads = "all"
    free = True

    def __init__(self, body: nn.Module, kind: str, size: tuple[int, ...]) -> None:
        super().__init__()
        self.body, self.kind, self.size = body, kind, size

    @classmethod
    def build(cls, make: Make, shapes: tuple[Shape, ...], body: Node, kind: Literal["bilinear", "nearest"] = "bilinear") -> SameSize:
        shape = shapes[0]
        need_rank(shape, (3,), "same_size")
        inner, after = make(body, shape, "body")
        need_rank(after, (3,), "the body of same_size")
        return cls(inner, kind, tuple(shape[1:]))

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [{"same_size": {**args, "body": canon(args.get("body"))}}]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return resize(run(self.body, x, context), self.size, self.kind)


def mask_levels(unit: Node, levels: int) -> list:
    """Down and up again `levels` times: pool, unit, (one level deeper beside a unit, added), unit, enlarged.

    Source: Wang et al. 2017 (residual attention), figure 2, with r = 1.
    """
    if levels < 1:
        raise ValueError(f"levels must be at least 1, got {levels}")
    inner: list[Node] = [unit, unit]
    if levels > 1:
        inner = [unit, {"parallel": {"join": "add", "branches": [[unit], mask_levels(unit, levels - 1)]}}, unit]
    return [{"same_size": {"body": [{"pool": {"kind": "max", "kernel": 3, "stride": 2}}, *inner]}}]


def attention_module(unit: Node, levels: int = 1) -> list:
    """A unit, (1 + mask) * trunk, a unit: the trunk has two units, the mask goes down and up and ends in two 1x1 and a sigmoid.

    `unit` is a residual block that keeps the shape. Source: Wang et al. 2017, equation 3 and figure 2, with p = 1, t = 2, r = 1.
    """
    point = {"conv": {"kernel": 1, "preact": True, "bias": False}}
    mask = [*mask_levels(unit, levels), point, point, "sigmoid"]
    return [unit, {"masked": {"trunk": [unit, unit], "mask": mask}}, unit]


def hourglass(widths: list[int], depths: list[int], act: Act = "relu") -> list:
    """Down len(widths) - 1 times and up again, at each level beside blocks that keep the size: `depths` basic blocks of `widths` channels.

    Source: Newell et al. 2016, figure 3; Law & Deng 2018 (CornerNet), section 3.5 (blocks with a stride in place of pools).
    """
    if len(widths) < 2 or len(widths) != len(depths) or min(depths) < 1:
        raise ValueError(f"hourglass needs a width and a depth >= 1 for each of at least two levels, got {widths} and {depths}")
    (out, below), depth = widths[:2], depths[0]
    keep = {"stage": {"block": {"basic": {"act": act}}, "out": out, "depth": depth}}
    last = {"stage": {"block": {"basic": {"act": act}}, "out": below, "depth": depths[1]}}
    down = {"stage": {"block": {"basic": {"act": act}}, "out": below, "depth": depth, "stride": 2}}
    up = [*[{"basic": {"out": below, "act": act}}] * (depth - 1), {"basic": {"out": out, "act": act}}]
    inner = hourglass(widths[1:], depths[1:], act) if len(widths) > 2 else [last]
    return [{"parallel": {"join": "add", "branches": [[keep], [{"same_size": {"body": [down, *inner, *up], "kind": "nearest"}}]]}}]


class Masked(Combinator):
    """(1 + mask(x)) * trunk(x): attention that can dim nothing by itself. Source: Wang et al. 2017, equation 3."""

    reads = "all"
    free = True

    def __init__(self, trunk: nn.Module, mask: nn.Module) -> None:
        super().__init__()
        self.trunk, self.mask = trunk, mask

    @classmethod
    def build(cls, make: Make, shapes: tuple[Shape, ...], trunk: Node, mask: Node) -> Masked:
        shape = shapes[0]
        (body, after), (gate, end) = make(trunk, shape, "trunk"), make(mask, shape, "mask")
        if tuple(after) != tuple(end):
            raise ValueError(f"trunk and mask must end in one shape, got {tuple(after)} and {tuple(end)}")
        return cls(body, gate)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [{"masked": {name: canon(args.get(name)) for name in ("trunk", "mask")}}]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return (1 + run(self.mask, x, context)) * run(self.trunk, x, context)


BLOCKS = {"same_size": SameSize, "masked": Masked, "attention_module": attention_module, "hourglass": hourglass}
