"""A limit that no network of a space keeps is told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nasforge as nf
from nasforge.errors import UserError
from nasforge.networks.cost import count
from nasforge.objectives.objective import parse_limit
from nasforge.search.within import extreme
from nasforge.spaces.choosers import enumerate_space
from nasforge.spaces.space import Space

SMALL: dict[str, Any] = {
    "input": [1, 8, 8],
    "classes": 10,
    "let": {"width": {"choose": [12, 4, 8]}},
    "body": [
        {"choose": {"plain": {"conv": {"out": "$width", "kernel": {"choose": [3, 1, 5]}}}, "none": [], "wide": {"conv": {"out": 40}}}},
        {"stage": {"depth": {"int": [0, 3]}, "block": {"choose": ["basic", {"mbconv": {"out": "$width", "expand": {"choose": [4, 2]}}}]}}},
    ],
    "head": ["gap_head"],
}


@pytest.mark.parametrize("metric", ["params", "macs", "peak_bytes"])
def test_the_smallest_network_is_found(metric: str) -> None:
    space = Space(SMALL)
    least = min(getattr(count(arch), metric) for arch, _ in enumerate_space(space))
    assert extreme(space, parse_limit(f"{metric}<=0"), {}) == (least, True)
    assert extreme(space, parse_limit(f"{metric}<={least}"), {}) == (least, True)
    found, settled = extreme(space, parse_limit(f"{metric}<=1e12"), {})
    assert settled and found >= least  # the first that keeps it is enough
    assert not extreme(space, parse_limit(f"{metric}<=0"), {}, looks=3)[1]


@pytest.mark.parametrize("metric", ["params", "macs", "peak_bytes"])
def test_the_largest_network_is_found(metric: str) -> None:
    space = Space(SMALL)
    most = max(getattr(count(arch), metric) for arch, _ in enumerate_space(space))
    assert extreme(space, parse_limit(f"{metric}>={most + 1}"), {}) == (most, True)
    assert extreme(space, parse_limit(f"{metric}>={most}"), {}) == (most, True)
    found, settled = extreme(space, parse_limit(f"{metric}>=1"), {})
    assert settled and 1 <= found <= most
    assert not extreme(space, parse_limit(f"{metric}>=1e12"), {}, looks=3)[1]


@pytest.mark.slow
def test_a_limit_that_nothing_keeps_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    words: dict[str, Any] = {"data_limit": 300, "run": tmp_path / "run", "show": False, "strategy": "random", "runner": "inline"}
    with pytest.raises(UserError, match=r"of the space keeps weight_bytes<=1000 \(--constraint\), the smallest has 2,024; relax"):
        nf.search("digits", "digits", constraints=["size<=1kB"], **words)
    with pytest.raises(UserError, match=r"keeps params<=3000 \(--constraint\).*: digits, .*have networks") as caught:
        nf.search("mobile", "digits", constraints=["params<=3000"], **words)
    assert "mobile" not in str(caught.value).partition("another space")[2]
    with pytest.raises(UserError, match=r"keeps params>=1000000 \(--constraint\), the largest has 176,234; .*: .*fast, .*have networks"):
        nf.search("digits", "digits", constraints=["params>=1e6"], **words)
    with pytest.raises(UserError, match=r"keeps macs<=9 \(of the space\)"):
        nf.search({**SMALL, "constraints": {"macs": 9}}, "digits", **words)
    assert not (tmp_path / "run").exists()

