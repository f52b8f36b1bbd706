"""Trainings and searches give what they gave before: choices, kinds and keys exactly, numbers up to another processor's rounding."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from record import PARTS, recorded, shortened

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text(encoding="utf-8"))


def differences(found: Any, golden: Any, where: str = "") -> list[str]:
    """Where two records differ: floats by more than 2e-3 of their size and 1e-4, anything else at all."""
    if isinstance(golden, dict) and isinstance(found, dict) and found.keys() == golden.keys():
        return [line for k in golden for line in differences(found[k], golden[k], f"{where}/{k}")]
    if isinstance(golden, list) and isinstance(found, list) and len(found) == len(golden):
        return [line for i, (a, b) in enumerate(zip(found, golden, strict=True)) for line in differences(a, b, f"{where}/{i}")]
    alike = type(found) is type(golden) and found == golden
    if isinstance(golden, float) and isinstance(found, float):
        alike = found == pytest.approx(golden, rel=2e-3, abs=1e-4, nan_ok=True)
    return [] if alike else [f"{where}: {str(found)[:200]}, was {str(golden)[:200]}"]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_nothing_has_changed(part: str) -> None:
    found = differences(shortened(part, recorded(part)), GOLDEN[part])
    assert not found, "\n".join(found[:20])


def test_every_part_is_kept() -> None:
    assert list(GOLDEN) == list(PARTS)


def test_differences_are_found() -> None:
    assert differences({"a": [1, 0.5, "x"]}, {"a": [1, 0.5004, "x"]}) == []
    for golden in ({"a": [2, 0.5, "x"]}, {"a": [1, 0.51, "x"]}, {"a": [1, 0.5, "y"]}, {"a": [1, 0.5]}, {"b": [1, 0.5, "x"]}, {"a": None}):
        assert len(differences({"a": [1, 0.5, "x"]}, golden)) == 1
