"""Inception modules: printed weights and costs, and the networks made of them (counts: recounts in the shared catalogue)."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from nasforge.errors import UserError
from nasforge.networks.build import make, opened, probe

BARE = {"norm": "none"}
ROWS = {  # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool. Source: Szegedy et al. 2015, table 1
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def module(row: str, **args: Any) -> dict[str, Any]:
    b1, r3, b3, r5, b5, pool = ROWS[row]
    return {"inception": {"b1": b1, "b3": [r3, b3], "b5": [r5, b5], "pool": pool, **args}}


def weights(block: Any, shape: tuple[int, ...]) -> int:
    """Parameters without biases and norms."""
    return sum(m.weight.numel() for m in make(block, (shape,), 1000, "block").modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("row", "before", "size", "out", "thousands", "millions"),
    [("3a", 192, 28, 256, 159.5, 128), ("3b", 256, 28, 480, 380, 304), ("4b", 512, 14, 512, 437, 88), ("4e", 528, 14, 832, 840, 170)],
)
def test_modules_of_googlenet_have_the_printed_weights_and_cost(
    row: str, before: int, size: int, out: int, thousands: float, millions: float
) -> None:
    """The table of redfern (K = 1024, rounded freely): C a + C b + 9 b c + C d + 25 d e + C f weights, each used once a place."""
    a, b, c, d, e, f = ROWS[row]
    found = probe(module(row, **BARE), ((before, size, size),), 1000)
    count = weights(module(row, **BARE), (before, size, size))
    assert count == before * (a + b + d + f) + 9 * b * c + 25 * d * e
    assert count / 1024 == pytest.approx(thousands, rel=0.01) and found.shapes == ((out, size, size),)
    assert found.macs == count * size**2 and found.macs / 1e6 == pytest.approx(millions, rel=0.005)


def test_module_3a_exactly() -> None:
    assert weights(module("3a"), (192, 28, 28)) == 163_328


def test_googlenet_has_its_exact_size() -> None:
    pool = {"pool": {"kernel": 3, "stride": 2}}
    stem = [{"conv": {"out": 64, "kernel": 7, "stride": 2, **BARE}}, pool]
    stem += [{"conv": {"out": 64, "kernel": 1, **BARE}}, {"conv": {"out": 192, **BARE}}]
    body = [pool, *(module(r, **BARE) for r in ("3a", "3b")), pool, *(module(r, **BARE) for r in ROWS if r[0] == "4")]
    found = probe([*stem, *body, pool, *(module(r, **BARE) for r in ("5a", "5b")), "gap_head"], ((3, 224, 224),), 1000)
    assert (found.params, found.macs) == (6_998_552, 1_582_671_872)


def test_inception_v3_has_its_exact_size() -> None:
    """The released form without its auxiliary head: modules of figures 5, 6, 7 and reductions of figure 10."""
    valid = {"pad": "valid"}
    pool = {"pool": {"kernel": 3, "stride": 2, **valid}}
    stem = [{"conv": {"out": 32, "stride": 2, **valid}}, {"conv": {"out": 32, **valid}}, {"conv": {"out": 64}}, pool,
            {"conv": {"out": 80, "kernel": 1}}, {"conv": {"out": 192, **valid}}, pool]  # fmt: skip
    a = [{"inception_factorised": {"b1": 64, "b3": [48, 64], "b5": [64, 96, 96], "pool": p, "kernel": 5}} for p in (32, 64, 64)]
    wide = {"b1": 192, "pool": 192}
    b = [{"inception_asymmetric": {**wide, "single": [w, w, 192], "double": [w, w, w, w, 192]}} for w in (128, 160, 160, 192)]
    c = [{"inception_expanded": {"b1": 320, "b3": [384, 384], "b5": [448, 384, 384], "pool": 192}}] * 2
    first = {"reduction": {"b3": [384], "double": [64, 96, 96], **valid}}
    second = {"reduction": {"b3": [192, 320], "double": [192, 192, 192, 192], "kernel": 7, **valid}}
    found = probe([*stem, *a, first, *b, second, *c, "gap_head"], ((3, 299, 299),), 1000)
    assert (found.params, found.macs) == (23_834_568, 5_713_216_096)


def test_factorising_5x5_saves_the_printed_share() -> None:
    """25 -> 18 weights for each pair of channels of equal width."""
    plain = probe({"inception": {"b1": 0, "b3": [1, 1], "b5": [1, 8], "pool": 0, **BARE}}, ((4, 8, 8),), 1)
    both = probe({"inception_factorised": {"b1": 0, "b3": [1, 1], "b5": [1, 8, 8], "pool": 0, **BARE}}, ((4, 8, 8),), 1)
    assert plain.macs - both.macs == (25 * 8 - 9 * 8 - 9 * 8 * 8) * 64


def test_naive_module_keeps_all_input_channels_in_its_pool_branch() -> None:
    found = probe({"inception_naive": {"b1": 2, "b3": 3, "b5": 4, **BARE}}, ((10, 8, 8),), 1)
    assert found.shapes == ((2 + 3 + 4 + 10, 8, 8),) and found.params == 10 * (2 + 9 * 3 + 25 * 4) + 9


@pytest.mark.parametrize(("pad", "size"), [("same", 4), ("valid", 3)])
def test_reduction_halves_the_size_and_keeps_the_input_in_its_pool(pad: str, size: int) -> None:
    for block in ({"b3": [5], "double": [2, 3, 4]}, {"b3": [3, 5], "double": [2, 3, 3, 4], "kernel": 7}):
        found = probe({"reduction": {**block, "pad": pad}}, ((6, 8, 8),), 1)
        assert found.shapes == ((5 + 4 + 6, size, size),)


@pytest.mark.parametrize(
    ("before", "squeeze", "expand", "params"),
    [(96, 16, 64, 11_920), (128, 16, 64, 12_432), (128, 32, 128, 45_344), (256, 32, 128, 49_440), (256, 48, 192, 104_880),
     (384, 48, 192, 111_024), (384, 64, 256, 188_992), (512, 64, 256, 197_184)],
)  # fmt: skip
def test_fire_modules_of_squeezenet(before: int, squeeze: int, expand: int, params: int) -> None:
    """Redfern's table, fire2 to fire9."""
    found = probe({"fire": {"squeeze": squeeze, "e1": expand, "e3": expand}}, ((before, 13, 13),), 1)
    assert found.params == params and found.shapes == ((2 * expand, 13, 13),)


