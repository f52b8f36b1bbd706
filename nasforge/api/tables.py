"""Rows as data frames of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nasforge.errors import UserError


def frame(rows: Sequence[dict[str, Any]]) -> Any:
    """Return rows as a data frame. Raise UserError where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        raise UserError("tables: need pandas, which is not installed; pip install 'nasforge[data]'") from None
    return pandas.DataFrame(list(rows))
