"""Every documented network, one by one: built in time, every parameter with a gradient. Their exports: `benchmarks/exports.py`."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from benchmarks.exports import example_inputs, lively
from nasforge import zoo
from nasforge.blocks.core.shapes import example
from nasforge.networks.build import _probe, build, input_shapes
from nasforge.networks.cost import count

pytestmark = pytest.mark.thorough
every_entry = pytest.mark.parametrize("name", zoo.names())


def handy(name: str) -> dict[str, Any]:
    """The small form of a network of one image or video, any other as it is."""
    arch = zoo.load(name)
    shape = next(iter(input_shapes(arch).values()))
    return zoo.load(f"small_{name}") if len(input_shapes(arch)) == 1 and len(shape) >= 3 else arch


@every_entry
def test_it_builds_on_meta_in_two_seconds(name: str) -> None:
    arch = zoo.load(name)
    spent = []
    while not spent or (min(spent) >= 2 and len(spent) < 3):  # seconds of the processor; a busy machine gets another try
        _probe.cache_clear()
        began = time.process_time()
        network = build(arch, "meta")
        spent.append(time.process_time() - began)
    assert min(spent) < 2
    total = sum(p.numel() for key, p in network.named_parameters() if not key.startswith("aux."))
    assert total == count(arch).params


@every_entry
def test_every_parameter_gets_a_gradient(name: str) -> None:
    """On meta: every parameter is on the way from the input to an output or an auxiliary one."""
    arch = handy(name)
    network = build(arch, "meta").train()
    out = network(*(example(shape, 2, "meta") for shape in input_shapes(arch).values()))
    main, aux = out if network.aux else (out, [])
    sum(y.sum() for y in [main, *aux]).backward()
    assert not [key for key, parameter in network.named_parameters() if parameter.grad is None]


@every_entry
def test_its_weights_learn(name: str) -> None:
    """With real numbers: the gradients are finite, and those of nearly all weights are not 0 (a unit that no image moves may be)."""
    arch = handy(name)
    network = lively(arch).train()
    y = network(*example_inputs(arch, 4))
    main, aux = y if network.aux else (y, [])
    sum((part * part.detach().sign()).sum() for part in [main, *aux]).backward()
    weights = [p.grad for p in network.parameters() if p.ndim > 1]
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert sum(bool(g.any()) for g in weights) >= 0.9 * len(weights)
