"""Normalisation: one function used by every layer with a `norm` argument, and the layers `norm` and `lrn`."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, channels, need_rank

NormKind = Literal["none", "batch", "layer", "group", "instance"]


def normalization(kind: str, shape: Shape, groups: int | None = None, affine: bool = True, eps: float = 1e-5) -> nn.Module:
    """Return the module that normalises channels-first tensors of `shape` (and (T, F) sequences after a transpose).

    `groups` of group norm: 32 where the channels can be divided by that, else the largest common divisor of both.
    Sources: batch Ioffe & Szegedy 2015; layer Ba et al. 2016; instance Ulyanov et al. 2016; group Wu & He 2018.
    """
    count = channels(shape)
    if kind == "none":
        return nn.Identity()
    if kind == "layer" and len(shape) <= 2:
        return nn.LayerNorm(count, eps, elementwise_affine=affine)
    if kind == "batch":
        dims = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
        return dims[len(shape)](count, eps, affine=affine)
    groups = {"layer": 1, "instance": count}.get(kind, math.gcd(count, 32) if groups is None else groups)
    if groups < 1 or count % groups:
        raise ValueError(f"group norm needs channels divisible by groups, got {count} channels and {groups} groups")
    return nn.GroupNorm(groups, count, eps, affine=affine)


class Norm(Layer):
    """Normalisation as a layer of its own. Shapes: any -> the same.

    `layer` on images is over (C, H, W) with one gain per channel, the form that group norm with one group has.
    """

    free = True

    def __init__(self, shape: Shape, kind: NormKind = "batch", groups: int | None = None, affine: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = normalization(kind, shape, groups, affine, eps)
        self.swap = len(shape) == 2 and not isinstance(self.norm, nn.LayerNorm)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [] if args.get("kind") == "none" else None

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2) if self.swap else self.norm(x)


class LocalResponseNorm(Layer):
    """x / (k + alpha/n * sum of squares over n neighbouring channels)^beta.

    Source: Krizhevsky et al. 2012, section 3.3; they write alpha for what is alpha/n here and in torch and Caffe.
    """

    free = True

    def __init__(self, shape: Shape, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        need_rank(shape, (3,), "lrn")
        self.size = size
        self.lrn = nn.LocalResponseNorm(size, alpha, beta, k)

    def forward(self, x: Tensor) -> Tensor:
        return self.lrn(x)


def standardize(weight: Tensor, eps: float = 1e-5) -> Tensor:
    """Return (W - mean) / (deviation + eps) per output channel: mean 0, deviation 1. Source: Qiao et al. 2019, equation 5."""
    axes = list(range(1, weight.ndim))
    centered = weight - weight.mean(axes, keepdim=True)
    variance = centered.square().mean(axes, keepdim=True).clamp_min(1e-12)  # the root of 0 has no gradient (one weight per channel)
    return centered / (variance.sqrt() + eps)


def weight_length(weight: Tensor) -> Tensor:
    """Return ||v|| per output channel, the other axes kept as 1."""
    return torch.linalg.vector_norm(weight, dim=list(range(1, weight.ndim)), keepdim=True)


def weight_norm(direction: Tensor, gain: Tensor) -> Tensor:
    """Return w = g v / ||v|| per output channel. Source: Salimans & Kingma 2016, equation 2."""
    return gain * direction / weight_length(direction)


BLOCKS = {"norm": Norm, "lrn": LocalResponseNorm}
