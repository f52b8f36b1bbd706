"""BAM and the competition of residual and identity: sizes by hand, and what the gates do at their ends."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasforge.errors import UserError
from nasforge.networks.build import make, probe


def test_bam_by_hand() -> None:
    """Two gates of width C / 16, a norm of each narrow layer, all with biases. Source: Park et al. 2018, equations 4 and 5."""
    width, inner = 256, 16
    maps = (width + 1) * inner + 2 * inner + (inner + 1) * width
    places = (width + 1) * inner + 2 * (9 * inner + 1) * inner + 3 * 2 * inner + inner + 1
    assert probe("bam", ((width, 8, 8),), 1).params == maps + places


def test_bam_adds_at_most_the_input_and_at_least_nothing() -> None:
    module = make({"bam": {"ratio": 0.5}}, ((4, 6, 6),), 1, "block").eval()
    x = torch.rand(2, 4, 6, 6)
    assert (module(x) >= x).all() and (module(x) <= 2 * x).all()
    nn.init.zeros_(module.score.weight)
    nn.init.zeros_(module.score.bias)
    torch.testing.assert_close(module(x), 1.5 * x)


def test_cmpe_image_interleaves_residual_and_identity_rows() -> None:
    """Source: the authors' folded view: groups of C / k means, those of the residual above those of the identity."""
    module = make({"cmpe": {"body": [], "ratio": 0.5, "kernel": 1, "fold": 2}}, ((4, 3, 3),), 1, "block").eval()
    seen = []
    module.view.register_forward_pre_hook(lambda _, xs: seen.append(xs[0]))
    new, kept = (torch.arange(4.0).view(1, 4, 1, 1) + start for start in (0, 10))
    module.gate(new, kept)
    assert seen[0].tolist() == [[[[0, 1], [10, 11], [2, 3], [12, 13]]]]


def test_cmpe_weighs_the_residual_alone() -> None:
    module = make({"cmpe": {"body": [{"conv": {"out": 4}}], "ratio": 0.5, "fold": 2, "kernel": 2}}, ((4, 5, 5),), 1, "block").eval()
    nn.init.zeros_(module.expand.weight)  # every factor is 1/2
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(module(x), x + module.body(x) / 2)


def test_cmpe_wide_by_hand() -> None:
    """10 filters of 3x3 on an image of 20 x 16, then 252 -> 10 -> 160. Source: Hu et al. 2018 (CMPE-SE), the 3x3 view for width 160."""
    wide = probe({"wide_basic": {"out": 160}}, ((160, 8, 8),), 1)
    gate = 9 * 10 + 20 + 252 * 10 + 10 * 160
    assert probe({"cmpe_wide": {"out": 160}}, ((160, 8, 8),), 1).params == wide.params + gate


def test_cmpe_needs_an_image_of_its_means() -> None:
    with pytest.raises(UserError, match="channels divisible by fold"):
        make({"cmpe": {"body": [], "fold": 3}}, ((8, 5, 5),), 1, "block")
