"""Errors that a user can act on: `where: what must hold, got what; what to do`."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake in what the user gave. The command line prints its text alone, without a traceback."""


class OtherData(UserError):
    """Data that are not those with which a search began."""


class Terminated(KeyboardInterrupt):
    """Raised in a command that is told to end (SIGTERM): as Ctrl-C does, but for the exit status."""


FEW = 16  # names that a message lists


def nearest(name: object, valid: Iterable[object], *listings: str) -> str:
    """In words, the valid names that a wrong one is near to, and all where they are few; of many the three nearest.

    listings: the commands that list them all.
    """
    names = sorted({str(v) for v in valid})
    close = get_close_matches(str(name), names, n=1 if len(names) <= FEW else 3, cutoff=0.6)
    meant = f"did you mean {_or(close)}? " if close else ""
    if len(names) <= FEW:
        return f"{meant}valid: {', '.join(names)}"
    if not close and str(name):
        meant = f"the nearest are {_or(get_close_matches(str(name), names, n=3, cutoff=0.0), 'and')}; "
    told = ", ".join(f"`{listing}`" for listing in listings)
    return f"{meant}{told} list{'s' if len(listings) == 1 else ''} all {len(names)}" if told else f"{meant}there are {len(names)}"


def _or(names: Sequence[str], word: str = "or") -> str:
    *some, last = [repr(name) for name in names]
    return f"{', '.join(some)} {word} {last}" if some else last


QUOTED = re.compile(r"""(?<!\w)'[^']*'|"[^"]*"|`[^`]*`|\([^()]*\)|\[[^][]*\]|\{[^{}]*\}""")


def parts_of(message: str) -> dict[str, str | None]:
    """Return `where`, `error` and `remedy` of a message `where: what must hold, got what; what to do`; None for what it does not say.

    Colons and semicolons in quotes and brackets are parts of a value.
    """
    masked = QUOTED.sub(lambda found: "_" * len(found[0]), message)
    start = masked.find(": ")
    end = masked.find("; ", start + 1)
    where, remedy = message[:start] if start >= 0 else None, message[end + 2 :] if end >= 0 else None
    return {"error": message[start + 2 if start >= 0 else 0 : end if end >= 0 else None], "where": where, "remedy": remedy}


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
