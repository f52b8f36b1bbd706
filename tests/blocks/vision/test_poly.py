"""The polynomial of an inception block: shared weights, own norms, and the sum of its terms."""

from __future__ import annotations

import pytest
import torch

from nasforge.errors import UserError
from nasforge.networks.build import make, probe

ARGS = {"single": 2, "triple": [3, 4, 5], "kernel": 3, "scale": 0.5}


def test_weights_are_shared_and_norms_are_not() -> None:
    """One set of branches for any number of times; each time has its norms and its way back."""
    once, thrice = (probe({"poly_inception": {**ARGS, "times": times}}, ((8, 6, 6),), 1) for times in (1, 3))
    each = 2 * (2 + 3 + 4 + 5) + 7 * 8 + 2 * 8
    assert once.params == 8 * 2 + 8 * 3 + 3 * 3 * 4 + 3 * 4 * 5 + each
    assert thrice.params == once.params + 2 * each
    assert thrice.macs == 3 * once.macs


def test_the_output_is_the_input_and_all_terms() -> None:
    module = make({"poly_inception": {**ARGS, "times": 2}}, ((8, 6, 6),), 1, "block").eval()
    x = torch.randn(2, 8, 6, 6)
    first = module.back_norms[0](module.backs[0](module.branches(x, module.norms[0])))
    second = module.back_norms[1](module.backs[1](module.branches(first.relu(), module.norms[1])))
    torch.testing.assert_close(module(x), (x + 0.5 * (first + second)).relu())


def test_three_widths_are_needed() -> None:
    with pytest.raises(UserError, match="three widths"):
        make({"poly_inception": {"single": 2, "triple": [3, 4]}}, ((8, 6, 6),), 1, "block")
