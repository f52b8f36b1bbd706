"""The lock of a run folder: one driver works on it at a time. Knows nothing of studies, so that folders can be listed at once."""

from __future__ import annotations

import errno
import fcntl
import time
from pathlib import Path

from nasforge.errors import UserError

LOCK = "driver.lock"
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # what the lock of another process answers
LOOKS_S = (0.0, 0.05, 0.2)  # after which a lock is tried again: `is_driven` of another process has it for a moment


class DriverLock:
    """Held while a search drives a run folder; a second driver is refused. needed: whether there can be no search without it."""

    def __init__(self, run: Path, needed: bool = True) -> None:
        try:
            run.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"{run}: the folder of a run must be a folder, got a file there; choose another --run") from None
        try:
            self._file = (run / LOCK).open("a+")
        except OSError as error:
            raise UserError(f"{run / LOCK}: must be a file that can be written, got: {error}; remove it") from None
        for wait in LOOKS_S:
            time.sleep(wait)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                failed = error
            if failed.errno not in HELD:
                break
        if failed.errno not in HELD and not needed:
            return
        self._file.close()
        if failed.errno not in HELD:
            raise no_locks(run, failed) from None
        raise UserError(f"{run}: another search is running in this folder; wait for it, or choose another --run") from None

    def close(self) -> None:
        self._file.close()


def is_driven(run: Path) -> bool:
    """Return whether a search of this machine holds the lock of a folder now."""
    try:
        with (run / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in HELD
    return False


def no_locks(run: Path, error: OSError) -> UserError:
    """Return what to say where a file cannot be locked at all, as on NFS without its lock daemon, or Lustre without `-o flock`."""
    reason = error.strerror or error
    return UserError(f"{run}: its file system has no locks ({reason}); put --run on a local disk, or use --storage postgresql://...")
