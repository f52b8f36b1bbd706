"""The ends of a network: vectors, classifiers."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.activation import Act, activation
from nasforge.blocks.shapes import Shape, need_rank


class Flatten(nn.Module):
    """Everything as one vector. Shapes: (C, H, W) -> (C*H*W)."""

    free = True

    def __init__(self, shape: Shape) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Linear(nn.Module):
    """y = act(W x + b) on the last axis. Shapes: (F) -> (out), (T, F) -> (T, out); `out` is the number of classes by default."""

    def __init__(self, shape: Shape, out: int | Literal["classes"] = "classes", act: Act = "none", bias: bool = True, drop_connect: float = 0.0) -> None:
        super().__init__()
        need_rank(shape, (1, 2), "linear")
        self.linear = nn.Linear(shape[-1], int(out), bias=bias)
        self.drop_connect = drop_connect
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.drop_connect > 0:
            return self.act(F.linear(x, F.dropout(self.linear.weight, self.drop_connect), self.linear.bias))
        return self.act(self.linear(x))


def vector_head(hidden: list[int], act: str = "relu", dropout: float = 0.5) -> list:
    """Vectorise + FC: flatten, hidden layers with dropout before each, the classifier. Source: Simonyan & Zisserman 2015, table 1."""
    layers: list = ["flatten"]
    for width in hidden:
        layers += [{"linear": {"out": width, "act": act}}, {"dropout": {"p": dropout}}]
    return [*layers, {"linear": {}}]


def gap_head(dropout: float = 0.0) -> list:
    """Global average pool + FC. Source: Lin et al. 2014, section 3.2; He et al. 2016, table 1."""
    return [{"pool": {"kind": "avg"}}, {"dropout": {"p": dropout}}, {"linear": {}}]


def aux_head(conv: int = 128, hidden: int = 1024, kernel: int = 5, stride: int = 3, dropout: float = 0.7) -> list:
    """The auxiliary classifier of GoogLeNet. Source: Szegedy et al. 2015, section 5."""
    return [
        {"pool": {"kind": "avg", "kernel": kernel, "stride": stride, "pad": "valid"}},
        {"conv": {"out": conv, "kernel": 1}},
        "flatten",
        {"linear": {"out": hidden, "act": "relu"}},
        {"dropout": {"p": dropout}},
        {"linear": {}},
    ]


LAYERS = {"flatten": Flatten, "linear": Linear}
COMBINATORS: dict[str, type] = {}
MOTIFS = {"vector_head": vector_head, "gap_head": gap_head, "aux_head": aux_head}
