"""Where studies live: a journal file in the run folder, or any Optuna storage URL."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from pathlib import Path
from random import random
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from nasforge.errors import UserError

JOURNAL = "study.journal"
MOST_COLLISIONS = 10
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # what the lock of another process answers


class _KernelLock(BaseJournalFileLock):
    """A lock that the kernel gives back when its holder dies, so that a killed search never blocks the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[int] = []

    def acquire(self) -> bool:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            os.close(handle)
            raise no_locks(self._path.parent, error) from None
        self._held.append(handle)
        return True

    def release(self) -> None:
        os.close(self._held.pop())  # closing gives the lock back


class _Journal(JournalFileBackend):
    """A journal that hands each entry to the operating system at once, but does not wait for the disk.

    What was written survives the death of the process (kill -9), not of the machine's power; a wait for the disk at each of the
    dozen entries of a trial costs more than the search itself.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        data = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._lock.acquire()
        try:
            with open(self._file_path, "ab", buffering=0) as file:
                end = file.tell()
                if file.write(data) != len(data):  # a full disk takes a part and says nothing
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, "No space left on device", self._file_path)
        finally:
            self._lock.release()


def no_locks(run: Path, error: OSError) -> UserError:
    """Return what to say where a file cannot be locked at all, as on NFS without its lock daemon, or Lustre without `-o flock`."""
    reason = error.strerror or error
    return UserError(f"{run}: its file system has no locks ({reason}); put --run on a local disk, or use --storage postgresql://...")


class DriverLock:
    """Held while a search drives a run folder; a second driver is refused. needed: whether there can be no search without it."""

    def __init__(self, run: Path, needed: bool = True) -> None:
        try:
            run.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UserError(f"{run}: the folder of a run must be a folder, got a file there; choose another --run") from None
        self._file = (run / "driver.lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in HELD and not needed:
                return
            self._file.close()
            if error.errno not in HELD:
                raise no_locks(run, error) from None
            raise UserError(f"{run}: another search is running in this folder; wait for it, or choose another --run") from None

    def close(self) -> None:
        self._file.close()


def open_storage(run: Path, url: str | None, write: bool = True) -> Any:
    """Return the Optuna storage of a run. Raises UserError for a corrupt journal or an unreachable database."""
    if url is None:
        path = run / JOURNAL
        if not path.exists() and not write:
            raise UserError(f"{run}: holds no search ({JOURNAL} is missing)")
        if write:
            _mend(path)
        try:
            return JournalStorage(_Journal(str(path), _KernelLock(path)))
        except (ValueError, LookupError, ArithmeticError, AssertionError, AttributeError, TypeError) as error:
            raise UserError(f"{path}: the journal is damaged ({error}); restore it from a copy, or start anew with another --run") from None
    file = url.partition(":///")[2].partition("?")[0] if url.startswith("sqlite") else ""
    if file and not write and not Path(file).is_file():
        raise UserError(f"--storage {url}: there is no such file")
    try:
        return _database(url)
    except ImportError as error:
        hint = "pip install 'nasforge[postgres]'" if url.startswith("postgresql") else "install the driver of that database"
        raise UserError(f"--storage: its database driver is missing ({error}); {hint}") from None
    except Exception as error:  # any driver of any database
        raise UserError(
            f"--storage: cannot be opened ({type(error).__name__}: {str(error).splitlines()[0]}); check the URL and the server"
        ) from None


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


def _mend(path: Path) -> None:
    """Cut off a last line that a kill left half written; refuse a journal that is damaged elsewhere."""
    if not path.exists():
        return
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if end < len(data):
        with path.open("r+b") as file:
            file.truncate(end)
            os.fsync(file.fileno())
    for number, line in enumerate(data[:end].splitlines(), 1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or "op_code" not in entry:
                raise ValueError("no journal entry")
        except ValueError:
            raise UserError(
                f"{path}:{number}: the journal is damaged here; restore it from a copy, or start anew with another --run"
            ) from None
