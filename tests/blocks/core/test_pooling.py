"""Pooling and un-pooling: values worked by hand, sizes, and that sizes of the input are free where they should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nasforge.blocks.core.pooling import BedOfNails, IndexPool, IndexUnpool, Pool, SpatialPyramid
from nasforge.errors import UserError
from nasforge.networks.build import build, probe

X = torch.tensor([[[[1.0, 2.0, -3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [0.0, -1.0, 2.0, 2.0], [1.0, 0.0, 4.0, -4.0]]]])


def pool(kind: Any, **args: Any) -> list[list[float]]:
    return Pool((1, 4, 4), kind, **args).eval()(X)[0, 0].tolist()


def test_windows_by_hand() -> None:
    assert pool("max", kernel=2) == [[6, 8], [1, 4]]
    assert pool("min", kernel=2) == [[1, -3], [-1, -4]]
    assert pool("avg", kernel=2) == [[3.5, 4], [0, 1]]
    assert pool("mixed", kernel=2) == [[4.75, 6], [0.5, 2.5]]  # half and half at the start
    assert pool("lp", kernel=2, p=1.0) == [[14, 22], [2, 12]]
    assert pool("lp", kernel=2, p=2.0)[0][0] == pytest.approx((1 + 4 + 25 + 36) ** 0.5)


@pytest.mark.parametrize(("kind", "expected"), [("max", 8), ("min", -4), ("avg", 34 / 16), ("mixed", (8 + 34 / 16) / 2), ("lp", 246**0.5)])
def test_everything_where_no_kernel_is_given(kind: Any, expected: float) -> None:
    layer = Pool((1, 4, 4), kind)
    assert layer(X).item() == pytest.approx(expected)
    assert layer(X.repeat(1, 3, 2, 1)).shape == (1, 3)  # any size, any number of maps
    assert probe({"pool": {"kind": "avg"}}, ((7, 9, 5),), 1).params == 0


def test_alexnet_pools_overlap() -> None:
    """Kalhor: 55 -> 27 -> 13 -> 6 with 3x3/2."""
    block = {"pool": {"kernel": 3, "stride": 2, "pad": "valid"}}
    assert [probe(block, ((1, n, n),), 1).shapes[0][1] for n in (55, 27, 13)] == [27, 13, 6]
    assert probe({"pool": {"kernel": 3, "stride": 2}}, ((1, 112, 112),), 1).shapes[0][1] == 56
    assert probe({"pool": {"kernel": 3, "stride": 2, "pad": "valid", "ceil": True}}, ((1, 112, 112),), 1).shapes[0][1] == 56
    assert probe({"pool": {"kernel": 2}}, ((1, 7, 7),), 1).shapes[0][1] == 3


def test_average_does_not_count_the_padding() -> None:
    ones = torch.ones(1, 1, 5, 5)
    assert torch.equal(Pool((1, 5, 5), "avg", kernel=3, stride=1)(ones), ones)


def test_padding_as_in_tensorflow() -> None:
    """A side of 4 has no padding before and one after, of 5 one on both sides; what lies outside counts for nothing."""
    assert pool("max", kernel=3, stride=2, pad="tf") == [[7, 8], [4, 4]]
    assert pool("avg", kernel=3, stride=2, pad="tf") == [pytest.approx([19 / 9, 20 / 6]), pytest.approx([6 / 6, 4 / 4])]
    wider = F.pad(X, [0, 1, 0, 1])
    assert torch.equal(Pool((1, 5, 5), "avg", 3, 2, "tf")(wider), Pool((1, 5, 5), "avg", 3, 2, 1)(wider))
    with pytest.raises(ValueError, match="odd kernel where the stride is 1"):
        Pool((1, 4, 4), kernel=2, stride=1, pad="tf")


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 2, 1), (2, 2, 0), (3, 1, 0), (4, 3, 1), (2, 3, 0)])
@pytest.mark.parametrize("size", [6, 7, 9])
def test_sums_and_windows_agree_with_torch_at_the_borders(size: int, kernel: int, stride: int, pad: int, ceil: bool) -> None:
    layer = Pool((2, size, size), "lp", kernel, stride, pad, ceil)
    x = torch.randn(2, 2, size, size)
    squares = F.avg_pool2d(x.square(), kernel, stride, pad, ceil, divisor_override=1)
    torch.testing.assert_close(layer(x), squares.sqrt(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer._windows(x).square().sum(-1), squares, rtol=1e-4, atol=1e-5)


def test_mixed_pooling_learns_its_share() -> None:
    layer = Pool((1, 4, 4), "mixed", kernel=2)
    assert layer.mix is not None
    layer.mix.data.fill_(20.0)
    torch.testing.assert_close(layer(X), F.max_pool2d(X, 2))
    layer.mix.data.fill_(-20.0)
    torch.testing.assert_close(layer(X), F.avg_pool2d(X, 2))


def test_stochastic_pooling_draws_in_proportion_and_weighs_when_not_training() -> None:
    """Banerjee: activations 1.6 and 2.4 in a 3x3 window have probability 0.4 and 0.6."""
    window = torch.tensor([[0.0, 1.6, 0.0], [0.0, 0.0, 0.0], [2.4, 0.0, -1.0]])
    layer = Pool((1, 3, 3), "stochastic", kernel=3)
    torch.manual_seed(0)
    drawn = layer(window.expand(4000, 1, 3, 3)).flatten()
    assert set(drawn.tolist()) == {window[0, 1].item(), window[2, 0].item()}
    assert (drawn > 2).float().mean().item() == pytest.approx(0.6, abs=0.03)
    assert layer.eval()(window[None, None]).item() == pytest.approx(0.4 * 1.6 + 0.6 * 2.4)
    assert Pool((1, 3, 3), "stochastic").eval()(window[None, None]).item() == pytest.approx(2.08)
    for mode in (True, False):
        assert layer.train(mode)(torch.zeros(1, 1, 3, 3)).item() == 0


def test_stochastic_pooling_gives_values_of_its_own_window() -> None:
    x = torch.rand(2, 3, 7, 7) + 0.1
    layer = Pool((3, 7, 7), "stochastic", kernel=3, stride=2)
    windows, drawn = layer._windows(x), layer(x)
    assert (windows == drawn.unsqueeze(-1)).any(-1).all()


def test_spatial_pyramid_has_21_bins_for_any_size() -> None:
    layer = SpatialPyramid((2, 13, 13))
    for high, wide in ((13, 13), (10, 7), (4, 4), (3, 2)):
        assert layer(torch.randn(2, 2, high, wide)).shape == (2, 2 * 21)
    x = torch.randn(1, 2, 8, 12)
    expected = torch.cat([F.adaptive_max_pool2d(x, n).permute(0, 2, 3, 1).flatten(1) for n in (1, 2, 4)], 1)
    torch.testing.assert_close(layer(x), expected)
    average = SpatialPyramid((2, 9, 7), [3], "avg")(y := torch.randn(1, 2, 9, 7))
    torch.testing.assert_close(average, F.adaptive_avg_pool2d(y, 3).permute(0, 2, 3, 1).flatten(1))


def test_bed_of_nails_as_printed() -> None:
    """Sojka: the value top left, zeros elsewhere."""
    out = BedOfNails((1, 2, 2))(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert out[0, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]


def test_index_unpool_puts_maxima_back() -> None:
    """Kalhor: unpool(pool(x)) keeps the maxima, zeros elsewhere."""
    x = torch.randn(2, 3, 6, 8)
    where, pooled = IndexPool((3, 6, 8))(x)
    back = IndexUnpool(((3, 3, 4), (3, 3, 4)))(pooled, where)
    keep = back != 0
    assert keep.sum() == pooled.numel() and torch.equal(back[keep], x[keep])
    torch.testing.assert_close(F.max_pool2d(x, 2), F.max_pool2d(torch.where(keep, x, -torch.inf), 2))


def test_index_unpool_in_a_network() -> None:
    conv: Any = {"conv": {"out": 4}}
    body = [conv, {"index_pool": {}, "as": ["where", "pooled"]}, conv, {"index_unpool": {}, "from": ["last", "where"]}]
    assert build({"input": [3, 8, 6], "body": body})(torch.randn(2, 3, 8, 6)).shape == (2, 4, 8, 6)


def test_mistakes_are_told_in_words() -> None:
    for block, words in (
        ({"index_pool": {}}, "divisible by stride=2, got 5 x 4"),
        ({"spatial_pyramid": {"levels": []}}, "levels must be a list"),
        ({"pool": {"kernel": 9, "pad": "valid"}}, "pool"),
        ({"pool": {"kind": "lp", "p": 0.5}}, "p must be a number >= 1"),
    ):
        with pytest.raises(UserError, match=f"body.0.*{words}"):
            probe([block], ((3, 5, 4),), 1, "body")


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_padding_by_axis(kind: str) -> None:
    """The pool of CRNN: 2 x 2 windows, stride (2, 1), padding (0, 1): 8 x 25 becomes 4 x 26."""
    layer = Pool((16, 8, 25), kind, kernel=[2, 2], stride=[2, 1], pad=[0, 1])
    x = torch.randn(2, 16, 8, 25)
    assert layer(x).shape == (2, 16, 4, 26)
    upper, lower = x[:, :, ::2, 0], x[:, :, 1::2, 0]
    torch.testing.assert_close(layer(x)[:, :, :, 0], upper.maximum(lower) if kind == "max" else (upper + lower) / 2)
    for pad in ([0], [0, 1, 1], [0, -1]):
        with pytest.raises(ValueError, match="pad must be a number >= 0 or 2 of them"):
            Pool((16, 8, 25), kernel=2, pad=pad)
