"""Waiting for a database that does not answer: a restart or a cut line must not end a search."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from nasforge.errors import UserError

PATIENCE_S = 900.0
PASSING = (
    "locked",
    "connect",
    "server",
    "shutdown",
    "shutting down",
    "starting up",
    "recovery",
    "timeout",
    "timed out",
    "deadlock",
    "terminating",
)
FULL = ("full", "No space left", "quota exceeded", "readonly database", "disk I/O error", "File too large")


def patiently(work: Callable[[], Any], forget: Callable[[], None]) -> Any:
    """What `work` returns; while the database does not answer it is tried again. forget: drops connections that are broken.

    Raises UserError where the database has no room, or where it is silent for too long.
    """
    began, said = time.monotonic(), False
    while True:
        try:
            done = work()
        except (DBAPIError, StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            if not isinstance(cause, DBAPIError):
                raise
            why = str(getattr(cause, "orig", cause)).strip().splitlines()[0]
            if any(word in why for word in FULL):
                raise UserError(f"--storage: the database cannot store any more ({why}); make room, then give the same command") from None
            if not (isinstance(cause, OperationalError | InterfaceError) and any(word in why for word in PASSING)):
                raise
            waited = time.monotonic() - began
            if waited > PATIENCE_S:
                raise UserError(f"--storage: no answer for {waited:.0f} s ({why}); start the server, then give the same command") from None
            said = said or _say(f"the database does not answer ({why}); waiting up to {PATIENCE_S / 60:.0f} minutes", waited)
            forget()
            time.sleep(min(1.0, 0.05 + waited / 10))
            continue
        if said:
            _say(f"the database answers again after {time.monotonic() - began:.0f} s")
        return done


def _say(text: str, waited: float = 1.0) -> bool:
    """Whether it was worth telling: a lock that is gone within a second is not."""
    if waited >= 1.0:
        print(f"nasforge: {text}", file=sys.stderr, flush=True)
    return waited >= 1.0
