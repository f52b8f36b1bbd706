"""Networks that begin as a relative compute what it computes, and learn from there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nasforge.data import Batch
from nasforge.networks.build import build
from nasforge.train.morph import EQUAL, morph

BATCH = Batch({"input": torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))}, {"label": torch.arange(16) % 5})


def arch(*body: Any, stem: int = 8, head: Any = "gap_head") -> dict[str, Any]:
    return {"input": [3, 16, 16], "classes": 5, "stem": [{"conv": {"out": stem}}], "body": list(body), "head": [head]}


def stage(block: str, out: int, depth: int, stride: int = 1, **args: Any) -> dict[str, Any]:
    return {"stage": {"block": {block: args}, "out": out, "depth": depth, "stride": stride}}


def made(description: dict[str, Any], seed: int) -> nn.Module:
    """A network whose norms are not as they begin."""
    torch.manual_seed(seed)
    model = build(description).train()
    with torch.no_grad():
        for _ in range(3):
            model(BATCH.x + torch.randn_like(BATCH.x))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
    return model.eval()


INCEPTION = {"inception": {"b1": 8, "b3": [8, 12], "b5": [4, 8], "pool": 4}}
WIDER = {"inception": {"b1": 12, "b3": [8, 16], "b5": [4, 8], "pool": 6}}
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the same": (arch(stage("basic", 8, 2)), arch(stage("basic", 8, 2))),
    "wider residual": (
        arch(stage("basic", 8, 2), stage("basic", 16, 1, 2)), arch(stage("basic", 12, 2), stage("basic", 20, 1, 2), stem=12)
    ),
    "a first block": (arch(stage("basic", 8, 0)), arch(stage("basic", 8, 1))),
    "deeper residual": (arch(stage("basic", 8, 1), stage("basic", 16, 1, 2)), arch(stage("basic", 8, 2), stage("basic", 16, 3, 2))),
    "wider and deeper": (arch(stage("basic", 8, 1)), arch(stage("basic", 16, 3), stem=16)),
    "deeper plain": (arch(stage("conv", 8, 1)), arch(stage("conv", 8, 3))),
    "depthwise": (arch(stage("depthwise_separable", 8, 1)), arch(stage("depthwise_separable", 12, 2), stem=12)),
    "gates": (arch(stage("mbconv", 8, 1, expand=2, se=0.25)), arch(stage("mbconv", 12, 2, expand=3, se=0.5), stem=12)),
    "concatenated": (arch(INCEPTION, stage("conv", 12, 1)), arch(WIDER, stage("conv", 16, 1), stem=12)),
    "dense": (arch({"dense_block": {"growth": 4, "depth": 3}}), arch({"dense_block": {"growth": 6, "depth": 3}}, stem=10)),
    "larger filters": (arch({"conv": {"out": 8, "kernel": 3}}), arch({"conv": {"out": 8, "kernel": 5}})),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_larger_network_computes_what_its_parent_does_and_goes_on_learning(name: str) -> None:
    small, large = made(PAIRS[name][0], 1), made(PAIRS[name][1], 2)
    assert morph(large, small, BATCH)
    other = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        a, b = small(other), large(other)
    assert float((a - b).abs().max()) <= 2 * EQUAL * max(1.0, float(a.abs().max()))
    large.train()
    large(other).square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in large.parameters())


def test_channels_that_were_one_come_to_differ() -> None:
    small, large = made(arch(stage("conv", 8, 1)), 1), made(arch(stage("conv", 16, 1), stem=8), 2)
    assert morph(large, small, BATCH)
    norms = [m for m in large.modules() if isinstance(m, nn.BatchNorm2d)]
    assert torch.equal(norms[-1].weight[:8], norms[-1].weight[8:])
    large.train()
    nn.functional.cross_entropy(large(BATCH.x), BATCH.y).backward()
    assert norms[-1].weight.grad is not None
    assert not torch.allclose(norms[-1].weight.grad[:8], norms[-1].weight.grad[8:], rtol=0.01)


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        (arch(stage("basic", 16, 1), stem=16), arch(stage("basic", 8, 1))),
        (arch(stage("basic", 8, 2)), arch(stage("basic", 8, 1))),
        (arch(stage("conv", 8, 1)), arch(stage("mbconv", 8, 1))),
        (arch(stage("conv", 8, 1, act="swish")), arch(stage("conv", 8, 2, act="swish"))),
        (arch({"conv": {"out": 8, "groups": "depthwise"}}), arch({"conv": {"out": 16, "groups": "depthwise"}})),
        (arch({"conv": {"out": 8, "norm": "layer"}}), arch({"conv": {"out": 12, "norm": "layer"}})),
        (arch({"conv": {"out": 8, "groups": 2}}), arch({"conv": {"out": 8, "groups": 4}})),
    ],
    ids=["narrower", "shallower", "another block", "an act that is no identity when repeated", "other filters a channel",
         "a norm over channels", "other groups"],
)
def test_what_cannot_be_the_same_is_left_as_it_was(parent: dict[str, Any], child: dict[str, Any]) -> None:
    one, other = made(parent, 1), made(child, 2)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    assert not morph(other, one, BATCH)
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items()) and not other.training
