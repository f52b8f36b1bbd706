"""Weights handed to a relative: what fits is copied, what is new stays."""

from __future__ import annotations

import torch
from torch import nn

from nasforge.train import inherit


def net(width: int, depth: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), *(nn.Linear(width, width) for _ in range(depth)))


def test_the_same_network_computes_the_same() -> None:
    old, new = net(8), net(8)
    assert inherit(new, old.state_dict()) == 1
    x = torch.randn(3, 4)
    assert torch.equal(old(x), new(x))


def test_a_widened_layer_keeps_the_channels_that_it_had() -> None:
    old, new = net(8, 0), net(12, 0)
    assert 0 < inherit(new, old.state_dict()) < 1
    x = torch.randn(3, 4)
    torch.testing.assert_close(old(x), new(x)[:, :8])  # a wider product may be summed in another order


def test_a_narrowed_and_a_deepened_network_take_what_they_can() -> None:
    old = net(8, 1)
    small, deep = net(4, 1), net(8, 2)
    before = deep[2].weight.clone()
    assert inherit(small, old.state_dict()) == 1 and torch.equal(small[1].weight, old[1].weight[:4, :4])
    assert 0 < inherit(deep, old.state_dict()) < 1 and torch.equal(deep[2].weight, before)


def test_counters_are_not_copied() -> None:
    norm = nn.BatchNorm1d(3)
    given = {k: torch.full_like(v, 7) for k, v in norm.state_dict().items()}
    inherit(norm, given)
    assert int(norm.num_batches_tracked or 0) == 0 and norm.running_mean is not None and float(norm.running_mean[0]) == 7
