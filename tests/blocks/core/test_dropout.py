"""The dropout family: shares, scaling, shapes of what is dropped; silence outside training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nasforge.blocks.compose.combine import Residual
from nasforge.blocks.core.dropout import DropBlock, Dropout
from nasforge.blocks.core.linear import Linear
from nasforge.errors import UserError
from nasforge.networks.build import build, make, opened


def test_dropout_keeps_the_mean_and_is_silent_in_eval() -> None:
    torch.manual_seed(0)
    layer, x = Dropout((20_000,), 0.3), torch.ones(1, 20_000)
    out = layer(x)
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 1 / 0.7]))
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize(("shape", "positions"), [((200, 4, 4), (2, 3)), ((7, 200), (1,)), ((200, 2, 3, 3), (2, 3, 4))])
def test_channel_dropout_drops_whole_maps(shape: tuple[int, ...], positions: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    out = Dropout(shape, 0.4, channels=True)(torch.ones(2, *shape))
    kept = out.amax(positions)
    assert torch.equal(kept, out.amin(positions)) and set(kept.unique().tolist()) == {0.0, torch.tensor(1 / 0.6).item()}
    assert (kept == 0).float().mean().item() == pytest.approx(0.4, abs=0.1)


def test_drop_block_drops_squares_and_about_the_share_that_is_asked() -> None:
    torch.manual_seed(0)
    layer, x = DropBlock((16, 20, 20), p=0.1, size=5), torch.ones(50, 16, 20, 20)
    out = layer(x)
    dropped = out == 0
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert out.mean().item() == pytest.approx(1.0, abs=1e-4)  # what is left is scaled up
    whole = -nn.functional.max_pool2d(-dropped.float(), 5, 1)  # 1 at the corner of each square that is gone
    covered = nn.functional.max_pool2d(nn.functional.pad(whole, [4, 4, 4, 4]), 5, 1) > 0
    assert torch.equal(covered, dropped)  # every dropped position lies in such a square
    assert torch.equal(layer.eval()(x), x)


def test_drop_block_of_size_one_is_dropout_and_a_large_one_takes_the_map() -> None:
    torch.manual_seed(0)
    points = DropBlock((1, 100, 100), p=0.25, size=1)(torch.ones(4, 1, 100, 100))
    assert (points == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    maps = DropBlock((400, 3, 3), p=0.25, size=7)(torch.ones(4, 400, 3, 3)).flatten(2)
    assert torch.equal(maps.amax(-1), maps.amin(-1)) and (maps == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("name", ["dropout", "drop_block"])
def test_a_rate_of_0_is_nothing_and_a_wrong_one_is_told(name: str) -> None:
    assert opened({name: {"p": 0}}) == [] and opened({name: {"p": 0.2}}) != []
    for wrong in (1.5, -0.1):
        with pytest.raises(UserError, match=f"body.{name}: p, the probability to drop, must be from 0 to below 1, got {wrong}"):
            make({name: {"p": wrong}}, ((2, 9, 9),), 1, "body")


def test_drop_connect_of_a_linear_layer_masks_weights() -> None:
    torch.manual_seed(0)
    layer = Linear((1,), 2_000, bias=False, drop_connect=0.25)
    layer.linear.weight.data.fill_(1.0)
    out = layer(torch.ones(3, 1))
    assert torch.equal(out[0], out[1])  # one mask for the batch: the weights are dropped, not the values
    assert (out[0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert torch.equal(layer.eval()(torch.ones(3, 1)), torch.ones(3, 2_000))


# ---------------------------------------------------------------- stochastic depth


def residual(**args: Any) -> Residual:
    module = make({"residual": {"body": [{"conv": {"norm": "none", "act": "none"}}], "act": "relu", **args}}, ((3, 4, 4),), 1, "block")
    assert isinstance(module, Residual)
    return module


def test_stochastic_depth_gives_the_shortcut_or_the_scaled_sum() -> None:
    """Kalhor: train ReLU(b f(H) + id(H)), b = 0 gives ReLU(id(H)); here f is divided by p when kept, so that eval needs no factor."""
    torch.manual_seed(0)
    module = residual(drop_path=0.4)
    x = torch.randn(2_000, 3, 4, 4)
    out, f = module(x), module.body(x)
    gone = (out == x.relu()).flatten(1).all(1)
    assert gone.float().mean().item() == pytest.approx(0.4, abs=0.04)
    torch.testing.assert_close(out[~gone], (x + f / 0.6)[~gone].relu())
    torch.testing.assert_close(module.eval()(x), (x + f).relu())


def test_rates_grow_linearly_with_depth() -> None:
    """p_l = 1 - l / L (1 - p_L): l = L / 2 and p_L = 0.5 give 0.75."""
    block: Any = {"residual": {"body": [{"conv": {}}]}}
    network = build({"input": [3, 4, 4], "body": [{"stage": {"block": block, "depth": 4}}], "drop_path": 0.5})
    kept = [1 - m.drop_path for m in network.modules() if isinstance(m, Residual)]
    assert kept == pytest.approx([0.875, 0.75, 0.625, 0.5])
