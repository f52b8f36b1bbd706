"""Convolution with its normalisation and activation, for sequences, images and videos, and its relatives."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.activation import Act, activation
from nasforge.blocks.norm import NormKind, normalisation, standardise, weight_norm
from nasforge.blocks.shapes import Shape, channels, divisible, need_rank


def per_axis(value: int | list[int], axes: int, what: str) -> list[int]:
    """One number for each spatial axis."""
    values = [value] * axes if isinstance(value, int) else list(value)
    if len(values) != axes or any(v < 1 for v in values):
        raise ValueError(f"{what} must be a number >= 1 or {axes} of them, got {value!r}")
    return values


class Conv(nn.Module):
    """Convolution, then normalisation, then activation (the order is turned round by `preact`).

    Shapes: (C, H, W) -> (out, H', W'), also (T, F) -> (T', out) and (C, T, H, W).
    `out` is absolute, `expand` relative to the input's channels (rounded to `divisor`); with neither the width stays.
    `pad` same: k//2 of the dilated kernel on both sides, H' = ceil(H / stride) for odd kernels; a number: that many on both
    sides; [before, after]; causal: all before, for sequences. `groups: depthwise` is one filter per channel.
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
        pad: int | list[int] | Literal["same", "valid", "causal"] = "same",
        norm: NormKind = "batch",
        act: Act = "relu",
        bias: bool | None = None,
        preact: bool = False,
        norm_groups: int = 32,
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
        self.padding, self.uneven = self._padding(pad)
        size = shape[:1] if len(shape) == 2 else shape[1:]
        if any(n + p + q < d * (k - 1) + 1 for n, (p, q), d, k in zip(size, self.padding, self.dilation, self.kernel, strict=True)):
            raise ValueError(f"the kernel {self.kernel} (dilation {self.dilation}) is larger than the padded input {tuple(shape)}")
        kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[axes]
        symmetric = [0] * axes if self.uneven else [p for p, _ in self.padding]
        self.conv = kind(
            before, after, tuple(self.kernel), tuple(self.stride), tuple(symmetric), tuple(self.dilation), count,
            bias=norm == "none" if bias is None else bias,
        )  # fmt: skip
        if weight == "norm":
            self.gain = nn.Parameter(torch.ones(after, *[1] * (axes + 1), device=self.conv.weight.device))
        normed = before if preact else after
        self.norm = normalisation(norm, (1, normed) if self.swap else (normed, *shape[1:]), norm_groups)
        self.act = activation(act)

    def _padding(self, pad: int | list[int] | str) -> tuple[list[tuple[int, int]], bool]:
        """(before, after) for each axis, and whether they differ."""
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
            x = self.convolve(self.act(self._normalise(x)))
        else:
            x = self.act(self._normalise(self.convolve(x)))
        return x.transpose(1, 2) if self.swap else x

    def _normalise(self, x: Tensor) -> Tensor:
        if isinstance(self.norm, nn.LayerNorm):  # a sequence, normalised over features
            return self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.norm(x)

    def convolve(self, x: Tensor) -> Tensor:
        """The convolution alone, channels first."""
        if self.uneven:
            x = F.pad(x, [side for pair in reversed(self.padding) for side in pair])
        weight = self.conv.weight
        if self.weight_kind == "standard":
            weight = standardise(weight)
        elif self.weight_kind == "norm":
            weight = weight_norm(weight, self.gain)
        if self.training and self.drop_connect > 0:
            weight = F.dropout(weight, self.drop_connect)
        if weight is self.conv.weight:
            return self.conv(x)
        return self.conv._conv_forward(x, weight, self.conv.bias)


LAYERS = {"conv": Conv}
COMBINATORS: dict[str, type] = {}
MOTIFS: dict[str, object] = {}
