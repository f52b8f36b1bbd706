"""Linear layers and heads: printed sizes, hand-worked values, any resolution."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nasforge.blocks.core.linear import Linear, WeightedPool
from nasforge.networks.build import build, make, probe


@pytest.mark.parametrize(
    ("before", "after", "bias", "params"), [(784, 256, False, 200_704), (9216, 4096, True, 37_752_832), (4096, 1000, True, 4_097_000)]
)
def test_linear_sizes_of_the_lectures(before: int, after: int, bias: bool, params: int) -> None:
    found = probe({"linear": {"out": after, "bias": bias}}, ((before,),), 1)
    assert found.params == params and found.macs == before * after


def test_perceptron_sizes_of_the_lectures() -> None:
    """Kalhor: n = 2, 4, 1: 17 parameters; n = 2, 7, 2, 1: 40."""

    def mlp(*widths: int) -> list[Any]:
        return [{"linear": {"out": w, "act": "sigmoid"}} for w in widths]

    assert probe(mlp(4, 1), ((2,),), 1).params == 17 and probe(mlp(7, 2, 1), ((2,),), 1).params == 40


@pytest.mark.parametrize(("bias", "table"), [(-1.5, [0, 0, 0, 1]), (-0.5, [0, 1, 1, 1])])
def test_a_neuron_with_a_hard_threshold_is_a_logic_gate(bias: float, table: list[float]) -> None:
    """Weights [1, 1]: bias -1.5 is AND, -0.5 is OR."""
    gate = Linear((2,), 1, act="step")
    gate.linear.weight.data.fill_(1.0)
    gate.linear.bias.data.fill_(bias)
    assert gate(torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])).flatten().tolist() == table


def test_a_linear_layer_on_a_sequence_works_at_each_step() -> None:
    layer, x = Linear((5, 6), 3, act="softmax"), torch.randn(2, 5, 6)
    torch.testing.assert_close(layer(x)[:, 2], layer(x[:, 2]))
    torch.testing.assert_close(layer(x).sum(-1), torch.ones(2, 5))


def test_vectorise_head_of_vgg() -> None:
    """Redfern: 25,088 -> 4096."""
    head = [{"vector_head": {"hidden": [4096, 4096]}}]
    assert probe(head, ((512, 7, 7),), 1000).params == 25_088 * 4096 + 4096 + 4096**2 + 4096 + 4096 * 1000 + 1000


def test_pooled_heads_take_any_resolution() -> None:
    """Banerjee: no parameters in the pool, works for any size; redfern: SqueezeNet classifies each pixel, then averages."""
    for head, params in (("gap_head", 13 * 7 + 7), ("pixel_head", 13 * 7 + 7), ({"spatial_pyramid": {"levels": [1, 2]}}, 0)):
        module = make(head, ((13, 6, 6),), 7, "head").eval()
        assert sum(p.numel() for p in module.parameters()) == params
        assert module(torch.randn(2, 13, 9, 5)).shape == module(torch.randn(2, 13, 6, 6)).shape


def test_pixel_head_is_the_classifier_of_the_mean_where_it_is_linear() -> None:
    module = make({"pixel_head": {"act": "none", "dropout": 0.0}}, ((4, 5, 6),), 3, "head").eval()
    weight, bias = (p.detach() for p in module.parameters())
    x = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(module(x), x.mean((2, 3)) @ weight[:, :, 0, 0].T + bias)
    scores = make({"pixel_head": {"average": False}}, ((4, 5, 6),), 3, "head")
    assert scores(x).shape == (2, 3, 5, 6) and (scores(x) < 0).any()


def test_weighted_pool_starts_as_the_mean_and_learns_places() -> None:
    layer, x = WeightedPool((3, 4, 5)), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(layer(x), x.mean((2, 3)))
    layer.weight.data[0, 7] = 100.0
    torch.testing.assert_close(layer(x), x[:, :, 1, 2])
    assert probe("weighted_gap_head", ((3, 4, 5),), 7).params == 20 + 3 * 7 + 7


def test_auxiliary_heads_of_googlenet() -> None:
    """14x14x512: average 5x5/3 -> 4x4, 1x1 to 128, 1024, classes. Source: Szegedy et al. 2015, section 5."""
    found = probe({"aux_head": {"norm": "none"}}, ((512, 14, 14),), 1000)
    assert found.shapes == ((1000,),)
    assert found.params == 512 * 128 + 128 + 4 * 4 * 128 * 1024 + 1024 + 1024 * 1000 + 1000


def test_several_heads_and_auxiliary_ones_share_a_body() -> None:
    """Redfern: several heads may share one tail and body."""
    data = {
        "input": [3, 16, 16], "classes": 4,
        "body": [{"conv": {"out": 8}, "as": "early"}, {"conv": {"out": 12, "stride": 2}}],
        "heads": {"kind": ["gap_head"], "where": [{"pixel_head": {"average": False}}]},
        "aux": {"early": [{"aux_head": {"conv": 4, "hidden": 6}}]},
    }  # fmt: skip
    network = build(data)
    heads, aux = network(torch.randn(2, 3, 16, 16))
    assert heads["kind"].shape == (2, 4) and heads["where"].shape == (2, 4, 8, 8) and aux[0].shape == (2, 4)
