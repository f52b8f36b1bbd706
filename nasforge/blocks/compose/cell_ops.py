"""Operations on the edges of found cells: activation first, norm last, so that sums are of normalised maps."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, cat, nn

from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.core.activation import Act, activation
from nasforge.blocks.core.conv import separable
from nasforge.blocks.core.norm import NormKind, normalization
from nasforge.blocks.core.shapes import Make, Node, Shape, channels, need_rank


class FactorizedReduction(Layer):
    """Every `stride`-th position through one 1x1 convolution and the positions one further right and down through another, concatenated.

    Shapes: (C, H, W) -> (out, H', W'). Beyond the lower right edge stand zeros; an odd `out` has one more map in the second half.
    Source: Zoph et al. 2018, reference code (factorized_reduction); Liu et al. 2019 (DARTS), reference code.
    """

    def __init__(self, shape: Shape, out: int | None = None, stride: int = 2, norm: NormKind = "batch", act: Act = "relu") -> None:
        super().__init__()
        need_rank(shape, (3,), "factorized_reduction")
        width = shape[0] if out is None else out
        if width < 2 or stride < 2:
            raise ValueError(f"factorized_reduction needs at least two maps and a stride from 2 on, got out={width}, stride={stride}")
        self.act = activation(act)
        self.here = nn.Conv2d(shape[0], width // 2, 1, stride, bias=False)
        self.beside = nn.Conv2d(shape[0], width - width // 2, 1, stride, bias=False)
        self.norm = normalization(norm, (width, *shape[1:]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        shifted = nn.functional.pad(x, [0, 1, 0, 1])[:, :, 1:, 1:]
        return self.norm(cat([self.here(x), self.beside(shifted)], 1))


class ReducedConv(Combinator):
    """Activation, 1x1 to `ratio` of the width, k x k, 1x1 back, each after an activation and before a norm.

    `factorized`: 1 x k and k x 1 in place of k x k. Source: Real et al. 2019 (AmoebaNet), reference code (1x7_7x1 and 3x3).
    """

    @classmethod
    def build(
        cls,
        make: Make,
        shapes: tuple[Shape, ...],
        out: int | None = None,
        kernel: int = 3,
        stride: int = 1,
        ratio: float = 0.25,
        factorized: bool = False,
        norm: NormKind = "batch",
        act: Act = "relu",
        pad: Literal["same", "tf"] = "same",
    ) -> nn.Module:
        shape = shapes[0]
        need_rank(shape, (3,), "reduced_conv")
        width = channels(shape) if out is None else out
        mid = int(width * ratio)
        rest = {"norm": norm, "act": act}
        around = {**rest, "pad": pad}
        spatial: list[Node] = [{"conv": {"out": mid, "kernel": kernel, "stride": stride, **around}}]
        if factorized:
            spatial = [
                {"conv": {"out": mid, "kernel": [1, kernel], "stride": [1, stride], **around}},
                {"conv": {"out": mid, "kernel": [kernel, 1], "stride": [stride, 1], **around}},
            ]
        first = {"conv": {"out": mid, "kernel": 1, **rest}}
        last = {"conv": {"out": width, "kernel": 1, "norm": norm, "act": "none"}}
        return make([{"act": {"kind": act}}, first, *spatial, last], shape, "conv")[0]


def sep_conv(
    out: int | None = None, kernel: int = 3, stride: int = 1, dilation: int = 1, depth: int = 2, norm: NormKind = "batch",
    act: Act = "relu", pad: Literal["same", "tf"] = "same",
) -> list:  # fmt: skip
    """`depth` times activation, depthwise k x k, 1x1 and norm; the first has the stride. Depth 1 with dilation 2: `dil_conv` of DARTS.

    Source: Zoph et al. 2018, section 4 (twice for each separable operation); Liu et al. 2019 (DARTS), section 3.1.1.
    """
    if depth < 1:
        raise ValueError(f"depth must be a whole number >= 1, got {depth}")
    made: list[Node] = []
    for i in range(depth):
        made += [{"act": {"kind": act}}, *separable(out, kernel, stride if i == 0 else 1, dilation, norm=norm, act="none", pad=pad)]
    return made


def act_conv(
    out: int | None = None,
    kernel: int = 1,
    stride: int = 1,
    norm: NormKind = "batch",
    act: Act = "relu",
    pad: Literal["same", "tf"] = "same",
) -> list:
    """Activation, convolution, norm: a plain convolution on an edge of a cell. Source: Zoph et al. 2018, section 4."""
    return [{"act": {"kind": act}}, {"conv": {"out": out, "kernel": kernel, "stride": stride, "norm": norm, "act": "none", "pad": pad}}]


BLOCKS = {"factorized_reduction": FactorizedReduction, "reduced_conv": ReducedConv, "sep_conv": sep_conv, "act_conv": act_conv}
