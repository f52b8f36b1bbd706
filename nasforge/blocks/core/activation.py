"""Activations: one table, used by every layer that has an `act` argument, the layer `act`, and each of them as a bare word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, channels


class Maxout(Layer):
    """The maximum over groups of `pieces` channels; the channels shrink by that factor. Source: Goodfellow et al. 2013, section 3."""

    free = True
    stepwise = True

    def __init__(self, shape: Shape, pieces: int = 2) -> None:
        super().__init__()
        if pieces < 1 or channels(shape) % pieces:
            raise ValueError(f"maxout needs channels divisible by pieces={pieces}, got {channels(shape)}")
        self.pieces = pieces
        self.axis = -1 if len(shape) <= 2 else 1

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
    "tanh", "softmax", "log_softmax", "mish", "sign", "step", "celu",
]  # fmt: skip


def activation(kind: str, axis: int = -1) -> nn.Module:
    """Return the module of an activation by name; `none` is the identity. Softmax and log-softmax run over `axis`."""
    table = {
        "none": lambda: nn.Identity(),
        "relu": lambda: nn.ReLU(),
        "relu6": lambda: nn.ReLU6(),
        "leaky_relu": lambda: nn.LeakyReLU(0.01),
        "prelu": lambda: nn.PReLU(),
        "elu": lambda: nn.ELU(),
        "celu": lambda: nn.CELU(0.075),
        "gelu": lambda: nn.GELU(),
        "swish": lambda: nn.SiLU(),
        "hard_swish": lambda: nn.Hardswish(),
        "sigmoid": lambda: nn.Sigmoid(),
        "hard_sigmoid": lambda: nn.Hardsigmoid(),
        "tanh": lambda: nn.Tanh(),
        "softmax": lambda: nn.Softmax(axis),
        "log_softmax": lambda: nn.LogSoftmax(axis),
        "mish": lambda: nn.Mish(),
        "sign": lambda: Sign(),
        "step": lambda: Step(),
    }
    return table[kind]()


class Activation(Layer):
    """An activation as a layer of its own. Shapes: any -> the same (softmax runs over channels or features)."""

    free = True
    stepwise = True

    def __init__(self, shape: Shape, kind: Act = "relu") -> None:
        super().__init__()
        channels(shape)  # text has none
        self.kind = kind
        self.act = activation(kind, -1 if len(shape) <= 2 else 1)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [] if args.get("kind") == "none" else None

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)


def _word(kind: str) -> Callable[[], list]:
    def named() -> list:
        return [{"act": {"kind": kind}}]

    named.__doc__ = f"The layer `act: {{kind: {kind}}}` as a bare word."
    return named


BLOCKS = {"act": Activation, "maxout": Maxout, **{kind: _word(kind) for kind in get_args(Act) if kind != "none"}}
