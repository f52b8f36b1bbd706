"""Learned shifts: whole amounts move, parts of one interpolate, zeros come from outside, and gradients reach the amounts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nasforge.errors import UserError
from nasforge.networks.build import make, probe


def shift(rows: float, columns: float, stride: int = 1) -> torch.nn.Module:
    """A shift of one map of 5 x 6."""
    module = make({"active_shift": {"stride": stride}}, ((1, 5, 6),), 1, "block")
    with torch.no_grad():
        module.amounts.copy_(torch.tensor([[rows], [columns]]))
    return module


def test_whole_amounts_move_the_map_and_bring_in_zeros() -> None:
    x = torch.randn(2, 1, 5, 6)
    moved = shift(1.0, -2.0)(x)
    torch.testing.assert_close(moved[:, :, :4, 2:], x[:, :, 1:, :4])
    assert not moved[:, :, 4:].any() and not moved[:, :, :, :2].any()
    assert not shift(9.0, 0.0)(x).any()


def test_parts_of_one_are_bilinear() -> None:
    """Against torch's own bilinear sampling with zeros outside. Source: Jeon & Kim 2018, equation 6."""
    x = torch.randn(2, 1, 5, 6)
    rows, columns = 0.3, -1.6
    down, across = torch.meshgrid(torch.arange(5.0) + rows, torch.arange(6.0) + columns, indexing="ij")
    grid = torch.stack([across / 2.5 - 1, down / 2 - 1], -1).expand(2, 5, 6, 2)
    expected = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    torch.testing.assert_close(shift(rows, columns)(x), expected, rtol=1e-4, atol=1e-5)


def test_a_stride_keeps_every_second_place() -> None:
    x = torch.randn(2, 1, 5, 6)
    torch.testing.assert_close(shift(0.4, 0.7, 2)(x), shift(0.4, 0.7)(x)[:, :, ::2, ::2])


def test_the_gradient_of_an_amount_is_the_slope_of_the_output() -> None:
    module, x = shift(0.4, 0.2), torch.randn(1, 1, 5, 6)
    module(x).sum().backward()
    with torch.no_grad():
        slope = (shift(0.41, 0.2)(x).sum() - shift(0.39, 0.2)(x).sum()) / 0.02
    torch.testing.assert_close(module.amounts.grad[0, 0], slope, rtol=1e-2, atol=1e-3)


def test_two_numbers_for_each_map_and_no_multiply_adds() -> None:
    found = probe("active_shift", ((7, 5, 6),), 1)
    assert (found.params, found.macs) == (14, 0)
    unit = probe({"active_shift_unit": {"out": 12, "stride": 2}}, ((8, 6, 6),), 1)
    assert unit.params == 16 + 8 * 12 + 24 + 24 + 12 * 12 + 8 * 12  # norm, 1x1, norm, amounts, 1x1, shortcut
    with pytest.raises(UserError, match="stride >= 1"):
        make({"active_shift": {"stride": 0}}, ((7, 5, 6),), 1, "block")