@pytest.mark.parametrize(("size", "pad", "macs"), [(224, 0, 818_924_576), (227, 0, 832_667_936), (227, 1, 861_339_936)])
def test_squeezenet_has_its_exact_size(size: int, pad: int, macs: int) -> None:
    """Three forms of the catalogue: 224, 227, and 227 with conv10 padded by 1 as in Caffe."""
    pool: dict[str, Any] = {"pool": {"kernel": 3, "stride": 2, "pad": "valid", "ceil": True}}
    fires = [{"fire": {"squeeze": s, "e1": 4 * s, "e3": 4 * s}} for s in (16, 16, 32, 32, 48, 48, 64, 64)]
    last = {"conv": {"out": "classes", "kernel": 1, "pad": pad, **BARE}}
    stem = {"conv": {"out": 96, "kernel": 7, "stride": 2, "pad": "valid", **BARE}}
    found = probe([stem, pool, *fires[:3], pool, *fires[3:7], pool, fires[7], last, {"pool": {"kind": "avg"}}], ((3, size, size),), 1000)
    assert (found.params, found.macs) == (1_248_424, macs)


def test_a_module_is_the_parallel_block_it_stands_for() -> None:
    """The opened form in the design notes."""
    opened_by_hand = {"parallel": {"branches": [
        [{"conv": {"out": 64, "kernel": 1}}],
        [{"conv": {"out": 96, "kernel": 1}}, {"conv": {"out": 128, "kernel": 3}}],
        [{"conv": {"out": 16, "kernel": 1}}, {"conv": {"out": 32, "kernel": 5}}],
        [{"pool": {"kind": "max", "kernel": 3, "stride": 1}}, {"conv": {"out": 32, "kernel": 1}}],
    ]}}  # fmt: skip
    assert opened(module("3a")) == opened(opened_by_hand)


def test_a_list_of_wrong_length_is_told() -> None:
    with pytest.raises(UserError, match=r"body\.inception: b3 must be 2 widths, from the input to the output of its branch, got \[4\]"):
        probe({"inception": {"b1": 2, "b3": [4], "b5": [2, 4], "pool": 2}}, ((4, 8, 8),), 1, "body")
    with pytest.raises(UserError, match=r"body\.reduction: b3 must be \[out\] or \[reduced, out\]"):
        probe({"reduction": {"b3": [], "double": [2, 3, 4]}}, ((4, 8, 8),), 1, "body")
