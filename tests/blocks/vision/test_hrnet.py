"""Streams of several resolutions: their shapes, how they start, and that each hears of all."""

from __future__ import annotations

import pytest
import torch

from nasforge.errors import UserError
from nasforge.networks.build import make, probe

SHAPES = ((4, 8, 8), (6, 4, 4))


def test_a_stage_adds_streams_of_half_the_size() -> None:
    found = probe({"hr_stage": {"widths": [4, 6, 8, 10], "depth": 1}}, SHAPES, 1)
    assert found.shapes == ((4, 8, 8), (6, 4, 4), (8, 2, 2), (10, 1, 1))


def test_every_output_depends_on_every_input() -> None:
    module = make({"hr_stage": {"widths": [4, 6], "depth": 1}}, SHAPES, 1, "block").eval()
    xs = [torch.randn(1, *shape, requires_grad=True) for shape in SHAPES]
    for out in module(*xs):
        grads = torch.autograd.grad(out.sum(), xs, retain_graph=True)
        assert all(g.abs().sum() > 0 for g in grads)


def test_an_exchange_by_hand() -> None:
    """A basic block in each stream; coarse to fine 1x1 with a norm, fine to coarse 3x3 with a norm. Source: Wang et al. 2020, figure 3."""
    basic = sum(2 * 9 * w * w + 4 * w for w in (4, 6))
    up, down = 6 * 4 + 2 * 4, 9 * 4 * 6 + 2 * 6
    assert probe({"hr_stage": {"widths": [4, 6], "depth": 1}}, SHAPES, 1).params == basic + up + down
    assert probe({"hr_stage": {"widths": [4, 6], "depth": 1, "modules": 3}}, SHAPES, 1).params == 3 * (basic + up + down)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="a width for each of its 2 inputs"):
        make({"hr_stage": {"widths": [4]}}, SHAPES, 1, "block")
    with pytest.raises(UserError, match="must keep the shape"):
        make({"hr_stage": {"widths": [4, 6], "block": {"conv": {"stride": 2}}}}, SHAPES, 1, "block")
    with pytest.raises(UserError, match="one width for each"):
        make({"hr_gather": {"widths": [4], "out": 8}}, SHAPES, 1, "block")
    with pytest.raises(UserError, match="half as large"):
        make({"hr_gather": {"widths": [4, 8], "out": 8}}, ((4, 9, 9), (6, 3, 3)), 1, "block")
