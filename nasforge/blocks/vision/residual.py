"""Residual blocks of the literature: one motif for each shape of body, with the orders of norm, activation and sum as an argument."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from nasforge.blocks.base import Combinator
from nasforge.blocks.compose.combine import Chain, Residual
from nasforge.blocks.core.activation import Act
from nasforge.blocks.core.conv import SamePad, needed, padded_as
from nasforge.blocks.core.norm import NormKind
from nasforge.blocks.core.shapes import Make, Node, Shape, channels

Ordering = Literal["original", "norm_after_add", "act_before_add", "act_only_preact", "preact", "pyramid"]


class ResidualUnit(Combinator):
    """A residual whose projection, where the shape changes, has the norm of its choice and reads what `before` gives.

    `before` (norm and activation of a pre-activated block) is part of the body where the shape stays, and shared by body and projection
    where it changes. Shortcuts without a projection (identity, pad, a block of your own) read the input itself.
    Source: He et al. 2016b, section 4 and its reference code.
    """

    residual, chain = Residual, Chain  # what it is made of

    @classmethod
    def build(
        cls,
        make: Make,
        shapes: tuple[Shape, ...],
        body: Node,
        before: Node = None,
        shortcut: Node = "auto",
        norm: NormKind = "none",
        act: Act = "none",
    ) -> nn.Module:
        shape = shapes[0]
        first, middle = make(before, shape, "before")
        inner, after = make(body, middle, "body")
        if shortcut == "projection" or (shortcut == "auto" and tuple(after) != tuple(shape)):
            residual = cls.residual.build(_built(inner, after, make), (middle,), body, _projection(middle, after, norm), act)
            return cls.chain([first, residual]) if before else residual
        whole = cls.chain([first, inner]) if before else inner
        return cls.residual.build(_built(whole, after, make), (shape,), body, shortcut, act)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        nodes: dict[str, Any] = {name: canon(args[name]) for name in ("body", "before") if name in args}
        if "shortcut" in args and not isinstance(args["shortcut"], str):
            nodes["shortcut"] = canon(args["shortcut"])
        return [{"residual_unit": {**args, **nodes}}]


def _built(body: nn.Module, after: Shape, make: Make) -> Make:
    """Return `make`, with the body made already."""
    return lambda node, shape, part: (body, after) if part == "body" else make(node, shape, part)


def _projection(before: Shape, after: Shape, norm: str) -> Node:
    if len(before) == 1:
        return {"linear": {"out": after[0]}}
    sizes = (before[:1], after[:1]) if len(before) == 2 else (before[1:], after[1:])
    stride = [-(-a // b) for a, b in zip(*sizes, strict=True)]
    return {"conv": {"out": channels(after), "kernel": 1, "stride": stride, "norm": norm, "act": "none", "bias": False}}


def _residual(
    convs: list[dict[str, Any]], ordering: str, norm: str, act: str, shortcut: Node, end: list[Node], between: list[Node] | None = None
) -> list[Node]:
    """Return the residual block of convolutions in one of the orders; `end` closes the body, `between` stands before its last convolution.

    Source of the orders: He et al. 2016b, figure 4; pyramid: Han et al. 2017, figure 6 (d).
    """
    normed, full = {"norm": norm, "act": "none"}, {"norm": norm, "act": act}
    bare: dict[str, Any] = {"norm": "none", "act": "none", **({} if norm == "none" else {"bias": False})}
    norm_node, act_node = {"norm": {"kind": norm}}, {"act": {"kind": act}}
    orders: dict[str, tuple[list[Node], dict[str, Any], str, list[Node]]] = {  # before, last convolution, after the sum, after that
        "original": ([], normed, act, []),
        "norm_after_add": ([], bare, "none", [norm_node, act_node]),
        "act_before_add": ([], full, "none", []),
        "act_only_preact": ([act_node], normed, "none", []),
        "preact": ([norm_node, act_node], bare, "none", []),
        "pyramid": ([norm_node], normed, "none", []),
    }
    before, last, outside, after = orders[ordering]
    body = [*({"conv": {**conv, **full}} for conv in convs[:-1]), *(between or []), {"conv": {**convs[-1], **last}}, *end]
    if not before and norm == "batch":  # what `residual` makes by itself
        return [{"residual": {"body": body, "shortcut": shortcut, "act": outside}}, *after]
    unit = {"body": body, "before": before, "shortcut": shortcut, "norm": "none" if before else norm, "act": outside}
    return [{"residual_unit": unit}, *after]


def _end(se: float, gate: Node) -> list[Node]:
    return ([{"se": {"ratio": se}}] if se else []) + ([gate] if gate else [])


def basic(
    out: int | None = None, stride: int = 1, kernel: int = 3, norm: NormKind = "batch", act: Act = "relu", shortcut: Node = "auto",
    se: float = 0.0, gate: Node = None, groups: int = 1, dilation: int = 1, dropout: float = 0.0, ordering: Ordering = "original",
    pad: SamePad = "same",
) -> list:  # fmt: skip
    """Two k x k convolutions and a shortcut. `se`: ratio of a squeeze-excite at the end; `gate`: any block there (cbam, eca, ...).

    Source: He et al. 2016, figure 5 left.
    """
    rest: dict[str, Any] = {"kernel": kernel, "groups": groups, "dilation": dilation, **padded_as(pad)}
    convs = [{"out": out, "stride": stride, **rest}, {"out": out, **rest}]
    return _residual(convs, ordering, norm, act, shortcut, _end(se, gate), [{"dropout": {"p": dropout}}] if dropout else [])


def bottleneck(
    out: int | None = None, stride: int = 1, ratio: float = 0.25, groups: int = 1, base_width: int = 64, kernel: int = 3,
    stride_on: Literal["3x3", "1x1"] = "3x3", norm: NormKind = "batch", act: Act = "relu", shortcut: Node = "auto",
    se: float = 0.0, gate: Node = None, dilation: int = 1, middle: Node = None, ordering: Ordering = "original",
    pad: SamePad = "same",
) -> list:  # fmt: skip
    """1x1 to out * ratio channels, k x k, 1x1 to out, and a shortcut.

    The width between is out * ratio * base_width / 64 for each group: groups 32 and base_width 4 is ResNeXt 32x4d, base_width 128
    a wide ResNet-2. `middle`: a block in place of the k x k convolution (`sk: {groups: 32}`); it gets the stride.
    Source: He et al. 2016, figure 5 right; Xie et al. 2017, figure 3 (c).
    """
    out = needed(out, "bottleneck")
    mid = int(out * ratio * base_width / 64) * groups
    first, second = (1, stride) if stride_on == "3x3" else (stride, 1)
    center: dict[str, Any] = {"out": mid, "kernel": kernel, "stride": second, "groups": groups, "dilation": dilation, **padded_as(pad)}
    convs = [{"out": mid, "kernel": 1, "stride": first}, center, {"out": out, "kernel": 1}]
    if middle is None:
        return _residual(convs, ordering, norm, act, shortcut, _end(se, gate))
    return _residual([convs[0], convs[2]], ordering, norm, act, shortcut, _end(se, gate), [_strided(middle, second)])


def _strided(node: Node, stride: int) -> Node:
    """Return the block with a stride where it is not 1."""
    if stride == 1:
        return node
    if isinstance(node, list):
        return [_strided(node[0], stride), *node[1:]]
    name, args = (node, {}) if isinstance(node, str) else next(iter(node.items()))
    return {name: {**(args or {}), "stride": stride}}


def resnext(
    out: int | None = None, stride: int = 1, groups: int = 32, base_width: int = 4, norm: NormKind = "batch", act: Act = "relu",
    shortcut: Node = "auto", se: float = 0.0, gate: Node = None, dilation: int = 1,
) -> list:  # fmt: skip
    """Bottleneck of `groups` paths of width `base_width` (at 256 channels out). Source: Xie et al. 2017, figure 3 (c)."""
    return bottleneck(out, stride, 0.25, groups, base_width, norm=norm, act=act, shortcut=shortcut, se=se, gate=gate, dilation=dilation)


def preact_basic(
    out: int | None = None, stride: int = 1, norm: NormKind = "batch", act: Act = "relu", shortcut: Node = "auto",
    se: float = 0.0, gate: Node = None,
) -> list:  # fmt: skip
    """Norm, activation, 3x3 convolution, twice; a norm and an activation must follow the last block.

    Source: He et al. 2016b, figure 1 (b).
    """
    return basic(out, stride, norm=norm, act=act, shortcut=shortcut, se=se, gate=gate, ordering="preact")


def preact_bottleneck(
    out: int | None = None, stride: int = 1, ratio: float = 0.25, norm: NormKind = "batch", act: Act = "relu", shortcut: Node = "auto",
    se: float = 0.0, gate: Node = None,
) -> list:  # fmt: skip
    """Norm, activation, convolution for 1x1, 3x3, 1x1; a norm and an activation must follow the last block.

    Source: He et al. 2016b, section 5.
    """
    return bottleneck(out, stride, ratio, norm=norm, act=act, shortcut=shortcut, se=se, gate=gate, ordering="preact")


def wide_basic(
    out: int | None = None, stride: int = 1, dropout: float = 0.0, norm: NormKind = "batch", act: Act = "relu", shortcut: Node = "auto"
) -> list:
    """The pre-activated basic block with dropout between its convolutions. Source: Zagoruyko & Komodakis 2016, figure 1 (d)."""
    return basic(out, stride, norm=norm, act=act, shortcut=shortcut, dropout=dropout, ordering="preact")


def pyramid(alpha: float, depths: list[int], start: int = 16, block: Literal["basic", "bottleneck"] = "basic") -> list:
    """Stages of `depths` blocks whose width grows at each block, from `start` by `alpha` in all; the size is halved between stages.

    Block k of N has start + alpha * k / N channels, rounded, a bottleneck four times that.
    Source: Han et al. 2017, equation 3 and figure 6 (d).
    """
    if not depths or min(depths) < 1:
        raise ValueError(f"pyramid needs at least one block in each stage, got {depths}")
    lines: list[Node] = []
    for stage, depth in enumerate(depths):
        for i in range(depth):
            width = int(start + alpha * (len(lines) + 1) / sum(depths) + 0.5) * (4 if block == "bottleneck" else 1)
            halves = stage > 0 and i == 0
            shortcut: Node = [{"pool": {"kind": "avg", "kernel": 2, "ceil": True}}, {"zero_pad": {"out": width}}] if halves else "pad"
            strided = {"stride": 2} if halves else {}
            lines.append({block: {"out": width, **strided, "ordering": "pyramid", "shortcut": shortcut}})
    return lines


BLOCKS = {
    "residual_unit": ResidualUnit, "basic": basic, "bottleneck": bottleneck, "resnext": resnext, "preact_basic": preact_basic,
    "preact_bottleneck": preact_bottleneck, "wide_basic": wide_basic, "pyramid": pyramid,
}  # fmt: skip
