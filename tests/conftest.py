"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from support import CONDITIONAL

from nasforge.spaces.space import Space

torch.set_num_threads(1)


@pytest.fixture
def space() -> Space:
    """A small space with conditional domains, a stage and a recipe."""
    return Space(CONDITIONAL)


@pytest.fixture
def unplug() -> Iterator[Callable[[], None]]:
    """Takes out the plugins that a test has loaded, when it is called and at the end."""
    from nasforge.networks.build import forget
    from nasforge.plugins import LOADED
    from nasforge.plugins.parts import PARTS
    from nasforge.tasks import forget_data

    before = [(table, dict(table)) for table in (LOADED, *(kind.table for kind in PARTS.values()))]

    def restore() -> None:
        for table, entries in before:
            table.clear()
            table.update(entries)
        forget()
        forget_data()

    yield restore
    restore()
