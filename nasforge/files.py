"""Files from strangers: only regular ones are read, none is waited for, and nothing unpacks without bound.

What is wrong with a file is raised as `OSError` or `ValueError`, as by the functions of Python that these stand for.
"""

from __future__ import annotations

import gc
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST_BYTES = 2**28  # that a packed file may unpack to, whatever its size;
MOST_TIMES = 100  # above that so many times its size
MOST_JSON = 2**28  # bytes of a file that is parsed as a whole
A_PIECE = 2**20


class Unreadable(OSError):
    """Raised for what is no regular file, or is too large."""


class Missing(Unreadable, FileNotFoundError):
    """Raised where nothing is there."""


def content(path: str | Path, most: int | None = None) -> bytes:
    """Return the bytes of a regular file. Raise Unreadable for what is none, is not there, or has more than `most` bytes."""
    if not os.path.lexists(path):
        raise Missing("there is no such file")
    with open(path, "rb", opener=_without_waiting) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("it is no regular file, but a FIFO, a device or a socket")
        if most is not None and found.st_size > most:
            raise Unreadable(f"it has {found.st_size:,} bytes, more than {most:,}")
        return file.read()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a FIFO that nobody writes to is else waited for


def is_regular(path: Path) -> bool:
    """Return whether a path is a file that can be read to its end, or a link to one."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):  # a name may hold what no name of a file may
        return False


def most_of(packed: int) -> int:
    """Return the most bytes that a file of so many bytes may unpack to."""
    return max(MOST_BYTES, MOST_TIMES * packed)


def unpacked(data: bytes) -> bytes:
    """Return what gzip packed. Raise Unreadable where it is far larger than what is packed ever is, and OSError where it is broken."""
    most, out, size = most_of(len(data)), list[bytes](), 0
    while data:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            try:
                piece = member.decompress(data, A_PIECE)
            except zlib.error as error:
                if out and not data.strip(b"\0"):  # padding at the end, as tape drives need it
                    return b"".join(out)
                raise OSError(str(error)) from None
            data, size = member.unconsumed_tail, size + len(piece)
            if size > most:
                raise Unreadable(f"it unpacks to more than {most:,} bytes")
            if not piece and not data and not member.eof:
                raise OSError("the packed data end too early")
            out.append(piece)
        data = member.unused_data
    return b"".join(out)


def check_zip(path: str | Path) -> None:
    """Raise Unreadable for what is no regular file, and for an archive (npz, pth) that unpacks to far more than what is packed ever is."""
    if not is_regular(Path(path)):
        content(path)  # says what it is
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            size = sum(member.file_size for member in file.infolist())
        if size > (most := most_of(os.path.getsize(path))):
            raise Unreadable(f"it unpacks to {size:,} bytes, more than {most:,}")


def parsed(text: str | bytes) -> Any:
    """Return the data of JSON. Raise ValueError for what is none, and where it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parsed_file(path: str | Path) -> Any:
    """Return the data of a JSON file. Raise OSError or ValueError where it cannot be read or holds something else."""
    return parsed(content(path, MOST_JSON).decode("utf-8"))


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all. A link in its place, or in that of its part, is replaced and never followed."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:  # names of files may be no text
        file.write(text)
    part.replace(path)


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector off: of a million new objects that all stay it would look at all, again and again. Also a decorator."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
