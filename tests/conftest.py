"""Fixtures that every test may use."""

from __future__ import annotations

import pytest
import torch
from support import CONDITIONAL

from nasforge.spaces.space import Space

torch.set_num_threads(1)


@pytest.fixture
def space() -> Space:
    """A small space with conditional domains, a stage and a recipe."""
    return Space(CONDITIONAL)
