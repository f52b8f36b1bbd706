"""Errors that a user can act on: `where: what must hold, got what; what to do`."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher


class UserError(ValueError):
    """A mistake in what the user gave. The command line prints its text alone, without a traceback."""


class OtherData(UserError):
    """Data that are not those with which a search began."""


class Terminated(KeyboardInterrupt):
    """Raised in a command that is told to end (SIGTERM): as Ctrl-C does, but for the exit status."""


FEW = 16  # names that a message lists
LIKELY = 0.6  # of letters in common, from which on a name may be meant
STEP = 0.05  # by which a name that begins so is less near than one that is so


def nearest(name: object, valid: Iterable[object], *listings: str) -> str:
    """In words, the valid names that a wrong one is near to, and all where they are few; of many the three nearest.

    listings: the commands that list them all.
    """
    names = sorted({str(v) for v in valid})
    close, likely = alike_names(str(name), names, 1 if len(names) <= FEW else 3)
    meant = f"did you mean {_or(close)}? " if likely else ""
    if len(names) <= FEW:
        return f"{meant}valid: {', '.join(names)}"
    if not likely and str(name):
        meant = f"the nearest are {_or(close, 'and')}; "
    told = ", ".join(f"`{listing}`" for listing in listings)
    return f"{meant}{told} list{'s' if len(listings) == 1 else ''} all {len(names)}" if told else f"{meant}there are {len(names)}"


def alike_names(name: str, names: Sequence[str], most: int) -> tuple[list[str], bool]:
    """Return the names nearest to a mistyped one, at most so many, and whether they are likely meant.

    Letter case, `-`, `_` and blanks do not count. A name is as near as the letters it has in common with the mistyped one in order, and
    nearer where it begins with that, of four letters one wrong, left out, doubled or swapped; has it as one of its words; or is its
    initials (`lr`). Of equally near ones the one of the most similar length comes first.
    """
    given, initials = _plain(name), "".join(word[:1] for word in re.split(r"[\s_-]+", name.lower()))

    def near(valid: str) -> tuple[float, float, str]:
        plain = _plain(valid)
        whole = SequenceMatcher(None, given, plain).ratio()
        begun = 1 - _edits_to_begin(given, plain) / max(1, len(given))  # share of the letters that need no change
        other = [begun - STEP] if len(given) >= 3 and begun >= 0.75 else [0.0]
        other += [1 - 2 * STEP] if given in valid.lower().split("_") or (initials == plain and len(plain) > 1) else []
        return -max(whole, *other), -whole, valid

    found = sorted(names, key=near)[:most]
    likely = [one for one in found if -near(one)[0] >= LIKELY]
    return likely or found, bool(likely)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())


def _edits_to_begin(given: str, name: str) -> int:
    """The fewest letters to insert, leave out, replace or swap with the next that make `given` a beginning of `name` (Damerau 1964)."""
    before: list[int] = []
    rows = list(range(len(name) + 1))
    for i, letter in enumerate(given, 1):
        now = [i]
        for j, other in enumerate(name, 1):
            now.append(min(rows[j] + 1, now[j - 1] + 1, rows[j - 1] + (letter != other)))
            if i > 1 and j > 1 and letter == name[j - 2] and given[i - 2] == other:
                now[j] = min(now[j], before[j - 2] + 1)
        before, rows = rows, now
    return min(rows)


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
