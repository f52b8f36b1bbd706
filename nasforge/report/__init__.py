"""The report of a run: one HTML page, and the same in words, from the study alone.

What is offered here is imported when it is asked for: to list runs, or to write a number, no study is opened.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasforge.report.page import report
    from nasforge.report.run import Run, collect
    from nasforge.report.text import words

__all__ = ["Run", "collect", "report", "words"]
PLACES = {"Run": "run", "collect": "run", "report": "page", "words": "text"}


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{PLACES[name]}"), name)
