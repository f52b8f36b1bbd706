"""Blocks for small devices: depthwise separable, inverted residual, shuffle and shift units."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from nasforge.blocks.base import Combinator
from nasforge.blocks.core.activation import Act
from nasforge.blocks.core.conv import SamePad, needed, padded_as, separable
from nasforge.blocks.core.norm import NormKind
from nasforge.blocks.core.shapes import Make, Node, Shape, need_rank


def depthwise_separable(
    out: int | None = None, kernel: int = 3, stride: int = 1, dilation: int = 1, norm: NormKind = "batch", act: Act = "relu",
    pad: SamePad = "same",
) -> list:  # fmt: skip
    """Depthwise, norm, activation, 1x1, norm, activation. Source: Howard et al. 2017 (MobileNet), figure 3."""
    return separable(out, kernel, stride, dilation, True, norm, act, pad)


def mbconv(
    out: int | None = None,
    expand: float = 6,
    kernel: int = 3,
    stride: int = 1,
    se: float = 0.0,
    act: Act = "swish",
    norm: NormKind = "batch",
    divisor: int = 1,
    se_of: Literal["input", "expanded"] = "input",
    se_act: Act | None = None,
    se_gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid",
    se_divisor: int = 1,
    dilation: int = 1,
    pad: SamePad = "same",
) -> list:
    """1x1 to `expand` times the channels (left out where that is 1), depthwise, squeeze-excite, linear 1x1; added where the shape stays.

    `se`: its width as a share of the block's input, or of the expanded maps (MobileNetV3). `divisor` rounds the expanded width.
    `pad`: of the depthwise convolution; `tf` is what weights of TensorFlow were trained with.
    Source: Sandler et al. 2018, table 1; Tan & Le 2019, table 1; Howard et al. 2019, section 5.
    """
    if expand <= 0:
        raise ValueError(f"expand must be above 0, got {expand}")
    body: list[Node] = [] if expand == 1 else [{"conv": {"expand": expand, "divisor": divisor, "kernel": 1, "norm": norm, "act": act}}]
    spatial: dict[str, Any] = {"kernel": kernel, "stride": stride, "dilation": dilation, "groups": "depthwise", **padded_as(pad)}
    body.append({"conv": {**spatial, "norm": norm, "act": act}})
    if se:
        ratio = se / expand if se_of == "input" else se
        body.append({"se": {"ratio": ratio, "divisor": se_divisor, "act": se_act or act, "gate": se_gate}})
    body.append({"conv": {"out": needed(out, "mbconv"), "kernel": 1, "norm": norm, "act": "none"}})
    return [{"residual": {"body": body, "shortcut": "match"}}]


def inverted_residual(
    out: int | None = None, expand: float = 6, kernel: int = 3, stride: int = 1, act: Act = "relu6", norm: NormKind = "batch",
    pad: SamePad = "same",
) -> list:  # fmt: skip
    """The block of MobileNetV2: `mbconv` without squeeze-excite, with ReLU6. Source: Sandler et al. 2018, table 1."""
    return mbconv(out, expand, kernel, stride, act=act, norm=norm, pad=pad)


def csc(
    out: int | None = None, expand: float = 2, kernel: int = 3, stride: int = 1, dilation: int = 1,
    of: Literal["input", "output"] = "output", norm: NormKind = "batch", act: Act = "relu", shortcut: Node = "auto",
) -> list:  # fmt: skip
    """1x1, shift, 1x1 and a shortcut: the width between is `expand` times that of the output or the input.

    Source: Wu et al. 2018 (Shift), figure 4.
    """
    width = {"expand": expand} if of == "input" else {"out": int(expand * needed(out, "csc"))}
    body = [
        {"conv": {**width, "kernel": 1, "norm": norm, "act": act}},
        {"shift": {"kernel": kernel, "dilation": dilation}},
        {"conv": {"out": needed(out, "csc"), "kernel": 1, "stride": stride, "norm": norm, "act": "none"}},
    ]
    return [{"residual": {"body": body, "shortcut": shortcut, "act": act}}]


def xception_block(
    out: int | None = None, depth: int = 2, kernel: int = 3, stride: int = 1, act_first: bool = True,
    grow: Literal["first", "second", "last"] = "first", norm: NormKind = "batch", act: Act = "relu", aligned: bool = False,
) -> list:  # fmt: skip
    """`depth` times activation and separable convolution, a max pool where there is a stride, and a shortcut.

    The width changes at the first, second or last convolution. `aligned`: a norm after each depthwise convolution, and the stride on the
    last of them in place of a pool. Sources: Chollet 2017, figure 5; Chen et al. 2018 (DeepLab v3+), figure 4.
    """
    body: list[Node] = []
    changes = {"first": 0, "second": 1, "last": depth - 1}[grow]
    for i in range(depth):
        width = out if i >= changes else None
        body += [{"act": {"kind": act}}] if i or act_first else []
        if aligned:
            spatial = {"kernel": kernel, "stride": stride if i == depth - 1 else 1, "groups": "depthwise"}
            body += [{"conv": {**spatial, "norm": norm, "act": "none"}}, {"conv": {"out": width, "kernel": 1, "norm": norm, "act": "none"}}]
        else:
            body += separable(width, kernel, norm=norm, act="none")
    pool = [{"pool": {"kernel": 3, "stride": stride, "pad": 1}}] if stride > 1 and not aligned else []
    return [{"residual": {"body": body + pool}}]


class ShuffleUnitV1(Combinator):
    """Grouped 1x1 to out * ratio, shuffle, depthwise 3x3, grouped 1x1; added to the input.

    With a stride or more channels it is concatenated to the input, average pooled where there is a stride. `group_first` false (first
    unit of a network): the first 1x1 is not grouped.
    Source: Zhang et al. 2018 (ShuffleNet), figure 2 (b) and (c).
    """

    @classmethod
    def build(
        cls, make: Make, shapes: tuple[Shape, ...], out: int | None = None, groups: int = 3, stride: int = 1, ratio: float = 0.25,
        group_first: bool = True, act: Act = "relu",
    ) -> nn.Module:  # fmt: skip
        shape = shapes[0]
        need_rank(shape, (3,), "shuffle_unit_v1")
        width = shape[0] if out is None else out
        added = width if stride == 1 and width == shape[0] else width - shape[0]  # what the branch itself gives
        if added < 1:
            found = f"{shape[0]} -> {width} channels, stride {stride}"
            raise ValueError(f"a shuffle unit keeps its width with stride 1 or grows, got {found}")
        mid = int(width * ratio)
        branch: list[Node] = [
            {"conv": {"out": mid, "kernel": 1, "groups": groups if group_first else 1, "act": act}},
            {"shuffle": {"groups": groups}},
            {"conv": {"kernel": 3, "stride": stride, "groups": "depthwise", "act": "none"}},
            {"conv": {"out": added, "kernel": 1, "groups": groups, "act": "none"}},
        ]
        if added == width:
            return make({"residual": {"body": branch, "act": act}}, shape, "unit")[0]
        kept = [{"pool": {"kind": "avg", "kernel": 3, "stride": stride}}] if stride > 1 else []
        return make([{"parallel": {"branches": [kept, branch]}}, {"act": {"kind": act}}], shape, "unit")[0]


class ShuffleUnitV2(Combinator):
    """1x1, depthwise 3x3, 1x1 on one half of the channels, the other half unchanged; concatenated and shuffled.

    With a stride or a new width both read all channels, and the other one is depthwise 3x3, 1x1. `se`: ratio of a squeeze-excite at the
    end of the branch; `residual`: where the branch keeps its shape it is added to what it read.
    Source: Ma et al. 2018 (ShuffleNet V2), figure 3 (c) and (d); with se and residual appendix figure 2.
    """

    @classmethod
    def build(
        cls, make: Make, shapes: tuple[Shape, ...], out: int | None = None, stride: int = 1, kernel: int = 3, act: Act = "relu",
        se: float = 0.0, residual: bool = False,
    ) -> nn.Module:  # fmt: skip
        shape = shapes[0]
        need_rank(shape, (3,), "shuffle_unit_v2")
        width = shape[0] if out is None else out
        if width % 2 or width < 2:
            raise ValueError(f"a shuffle unit needs an even width, got {width}")
        apart = stride == 1 and width == shape[0]
        point = {"conv": {"out": width // 2, "kernel": 1, "act": act}}
        depth = {"conv": {"kernel": kernel, "stride": stride, "groups": "depthwise", "act": "none"}}
        body: list[Node] = [point, depth, point, *([{"se": {"ratio": se}}] if se else [])]
        branches: list[Node] = [[] if apart else [depth, point], body]
        if apart and residual:
            last = [{"conv": {**point["conv"], "act": "none"}}, *body[3:]]  # the sum is activated
            branches[1] = [{"residual": {"body": [point, depth, *last], "act": act}}]
        joined = {"parallel": {"branches": branches, "split": apart}}
        return make([joined, {"shuffle": {"groups": 2}}], shape, "unit")[0]


BLOCKS = {
    "shuffle_unit_v1": ShuffleUnitV1, "shuffle_unit_v2": ShuffleUnitV2, "depthwise_separable": depthwise_separable, "mbconv": mbconv,
    "inverted_residual": inverted_residual, "csc": csc, "xception_block": xception_block,
}  # fmt: skip
