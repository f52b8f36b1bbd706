"""Fixtures and helpers that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nasforge.files import parse
from nasforge.space import Space

ROOT = Path(__file__).resolve().parent.parent

CONDITIONAL = parse("""
input: [1, 8, 8]
classes: 10
body:
  - conv: {out: {int: [4, 64], step: 4}, kernel: {choose: [1, 3, 5]}}
  - choose:
      none: []
      mb: {mbconv: {out: 8, expand: {choose: [2, 3]}}}
      stage: {stage: {draw: each, depth: {int: [1, 2]}, block: {conv: {out: {choose: [4, 8]}}}}}
head: [gap_head]
recipe: {lr: {float: [1.0e-4, 1.0e-1], log: true}}
""")

torch.set_num_threads(1)


def shared_data(name: str) -> Path:
    """The path of a real data set beside the checkout; skips the test where it is absent."""
    path = ROOT.parent / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"real data {name} is not on this machine")
    return path


@pytest.fixture
def space() -> Space:
    """A small space with conditional openings, a stage and a recipe."""
    return Space(CONDITIONAL)
