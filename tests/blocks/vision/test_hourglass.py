"""Attention modules and hourglasses: units counted, sizes kept, and the sum of mask and trunk."""

from __future__ import annotations

import pytest
import torch

from nasforge.errors import UserError
from nasforge.networks.build import make, probe


@pytest.mark.parametrize(("levels", "units"), [(1, 6), (2, 9), (3, 12)])
def test_an_attention_module_has_four_units_in_its_trunk_and_three_for_each_level(levels: int, units: int) -> None:
    """Two units in the mask at the lowest level, three more for each above. Source: Wang et al. 2017, figure 2, r = 1."""
    unit = probe("basic", ((8, 16, 16),), 1).params
    ends = 2 * (16 + 64)  # norm and 1x1 convolution, twice
    assert probe({"attention_module": {"unit": "basic", "levels": levels}}, ((8, 16, 16),), 1).params == units * unit + ends


def test_masked_is_one_plus_mask_times_trunk() -> None:
    """Source: Wang et al. 2017, equation 3."""
    module = make({"masked": {"trunk": {"conv": {"out": 4}}, "mask": [{"conv": {"out": 4}}, "sigmoid"]}}, ((4, 5, 5),), 1, "block").eval()
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(module(x), (1 + module.mask(x)) * module.trunk(x))
    with pytest.raises(UserError, match="trunk and mask must end in one shape"):
        make({"masked": {"trunk": [], "mask": {"conv": {"out": 3}}}}, ((4, 5, 5),), 1, "block")


def test_same_size_brings_any_map_back() -> None:
    for side in (4, 5, 7):
        assert probe({"same_size": {"body": [{"pool": {"kernel": 2}}, {"conv": {"out": 6}}]}}, ((4, side, 9),), 1).shapes == ((6, side, 9),)
    block = make({"same_size": {"body": {"pool": {"kernel": 2}}, "kind": "nearest"}}, ((1, 4, 4),), 1, "block")
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert block(x)[0, 0, 0].tolist() == [5, 5, 7, 7]


def test_an_hourglass_by_hand() -> None:
    """Depths 2 and 1: two blocks beside, two down (the first with a stride), one at the bottom, two up."""
    shape = (8, 6, 6)

    def basic(before: int, out: int) -> int:
        project = before * out + 2 * out if before != out else 0
        return 9 * before * out + 9 * out * out + 4 * out + project

    down = basic(8, 6) + basic(6, 6)
    up = basic(6, 6) + basic(6, 8)
    assert probe({"hourglass": {"widths": [8, 6], "depths": [2, 1]}}, (shape,), 1).params == 2 * basic(8, 8) + down + basic(6, 6) + up
    assert probe({"hourglass": {"widths": [8, 6, 7], "depths": [1, 1, 1]}}, ((8, 9, 7),), 1).shapes == ((8, 9, 7),)
    module, sides = make({"hourglass": {"widths": [2] * 4, "depths": [1] * 4}}, ((2, 32, 32),), 1, "block").eval(), []
    for inner in module.modules():
        inner.register_forward_hook(lambda _, __, out: sides.append(out.shape[2]))
    assert module(torch.randn(1, 2, 32, 32)).shape == (1, 2, 32, 32) and min(sides) == 4
    with pytest.raises(UserError, match="a width and a depth"):
        make({"hourglass": {"widths": [8], "depths": [1]}}, (shape,), 1, "block")
