"""When what `--data` names was last written: what is read once a process is read again when its files are others by then."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from nasforge.data.readers.arrays import npy_files
from nasforge.data.readers.images import find_idx


def stamp_of(spec: str) -> str:
    """Return a word that changes with the files that a file or folder stands for; nothing where there are none.

    No file is opened. Of `FILE.py:function` it is that of the file; a module that is imported by its name stays as it is in a process.
    """
    path = Path(spec.rpartition(":")[0] if ".py:" in spec else spec).expanduser()
    digest = hashlib.blake2b(digest_size=8)
    seen = set[tuple[int, int]]()  # folders, which links may lead to again

    def add(name: str) -> None:
        try:
            told = os.stat(name)
        except OSError:  # a link to nothing
            return
        digest.update(f"{name} {told.st_dev} {told.st_ino} {told.st_size} {told.st_mtime_ns} {told.st_ctime_ns}\n".encode(errors="replace"))

    def add_folder(name: str) -> None:
        told = os.stat(name)
        if (told.st_dev, told.st_ino) in seen:
            return
        seen.add((told.st_dev, told.st_ino))
        with os.scandir(name) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                (add_folder if entry.is_dir() else add)(entry.path)

    try:
        if path.is_dir():
            add_folder(str(path))
        elif path.exists():
            for file in _beside(path):
                add(str(file))
        else:
            return ""
    except OSError as error:  # the reader says of it what is to be said
        return f"unreadable: {error.errno}"
    return digest.hexdigest()


def _beside(path: Path) -> list[Path]:
    """The files that a file stands for: arrays in files of their own are read together, ARFF with its test part and Mulan's XML."""
    if path.name.lower().endswith((".arff", ".arff.gz")):
        return sorted(file for file in path.parent.iterdir() if file.name.lower().endswith((".arff", ".arff.gz", ".xml")))
    if path.suffix == ".npy":
        return [path, *npy_files(path.parent).values()]
    return [path, *find_idx(path.parent.iterdir()).values()] if find_idx([path]) else [path]
