"""Errors that a user can act on: `where: what must hold, got what; what to do`."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake in what the user gave. The command line prints its text alone, without a traceback."""


def nearest(name: object, valid: Iterable[object]) -> str:
    """'did you mean X? ' where a valid name is near, and the list of valid names."""
    names = sorted({str(v) for v in valid})
    close = get_close_matches(str(name), names, n=1, cutoff=0.6)
    return (f"did you mean {close[0]!r}? " if close else "") + "valid: " + ", ".join(names)
