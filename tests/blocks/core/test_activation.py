"""Activations: values, gradients, names."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from nasforge.blocks.core.activation import Act, Activation, Maxout, activation
from nasforge.networks.build import make, opened

X = [-4.0, -1.0, 0.0, 0.5, 1.0, 7.0]
VALUES = {
    "none": lambda x: x,
    "relu": lambda x: max(0.0, x),
    "relu6": lambda x: min(max(0.0, x), 6.0),
    "leaky_relu": lambda x: x if x >= 0 else 0.01 * x,
    "prelu": lambda x: x if x >= 0 else 0.25 * x,  # the slope at the start
    "elu": lambda x: x if x >= 0 else math.exp(x) - 1,
    "celu": lambda x: x if x >= 0 else 0.075 * (math.exp(x / 0.075) - 1),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "swish": lambda x: x / (1 + math.exp(-x)),
    "hard_swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "hard_sigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "tanh": math.tanh,
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "sign": lambda x: (x > 0) - (x < 0),
    "step": lambda x: float(x >= 0),
}


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_values(kind: str) -> None:
    torch.testing.assert_close(activation(kind)(torch.tensor(X)), torch.tensor([float(VALUES[kind](x)) for x in X]))


def test_printed_values() -> None:
    assert activation("swish")(torch.tensor(1.0)).item() == pytest.approx(0.7311, abs=5e-5)  # kalhor, redfern
    assert activation("softmax")(torch.tensor([14.0, 12.0])).tolist() == pytest.approx([0.8808, 0.1192], abs=5e-5)


def test_every_activation_is_checked_and_is_a_word_of_its_own() -> None:
    assert set(get_args(Act)) == {*VALUES, "softmax", "log_softmax"}
    for kind in get_args(Act):
        if kind != "none":
            assert opened(kind) == opened({"act": {"kind": kind}})


@pytest.mark.parametrize(("shape", "axis"), [((3, 4, 5), 1), ((3, 2, 4, 5), 1), ((6, 4), -1), ((4,), -1)])
def test_softmax_runs_over_channels_or_features(shape: tuple[int, ...], axis: int) -> None:
    x = torch.randn(2, *shape)
    torch.testing.assert_close(Activation(shape, "softmax")(x), F.softmax(x, axis))
    torch.testing.assert_close(Activation(shape, "log_softmax")(x), F.log_softmax(x, axis))


@pytest.mark.parametrize("kind", ["sign", "step"])
def test_gradient_of_a_threshold_passes_straight_through(kind: str) -> None:
    x = torch.tensor(X, requires_grad=True)
    activation(kind)(x).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, torch.ones(len(X)))


def test_maxout_makes_relu_and_absolute_value() -> None:
    """Banerjee: ReLU = max(x, 0), |x| = max(x, -x)."""
    x = torch.randn(9, 1)
    maxout = Maxout((2,))
    torch.testing.assert_close(maxout(torch.cat([x, 0 * x], 1)), x.relu())
    torch.testing.assert_close(maxout(torch.cat([x, -x], 1)), x.abs())
    assert make({"maxout": {"pieces": 3}}, ((6, 2, 2),), 10, "block")(torch.randn(2, 6, 2, 2)).shape == (2, 2, 2, 2)


def test_two_maxout_units_give_a_difference_of_convex_functions() -> None:
    """Banerjee: two units make any difference of convex piecewise linear functions, here max(x, -x) - max(2x - 1, 0)."""
    x = torch.linspace(-2, 2, 21).unsqueeze(1)
    pieces = torch.cat([x, -x, 2 * x - 1, 0 * x], 1)
    first, second = Maxout((4,))(pieces).unbind(1)
    torch.testing.assert_close(first - second, (x.abs() - (2 * x - 1).relu()).squeeze(1))
