"""Where studies live: a journal file in the run folder, or any Optuna storage URL."""

from __future__ import annotations

import re
import time
from pathlib import Path
from random import random
from typing import Any
from urllib.parse import unquote

from nasforge.errors import UserError
from nasforge.files import is_regular
from nasforge.storage.journal import Journal, mend

JOURNAL = "study.journal"
MOST_COLLISIONS = 10


def open_storage(run: Path, url: str | None, write: bool = True) -> Any:
    """Return the Optuna storage of a run. Raises UserError for a corrupt journal or an unreachable database."""
    if url is None:
        path = run / JOURNAL
        if not path.exists() and not write:
            raise UserError(f"{run}: holds no search ({JOURNAL} is missing)")
        if path.exists() and not is_regular(path):
            raise UserError(f"{path}: must be a file, got a folder, a FIFO or a device; choose another --run")
        if write:
            mend(path)
        try:
            return Journal(path)
        except UserError:
            raise
        except (ValueError, LookupError, ArithmeticError, AssertionError, AttributeError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: the journal is damaged ({error}); restore it from a copy, or start anew with another --run") from None
    _check_url(url)
    file = url.partition(":///")[2].partition("?")[0] if url.startswith("sqlite") else ""
    if file and not write and not Path(file).is_file():
        raise UserError(f"--storage {url}: there is no such file")
    try:
        return _database(url)
    except ImportError as error:
        hint = "pip install 'nasforge[postgres]'" if url.startswith("postgresql") else "install the driver of that database"
        raise UserError(f"--storage: its database driver is missing ({error}); {hint}") from None
    except Exception as error:  # any driver of any database
        said = _unsaid(url, (str(error).splitlines() or [""])[0])
        raise UserError(f"--storage: cannot be opened ({type(error).__name__}: {said}); check the URL and the server") from None


def _check_url(url: str) -> None:
    """Raise UserError for a password that would be read in part, and the rest of it as a host that is told in messages."""
    user = url.partition("://")[2].partition("?")[0].rpartition("@")[0]
    if not url.startswith("sqlite") and any(mark in user for mark in "@/"):
        raise UserError("--storage: user and password of the URL must not hold @ or /; write %40 and %2F for them, or leave the password "
                        "out of the URL and set PGPASSWORD or PGPASSFILE")  # fmt: skip


def _unsaid(url: str, text: str) -> str:
    """A message without the password of a URL."""
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    for word in {password, unquote(password), *re.findall(r"password=([^&]+)", url)} - {""}:
        text = text.replace(word, "***")
    return text


def without_password(url: str) -> str:
    """Return a storage URL that may be shown: without a password, also one that is written wrongly, with an unescaped @ or /."""
    scheme, separator, rest = url.partition("://")
    given, at, place = rest.rpartition("@")
    place, question, query = place.partition("?")
    kept = "&".join(word for word in query.split("&") if word and word.partition("=")[0] != "password")
    return f"{scheme}{separator}{given.partition(':')[0]}{at}{place}{question if kept else ''}{kept}"


def _database(url: str) -> Any:
    """The database of a URL; drivers that begin at one moment make its tables in turns."""
    from sqlalchemy.exc import DBAPIError

    from nasforge.storage.database import Database  # sqlalchemy, and only here

    engine: dict[str, Any] = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    for _ in range(MOST_COLLISIONS):
        try:
            return Database(url, **engine)
        except DBAPIError as error:
            if not any(words in str(error) for words in ("exist", "UNIQUE", "duplicate", "locked")):
                raise
        time.sleep(0.1 + random())
    return Database(url, **engine)
