"""Convolution with its normalisation and activation, for sequences, images and videos, and its relatives."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core import rearrange
from nasforge.blocks.core.activation import Act, activation
from nasforge.blocks.core.norm import NormKind, normalization, standardize, weight_length, weight_norm
from nasforge.blocks.core.shapes import Shape, channels, divisible, need_rank


def per_axis(value: int | list[int], axes: int, what: str) -> list[int]:
    """Return one number for each spatial axis."""
    values = [value] * axes if isinstance(value, int) else list(value)
    if len(values) != axes or any(v < 1 for v in values):
        raise ValueError(f"{what} must be a number >= 1 or {axes} of them, got {value!r}")
    return values


def uneven_same(size: int, span: int, stride: int) -> tuple[int, int]:
    """Return (before, after) by which a filter that reaches over `span` more positions gives ceil(size / stride), the odd one after.

    Source: TensorFlow's padding SAME; where the stride is 1 or the size odd it mostly is what `same` is.
    """
    both = max((-(-size // stride) - 1) * stride + span + 1 - size, 0)
    return both // 2, both - both // 2


def needed(out: int | None, block: str) -> int:
    """Return `out`, which a block of a stage may leave to its stage but must have in the end."""
    if out is None:
        raise ValueError(f"{block} needs `out`, the channels it gives (here or in its stage)")
    return out


class Conv(Layer):
    """Convolution, then normalisation, then activation (the order is turned round by `preact`).

    Shapes: (C, H, W) -> (out, H', W'), also (T, F) -> (T', out) and (C, T, H, W).
    `out` is absolute, `expand` relative to the input's channels (rounded to `divisor`); with neither the width stays.
    `pad` same: k//2 of the dilated kernel on both sides, H' = ceil(H / stride) for odd kernels; a number: that many on both
    sides; [before, after]; causal: all before, for sequences; tf: what H' = ceil(H / stride) needs, the odd one after.
    `groups: depthwise` is one filter per channel.
    `bias` is there by default where there is no norm. `weight` norm / standard: weight normalisation / standardisation.
    `drop_connect`: share of the weights that are zero at a training step (Wan et al. 2013).
    """

    def __init__(
        self,
        shape: Shape,
        out: int | Literal["classes"] | None = None,
        kernel: int | list[int] = 3,
        stride: int | list[int] = 1,
        expand: float = 1,
        divisor: int = 1,
        dilation: int | list[int] = 1,
        groups: int | Literal["depthwise"] = 1,
        pad: int | list[int] | Literal["same", "valid", "causal", "tf"] = "same",
        norm: NormKind = "batch",
        act: Act = "relu",
        bias: bool | None = None,
        preact: bool = False,
        norm_groups: int | None = None,
        weight: Literal["plain", "norm", "standard"] = "plain",
        drop_connect: float = 0.0,
    ) -> None:
        super().__init__()
        need_rank(shape, (2, 3, 4), "conv")
        axes = max(len(shape) - 1, 1)
        before = channels(shape)
        after = int(out) if out is not None else divisible(before * expand, divisor)
        count = before if groups == "depthwise" else int(groups)
        if after < 1 or before % count or after % count:
            raise ValueError(f"conv needs in and out channels divisible by groups, got in={before}, out={after}, groups={count}")
        self.kernel, self.stride = per_axis(kernel, axes, "kernel"), per_axis(stride, axes, "stride")
        self.dilation = per_axis(dilation, axes, "dilation")
        self.swap, self.weight_kind, self.drop_connect, self.preact = len(shape) == 2, weight, drop_connect, preact
        size = shape[:1] if len(shape) == 2 else shape[1:]
        self.padding, self.uneven = self._padding(pad, size)
        if any(n + p + q < d * (k - 1) + 1 for n, (p, q), d, k in zip(size, self.padding, self.dilation, self.kernel, strict=True)):
            raise ValueError(f"the kernel {self.kernel} (dilation {self.dilation}) is larger than the padded input {tuple(shape)}")
        kind: Any = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
        symmetric = [0] * axes if self.uneven else [p for p, _ in self.padding]
        self.conv = kind(
            before, after, tuple(self.kernel), tuple(self.stride), tuple(symmetric), tuple(self.dilation), count,
            bias=norm == "none" if bias is None else bias,
        )  # fmt: skip
        if weight == "norm":
            self.gain = nn.Parameter(weight_length(self.conv.weight.detach()))  # so that w = v at the start
        normed = before if preact else after
        self.norm = normalization(norm, (1, normed) if self.swap else (normed, *shape[1:]), norm_groups)
        self.act = activation(act, axis=1)

    def _padding(self, pad: int | list[int] | str, size: Shape) -> tuple[list[tuple[int, int]], bool]:
        """Return (before, after) for each axis, and whether they differ."""
        spans = [d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)]
        if pad == "causal":
            if not self.swap:
                raise ValueError("pad: causal is for sequences (T, F)")
            pairs = [(span, 0) for span in spans]
        elif pad == "valid":
            pairs = [(0, 0) for _ in spans]
        elif pad == "same":
            odd = all(k % 2 for k in self.kernel)
            pairs = [(span // 2, span // 2) if odd else (span // 2, span - span // 2) for span in spans]
        elif pad == "tf":
            pairs = [uneven_same(*one) for one in zip(size, spans, self.stride, strict=True)]
        elif isinstance(pad, list):
            if len(pad) != 2:
                raise ValueError(f"pad must be a number or [before, after], got {pad}")
            pairs = [(pad[0], pad[1]) for _ in spans]
        else:
            pairs = [(int(pad), int(pad)) for _ in spans]
        return pairs, any(a != b for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        if self.swap:
            x = x.transpose(1, 2)  # (B, T, F) -> (B, F, T)
        if self.preact:
            x = self.convolve(self.act(self._normalize(x)))
        else:
            x = self.act(self._normalize(self.convolve(x)))
        return x.transpose(1, 2) if self.swap else x

    def _normalize(self, x: Tensor) -> Tensor:
        if isinstance(self.norm, nn.LayerNorm):  # a sequence, normalised over features
            return self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.norm(x)

    def convolve(self, x: Tensor) -> Tensor:
        """Return the convolution alone, channels first."""
        if self.uneven:
            x = F.pad(x, [side for pair in reversed(self.padding) for side in pair])
        weight = self.weights()
        if self.training and self.drop_connect > 0:
            weight = F.dropout(weight, self.drop_connect)
        if weight is self.conv.weight:
            return self.conv(x)
        return self.conv._conv_forward(x, weight, self.conv.bias)

    def weights(self) -> Tensor:
        """Return the filters that are used: as they are learned, or normalised or standardised."""
        if self.weight_kind == "standard":
            return standardize(self.conv.weight)
        return weight_norm(self.conv.weight, self.gain) if self.weight_kind == "norm" else self.conv.weight


class Deconv(Layer):
    """Transposed convolution, then normalisation, then activation: without both the adjoint of `conv` with the same weights.

    Shapes: (C, H, W) -> (out, H', W'), likewise (T, F) and (C, T, H, W).
    `pad` same: H' = H * stride; a number p: H' = (H - 1) * stride + kernel - 2p.
    `expand` 0.5 halves the maps, as the up-convolution of U-Net does. Source: Zeiler et al. 2010; Ronneberger et al. 2015.
    """

    def __init__(
        self,
        shape: Shape,
        out: int | Literal["classes"] | None = None,
        kernel: int | list[int] = 2,
        stride: int | list[int] = 2,
        expand: float = 1,
        groups: int = 1,
        pad: int | Literal["same", "valid"] = "same",
        norm: NormKind = "batch",
        act: Act = "relu",
        bias: bool | None = None,
        norm_groups: int | None = None,
    ) -> None:
        super().__init__()
        need_rank(shape, (2, 3, 4), "deconv")
        axes = max(len(shape) - 1, 1)
        before = channels(shape)
        after = int(out) if out is not None else divisible(before * expand, 1)
        if after < 1 or groups < 1 or before % groups or after % groups:
            raise ValueError(f"deconv needs in and out channels divisible by groups, got in={before}, out={after}, groups={groups}")
        self.kernel, self.stride = per_axis(kernel, axes, "kernel"), per_axis(stride, axes, "stride")
        pads, extra = [pad if isinstance(pad, int) else 0] * axes, [0] * axes
        if pad == "same":
            pads = [max(0, -(-(k - s) // 2)) for k, s in zip(self.kernel, self.stride, strict=True)]
            extra = [s - k + 2 * p for k, s, p in zip(self.kernel, self.stride, pads, strict=True)]
        if any(e >= s and e for e, s in zip(extra, self.stride, strict=True)):
            raise ValueError(f"deconv with pad: same needs an odd kernel where the stride is 1, got {self.kernel}, stride {self.stride}")
        self.swap = len(shape) == 2
        kind: Any = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[axes]
        self.conv = kind(
            before, after, tuple(self.kernel), tuple(self.stride), tuple(pads), tuple(extra), groups,
            bias=norm == "none" if bias is None else bias,
        )  # fmt: skip
        self.norm = normalization(norm, (1, after) if self.swap else (after, *shape[1:]), norm_groups)
        self.act = activation(act, axis=1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.swap:
            return self.act(self.norm(self.conv(x)))
        x = self.conv(x.transpose(1, 2))  # (B, T, F) -> (B, out, T')
        x = self.norm(x.transpose(1, 2)).transpose(1, 2) if isinstance(self.norm, nn.LayerNorm) else self.norm(x)
        return self.act(x).transpose(1, 2)


# ---------------------------------------------------------------- named forms of convolution


SamePad = Literal["same", "tf"]  # of both sides alike, or as TensorFlow does


def padded_as(pad: SamePad) -> dict[str, str]:
    """Return the argument of a convolution; none for the usual padding."""
    return {} if pad == "same" else {"pad": pad}


def depthwise(
    kernel: int = 3, stride: int = 1, dilation: int = 1, multiplier: int = 1, norm: NormKind = "batch", act: Act = "relu",
    pad: SamePad = "same",
) -> list:  # fmt: skip
    """One spatial filter per channel (`multiplier` of them where it is more)."""
    spatial = {"kernel": kernel, "stride": stride, "dilation": dilation, **padded_as(pad)}
    return [{"conv": {**spatial, "expand": multiplier, "groups": "depthwise", "norm": norm, "act": act}}]


def separable(
    out: int | None = None,
    kernel: int = 3,
    stride: int = 1,
    dilation: int = 1,
    between: bool = False,
    norm: NormKind = "batch",
    act: Act = "relu",
    pad: SamePad = "same",
) -> list:
    """Depthwise, then pointwise; `between`: with norm and activation also after the first. With dilation: atrous separable.

    Source: Chollet 2017, section 3 (nothing between); Howard et al. 2017, figure 3 (both between).
    """
    first: dict[str, Any] = {"norm": norm, "act": act} if between else {"norm": "none", "act": "none", "bias": False}
    first |= padded_as(pad)
    return [
        {"conv": {"kernel": kernel, "stride": stride, "dilation": dilation, "groups": "depthwise", **first}},
        {"conv": {"out": out, "kernel": 1, "norm": norm, "act": act}},
    ]


def asymmetric(
    out: int | None = None, kernel: int = 7, stride: int = 1, mid: int | None = None, norm: NormKind = "batch", act: Act = "relu"
) -> list:
    """k x 1, then 1 x k in place of k x k; `mid` channels between (out where not given). Source: Szegedy et al. 2016, section 3.2."""
    rest = {"norm": norm, "act": act}
    return [
        {"conv": {"out": out if mid is None else mid, "kernel": [kernel, 1], "stride": [stride, 1], **rest}},
        {"conv": {"out": out, "kernel": [1, kernel], "stride": [1, stride], **rest}},
    ]


def flattened(out: int | None = None, kernel: int = 3, norm: NormKind = "batch", act: Act = "relu") -> list:
    """Filters over channels, then rows, then columns: C + Y + X weights per map for C * Y * X. Source: Jin et al. 2015, section 3."""
    plain = {"norm": "none", "act": "none", "bias": False}
    return [
        {"conv": {"out": out, "kernel": 1, **plain}},
        {"conv": {"kernel": [kernel, 1], "groups": "depthwise", **plain}},
        {"conv": {"kernel": [1, kernel], "groups": "depthwise", "norm": norm, "act": act}},
    ]


def mlpconv(
    out: int | None = None,
    kernel: int = 3,
    stride: int = 1,
    hidden: list[int] | None = None,
    norm: NormKind = "none",
    act: Act = "relu",
) -> list:
    """A convolution of `out` maps and a perceptron at each place: 1x1 layers of the `hidden` widths (two of `out` by default).

    Source: Lin et al. 2014, section 3.1.
    """
    first = {"conv": {"out": out, "kernel": kernel, "stride": stride, "norm": norm, "act": act}}
    widths = [out, out] if hidden is None else hidden
    return [first, *({"conv": {"out": width, "kernel": 1, "norm": norm, "act": act}} for width in widths)]


def maxout_conv(out: int, kernel: int = 3, pieces: int = 2, pad: int | Literal["same", "valid"] = "same") -> list:
    """`pieces` * out filters, and of each `pieces` maps the largest at each place. Source: Goodfellow et al. 2013, section 3."""
    filters = {"out": out * pieces, "kernel": kernel, "pad": pad, "norm": "none", "act": "none"}
    return [{"conv": filters}, {"maxout": {"pieces": pieces}}]


BLOCKS = {
    "conv": Conv, "deconv": Deconv, **rearrange.BLOCKS, "depthwise": depthwise, "separable": separable, "asymmetric": asymmetric,
    "flattened": flattened, "mlpconv": mlpconv, "maxout_conv": maxout_conv,
}  # fmt: skip
