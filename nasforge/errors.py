"""Errors that a user can act on: `where: what must hold, got what; what to do`."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake in what the user gave. The command line prints its text alone, without a traceback."""


class OtherData(UserError):
    """Data that are not those with which a search began."""


class Terminated(KeyboardInterrupt):
    """Raised in a command that is told to end (SIGTERM): as Ctrl-C does, but for the exit status."""


def nearest(name: object, valid: Iterable[object]) -> str:
    """'did you mean X? ' where a valid name is near, and the list of valid names."""
    names = sorted({str(v) for v in valid})
    close = get_close_matches(str(name), names, n=1, cutoff=0.6)
    return (f"did you mean {close[0]!r}? " if close else "") + "valid: " + ", ".join(names)


# ---------------------------------------------------------------- failures of libraries, by kind

NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc")  # torch raises RuntimeError with these
NO_SPACE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
NO_SPACE_WORDS = ("No space left on device", "File too large", "quota exceeded", "failed writing file", "inline_container")  # likewise


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory has run out. The only place that looks into the text of torch's errors for it."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY))


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error says that nothing more can be written. The only place that looks into the text of errors for it."""
    known = isinstance(error, OSError) and error.errno in NO_SPACE
    return known or (not isinstance(error, UserError) and any(words in str(error) for words in NO_SPACE_WORDS))
