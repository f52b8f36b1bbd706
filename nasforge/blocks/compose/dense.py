"""Dense blocks, whose layers read everything before them, and dual paths, which are dense and residual at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nasforge.blocks.base import Combinator
from nasforge.blocks.core.activation import Act
from nasforge.blocks.core.norm import NormKind
from nasforge.blocks.core.shapes import Make, Node, Shape, need_rank, run


def dense_layer(growth: int = 32, bottleneck: int = 4, dropout: float = 0.0, norm: NormKind = "batch", act: Act = "relu") -> list:
    """`growth` new channels: norm, activation, 1x1 to bottleneck * growth; norm, activation, 3x3. With bottleneck 0 only the 3x3.

    Source: Huang et al. 2017, section 3 (DenseNet-B).
    """
    rest = {"norm": norm, "act": act, "preact": True, "bias": False}
    narrow = [{"conv": {"out": bottleneck * growth, "kernel": 1, **rest}}] if bottleneck else []
    return [*narrow, {"conv": {"out": growth, "kernel": 3, **rest}}, *([{"dropout": {"p": dropout}}] if dropout else [])]


def dense_block(
    growth: int = 32, depth: int = 4, bottleneck: int = 4, dropout: float = 0.0, norm: NormKind = "batch", act: Act = "relu"
) -> list:
    """`depth` dense layers, each reading all before it: channels grow by depth * growth. Source: Huang et al. 2017, equation 2."""
    return [{"dense": {"layers": [dense_layer(growth, bottleneck, dropout, norm, act)] * depth}}]


def transition(compression: float = 0.5, norm: NormKind = "batch", act: Act = "relu") -> list:
    """Norm, activation, 1x1 convolution to `compression` of the channels, 2x2 average pool. Source: Huang et al. 2017, section 3."""
    narrow = {"expand": compression, "kernel": 1, "norm": norm, "act": act, "preact": True, "bias": False}
    return [{"conv": narrow}, {"pool": {"kind": "avg", "kernel": 2}}]


class Dual(Combinator):
    """Channels in two parts: the first `width` get the body's first channels added, the others its rest appended.

    With s = shortcut(x) (x itself without one) and y = body(x): [s_a + y_a, s_b, y_b]. Source: Chen et al. 2017 (DPN), figure 2 (e).
    """

    reads = "all"
    free = True

    def __init__(self, body: nn.Module, width: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.width, self.shortcut = body, width, shortcut

    @classmethod
    def build(cls, make: Make, shapes: tuple[Shape, ...], body: Node, width: int, shortcut: Node = None) -> Dual:
        shape = shapes[0]
        need_rank(shape, (3,), "dual")
        inner, after = make(body, shape, "body")
        skip, kept = make(shortcut, shape, "shortcut")
        if after[1:] != kept[1:] or not 0 < width <= min(after[0], kept[0]):
            raise ValueError(f"body and shortcut must have one size and at least {width} channels, got {tuple(after)} and {tuple(kept)}")
        return cls(inner, width, skip)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [{"dual": {**args, **{name: canon(args[name]) for name in ("body", "shortcut") if name in args}}}]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        old, new = run(self.shortcut, x, context), run(self.body, x, context)
        return torch.cat([old[:, : self.width] + new[:, : self.width], old[:, self.width :], new[:, self.width :]], 1)


def dual_path(
    width: int, growth: int, mid: int, groups: int = 32, stride: int = 1, first: bool = False, norm: NormKind = "batch", act: Act = "relu"
) -> list:
    """1x1 to `mid`, grouped 3x3, 1x1 to width + growth, each after norm and activation; `width` channels are added, `growth` appended.

    `first` of a stage: the input is projected to width + 2 * growth channels. Source: Chen et al. 2017 (DPN), table 1 and section 4.
    """
    rest = {"norm": norm, "act": act, "preact": True, "bias": False}
    body = [
        {"conv": {"out": mid, "kernel": 1, **rest}},
        {"conv": {"out": mid, "kernel": 3, "stride": stride, "groups": groups, **rest}},
        {"conv": {"out": width + growth, "kernel": 1, **rest}},
    ]
    start = {"conv": {"out": width + 2 * growth, "kernel": 1, "stride": stride, **rest}}
    return [{"dual": {"body": body, "width": width, **({"shortcut": [start]} if first else {})}}]


BLOCKS = {"dual": Dual, "dense_layer": dense_layer, "dense_block": dense_block, "transition": transition, "dual_path": dual_path}
