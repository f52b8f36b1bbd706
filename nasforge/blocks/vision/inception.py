"""Inception modules and their kin: parallel branches of convolutions, concatenated. A branch of width 0 is left out."""

from __future__ import annotations

from typing import Any, Literal

from nasforge.blocks.core.activation import Act
from nasforge.blocks.core.norm import NormKind

PoolKind = Literal["max", "avg"]


def _convs(widths: list[int], kernels: list[Any], rest: dict[str, Any], **last: Any) -> list[dict[str, Any]]:
    """Return convolutions in a row, one for each width; `last` goes to the last of them."""
    blocks = [{"conv": {"out": w, "kernel": k, **rest}} for w, k in zip(widths, kernels, strict=True)]
    blocks[-1]["conv"].update(last)
    return blocks


def _widths(given: list[int], count: int, what: str) -> list[int]:
    if len(given) != count:
        raise ValueError(f"{what} must be {count} widths, from the input to the output of its branch, got {given}")
    return given


def _pooled(kind: str, width: int, rest: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"pool": {"kind": kind, "kernel": 3, "stride": 1}}, {"conv": {"out": width, "kernel": 1, **rest}}]


def _concat(branches: list[list[Any]]) -> list:
    return [{"parallel": {"branches": [branch for branch in branches if branch]}}]


def inception(
    b1: int, b3: list[int], b5: list[int], pool: int, pool_kind: PoolKind = "max", norm: NormKind = "batch", act: Act = "relu"
) -> list:
    """1x1 | 1x1, 3x3 | 1x1, 5x5 | 3x3 pool, 1x1; b3 and b5 are [reduced, out]. Source: Szegedy et al. 2015, figure 2 (b) and table 1."""
    rest = {"norm": norm, "act": act}
    return _concat([
        _convs([b1], [1], rest) if b1 else [],
        _convs(_widths(b3, 2, "b3"), [1, 3], rest),
        _convs(_widths(b5, 2, "b5"), [1, 5], rest),
        _pooled(pool_kind, pool, rest) if pool else [],
    ])  # fmt: skip


def inception_naive(b1: int, b3: int, b5: int, norm: NormKind = "batch", act: Act = "relu") -> list:
    """1x1 | 3x3 | 5x5 | 3x3 pool, without reductions. Source: Szegedy et al. 2015, figure 2 (a)."""
    rest = {"norm": norm, "act": act}
    return _concat([*(_convs([w], [k], rest) for w, k in ((b1, 1), (b3, 3), (b5, 5))), [{"pool": {"kernel": 3, "stride": 1}}]])


def inception_factorised(
    b1: int, b3: list[int], b5: list[int], pool: int, kernel: int = 3, pool_kind: PoolKind = "avg",
    norm: NormKind = "batch", act: Act = "relu",
) -> list:  # fmt: skip
    """1x1 | 1x1, 3x3 | 1x1, 3x3, 3x3 in place of 5x5 | pool, 1x1; b3 is [reduced, out], b5 [reduced, mid, out].

    `kernel` of the second branch is 5 in the released Inception-v3. Source: Szegedy et al. 2016, figure 5.
    """
    rest = {"norm": norm, "act": act}
    return _concat([
        _convs([b1], [1], rest) if b1 else [],
        _convs(_widths(b3, 2, "b3"), [1, kernel], rest),
        _convs(_widths(b5, 3, "b5"), [1, 3, 3], rest),
        _pooled(pool_kind, pool, rest) if pool else [],
    ])  # fmt: skip


def inception_asymmetric(
    b1: int, single: list[int], double: list[int], pool: int, kernel: int = 7, pool_kind: PoolKind = "avg",
    norm: NormKind = "batch", act: Act = "relu",
) -> list:  # fmt: skip
    """1x1 | 1x1, 1xn, nx1 | 1x1, nx1, 1xn, nx1, 1xn | pool, 1x1; `single` has three widths, `double` five.

    Source: Szegedy et al. 2016, figure 6.
    """
    rest = {"norm": norm, "act": act}
    row, column = [1, kernel], [kernel, 1]
    return _concat([
        _convs([b1], [1], rest) if b1 else [],
        _convs(_widths(single, 3, "single"), [1, row, column], rest),
        _convs(_widths(double, 5, "double"), [1, column, row, column, row], rest),
        _pooled(pool_kind, pool, rest) if pool else [],
    ])  # fmt: skip


def inception_expanded(
    b1: int, b3: list[int], b5: list[int], pool: int, pool_kind: PoolKind = "avg", norm: NormKind = "batch", act: Act = "relu"
) -> list:
    """1x1 | 1x1, (1x3 | 3x1) | 1x1, 3x3, (1x3 | 3x1) | pool, 1x1; b3 is [reduced, each], b5 [reduced, mid, each].

    Source: Szegedy et al. 2016, figure 7.
    """
    rest = {"norm": norm, "act": act}

    def fan(width: int) -> list:
        return _concat([_convs([width], [kernel], rest) for kernel in ([1, 3], [3, 1])])

    return _concat([
        _convs([b1], [1], rest) if b1 else [],
        [*_convs(_widths(b3, 2, "b3")[:1], [1], rest), *fan(b3[1])],
        [*_convs(_widths(b5, 3, "b5")[:2], [1, 3], rest), *fan(b5[2])],
        _pooled(pool_kind, pool, rest) if pool else [],
    ])  # fmt: skip


def reduction(
    b3: list[int], double: list[int], kernel: int = 3, pad: Literal["same", "valid"] = "same", norm: NormKind = "batch", act: Act = "relu"
) -> list:
    """Half the size: 3x3/2 | 1x1, 3x3, 3x3/2 | 3x3 max pool /2.

    b3 is [out] or [reduced, out], `double` [reduced, mid, out]; with a kernel n above 3 the middle of `double` is 1xn, nx1 and it has
    four widths. Source: Szegedy et al. 2016, figure 10; Szegedy et al. 2017, figures 7 and 8.
    """
    rest, last = {"norm": norm, "act": act}, {"stride": 2, "pad": pad}
    middle: list[Any] = [3] if kernel == 3 else [[1, kernel], [kernel, 1]]
    if len(b3) not in (1, 2):
        raise ValueError(f"b3 must be [out] or [reduced, out], got {b3}")
    return _concat([
        _convs(b3, [1, 3][-len(b3) :], rest, **last),
        _convs(_widths(double, 2 + len(middle), "double"), [1, *middle, 3], rest, **last),
        [{"pool": {"kernel": 3, **last}}],
    ])  # fmt: skip


def fire(squeeze: int, e1: int, e3: int, norm: NormKind = "none", act: Act = "relu") -> list:
    """1x1 squeeze, then 1x1 | 3x3 expand, concatenated. Source: Iandola et al. 2016 (SqueezeNet), figure 1."""
    rest = {"norm": norm, "act": act}
    return [*_convs([squeeze], [1], rest), *_concat([_convs([e1], [1], rest), _convs([e3], [3], rest)])]


BLOCKS = {
    "inception": inception, "inception_naive": inception_naive, "inception_factorised": inception_factorised,
    "inception_asymmetric": inception_asymmetric, "inception_expanded": inception_expanded, "reduction": reduction, "fire": fire,
}  # fmt: skip
