"""The ends of a network: vectors, classifiers."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.activation import Act, activation
from nasforge.blocks.core.norm import NormKind
from nasforge.blocks.core.shapes import Shape, need_rank


class Flatten(Layer):
    """Everything as one vector. Shapes: (C, H, W) -> (C*H*W)."""

    free = True

    def __init__(self, shape: Shape) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Linear(Layer):
    """y = act(W x + b) on the last axis. Shapes: (F) -> (out), (T, F) -> (T, out); `out` is the number of classes by default.

    `drop_connect`: share of the weights that are zero at a training step. Source: Wan et al. 2013.
    """

    stepwise = True

    def __init__(
        self,
        shape: Shape,
        out: int | Literal["classes"] = "classes",
        act: Act = "none",
        bias: bool = True,
        drop_connect: float = 0.0,
    ) -> None:
        super().__init__()
        need_rank(shape, (1, 2), "linear")
        self.linear = nn.Linear(shape[-1], int(out), bias=bias)
        self.drop_connect = drop_connect
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.drop_connect > 0:
            return self.act(F.linear(x, F.dropout(self.linear.weight, self.drop_connect), self.linear.bias))
        return self.act(self.linear(x))


class WeightedPool(Layer):
    """The average over positions with a learned weight for each, equal at the start. Shapes: (C, H, W) -> (C)."""

    scope = "global"

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        need_rank(shape, (3,), "weighted_pool")
        self.weight = nn.Parameter(torch.zeros(1, shape[1] * shape[2]))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(2), self.weight.softmax(-1)).squeeze(-1)  # (B, C, H*W) -> (B, C, 1) -> (B, C)


def maxout_linear(out: int, pieces: int = 5) -> list:
    """A full layer of `pieces` * out units, and of each `pieces` the largest. Source: Goodfellow et al. 2013, section 3."""
    return [{"linear": {"out": out * pieces}}, {"maxout": {"pieces": pieces}}]


def vector_head(hidden: list[int], act: Act = "relu", dropout: float = 0.5) -> list:
    """Vectorise + FC: flatten, hidden layers with dropout after each, the classifier. Source: Simonyan & Zisserman 2015, table 1."""
    layers: list = ["flatten"]
    for width in hidden:
        layers += [{"linear": {"out": width, "act": act}}, {"dropout": {"p": dropout}}]
    return [*layers, {"linear": {}}]


def gap_head(dropout: float = 0.0) -> list:
    """Global average pool + FC. Source: Lin et al. 2014, section 3.2; He et al. 2016, table 1."""
    return [{"pool": {"kind": "avg"}}, {"dropout": {"p": dropout}}, {"linear": {}}]


def weighted_gap_head(dropout: float = 0.0) -> list:
    """Learned weights for the positions, average, FC."""
    return ["weighted_pool", {"dropout": {"p": dropout}}, {"linear": {}}]


def pixel_head(dropout: float = 0.5, act: Act = "relu", average: bool = True) -> list:
    """A classifier at each position (1x1 convolution), then the average; without `average` a map of class scores.

    Source: Iandola et al. 2016 (SqueezeNet), table 1; Long et al. 2015, section 4.1.
    """
    scores = [{"dropout": {"p": dropout}}, {"conv": {"out": "classes", "kernel": 1, "norm": "none", "act": act if average else "none"}}]
    return [*scores, {"pool": {"kind": "avg"}}] if average else scores


def aux_head(
    conv: int = 128, hidden: int = 1024, kernel: int = 5, stride: int = 3, dropout: float = 0.7, norm: NormKind = "batch", act: Act = "relu"
) -> list:
    """The auxiliary classifier of GoogLeNet. Source: Szegedy et al. 2015, section 5."""
    return [
        {"pool": {"kind": "avg", "kernel": kernel, "stride": stride, "pad": "valid"}},
        {"conv": {"out": conv, "kernel": 1, "norm": norm, "act": act}},
        "flatten",
        {"linear": {"out": hidden, "act": act}},
        {"dropout": {"p": dropout}},
        {"linear": {}},
    ]


BLOCKS = {
    "flatten": Flatten, "linear": Linear, "weighted_pool": WeightedPool, "vector_head": vector_head, "gap_head": gap_head,
    "weighted_gap_head": weighted_gap_head, "pixel_head": pixel_head, "aux_head": aux_head, "maxout_linear": maxout_linear,
}  # fmt: skip
