"""Fixtures and helpers that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)


def shared_data(name: str) -> Path:
    """The path of a real data set beside the checkout; skips the test where it is absent."""
    path = ROOT.parent / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"real data {name} is not on this machine")
    return path
