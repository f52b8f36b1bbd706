"""Activations: one table, used by every layer that has an `act` argument, and the layer `act`."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from nasforge.blocks.shapes import Shape


class Maxout(nn.Module):
    """The maximum over groups of `pieces` channels; the channels shrink by that factor. Source: Goodfellow et al. 2013."""

    free = True

    def __init__(self, shape: Shape, pieces: int = 2) -> None:
        super().__init__()
        self.pieces = pieces
        self.axis = -1 if len(shape) <= 2 else 1
        if shape[0 if len(shape) > 2 else -1] % pieces:
            raise ValueError(f"maxout needs channels divisible by pieces={pieces}, got {tuple(shape)}")

    def forward(self, x: Tensor) -> Tensor:
        axis = self.axis % x.ndim
        return x.unflatten(axis, (-1, self.pieces)).amax(axis + 1)  # (.., C, ..) -> (.., C/p, ..)


class Sign(nn.Module):
    """-1, 0 or 1; the gradient passes straight through."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (x.sign() - x).detach()


class Step(nn.Module):
    """0 or 1 (1 where x >= 0); the gradient passes straight through."""

    def forward(self, x: Tensor) -> Tensor:
        return x + ((x >= 0).to(x.dtype) - x).detach()


Act = Literal[
    "none", "relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "swish", "hard_swish", "sigmoid", "hard_sigmoid",
    "tanh", "softmax", "log_softmax", "sign", "step",
]  # fmt: skip


def activation(kind: str) -> nn.Module:
    """The module of an activation by name; `none` is the identity."""
    table = {
        "none": lambda: nn.Identity(),
        "relu": lambda: nn.ReLU(),
        "relu6": lambda: nn.ReLU6(),
        "leaky_relu": lambda: nn.LeakyReLU(0.01),
        "prelu": lambda: nn.PReLU(),
        "elu": lambda: nn.ELU(),
        "gelu": lambda: nn.GELU(),
        "swish": lambda: nn.SiLU(),
        "hard_swish": lambda: nn.Hardswish(),
        "sigmoid": lambda: nn.Sigmoid(),
        "hard_sigmoid": lambda: nn.Hardsigmoid(),
        "tanh": lambda: nn.Tanh(),
        "softmax": lambda: nn.Softmax(-1),
        "log_softmax": lambda: nn.LogSoftmax(-1),
        "sign": lambda: Sign(),
        "step": lambda: Step(),
    }
    return table[kind]()


class Activation(nn.Module):
    """An activation as a layer of its own. Shapes: any -> the same (softmax runs over the last axis)."""

    free = True

    def __init__(self, shape: Shape, kind: Act = "relu") -> None:
        super().__init__()
        self.kind = kind
        self.act = activation(kind)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)


def relu() -> dict:
    """The layer `act: {kind: relu}` by its common name."""
    return {"act": {"kind": "relu"}}


LAYERS = {"act": Activation, "maxout": Maxout}
COMBINATORS: dict[str, type] = {}
MOTIFS = {"relu": relu}
