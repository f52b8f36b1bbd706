"""Readers: from what `--data` names to arrays. Each format is one line of READERS; the first that accepts a name reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nasforge.data.arrays import Raw
from nasforge.data.dataset import Source
from nasforge.data.readers.arrays import names_function, npy_files, read_function, read_npy, read_npz
from nasforge.data.readers.images import LABELS, find_idx, read_digit_scenes, read_digits, read_folder, read_idx, read_labelled
from nasforge.data.readers.pairs import find_pairs, read_pairs
from nasforge.data.readers.saved import is_saved, read_saved
from nasforge.data.readers.tables import (
    COLUMNAR,
    LINES,
    read_arff,
    read_columnar,
    read_diabetes,
    read_json_lines,
    read_table,
)
from nasforge.data.readers.text import is_parallel, read_characters, read_parallel
from nasforge.data.reading import SUFFIXES, TABLES
from nasforge.errors import UserError


@dataclass(frozen=True)
class Reader:
    """A format.

    Attributes:
        what: how it is called where the valid ones are listed.
        accepts: whether it reads what `--data` names.
        read: the data; the second argument is the kind of the target where the task settles it.
        options: what it takes of TAKEN_BY_SOME.
    """

    what: str
    accepts: Callable[[str], bool]
    read: Callable[[Source, str | None], Raw]
    options: tuple[str, ...] = ()


TAKEN_BY_SOME = {  # options of a source that only some formats have a meaning for, and what these are
    "target": "names a column of a table or the language that is written; a value at which a search ends is --until",
    "image_size": "brings image files to a size",
    "image_fit": "says how image files are brought to a size",
}
OF_IMAGES = ("image_size", "image_fit")


def _file(*suffixes: str) -> Callable[[str], bool]:
    return lambda spec: Path(spec).is_file() and Path(spec).name.lower().endswith(suffixes)


def _folder(holds: Callable[[Path], bool]) -> Callable[[str], bool]:
    return lambda spec: Path(spec).is_dir() and holds(Path(spec))


def _is_idx(spec: str) -> bool:
    path = Path(spec)
    return bool(find_idx([path]) if path.is_file() else path.is_dir() and find_idx(path.iterdir()))


READERS: dict[str, Reader] = {
    "digits": Reader("digits", lambda spec: spec == "digits", read_digits),
    "digit_scenes": Reader("digit_scenes", lambda spec: spec == "digit_scenes", read_digit_scenes),
    "diabetes": Reader("diabetes", lambda spec: spec == "diabetes", read_diabetes),
    "npz": Reader("FILE.npz", _file(".npz"), read_npz),
    "table": Reader("FILE.csv", _file(*TABLES), read_table, ("target",)),
    "json lines": Reader("FILE.jsonl", _file(*LINES), read_json_lines, ("target",)),
    "columnar": Reader("FILE.parquet", _file(*COLUMNAR), read_columnar, ("target",)),
    "arff": Reader("FILE.arff", _file(".arff", ".arff.gz"), read_arff, ("target",)),
    "characters": Reader("FILE.txt", _file(".txt"), read_characters),
    "npy": Reader("a folder with x.npy and y.npy", _file(".npy"), read_npy),
    "idx": Reader("a folder of idx files", _is_idx, read_idx),
    "npy folder": Reader("", _folder(lambda path: bool(npy_files(path))), read_npy),
    "npz folder": Reader("", _folder(lambda path: len(list(path.glob("*.npz"))) == 1), read_npz),
    "parallel": Reader(
        "a folder of sentences in two languages (train.en, train.de, ...)", _folder(is_parallel), read_parallel, ("target",)
    ),
    "saved": Reader("a folder of datasets.save_to_disk", _folder(is_saved), read_saved, ("target", *OF_IMAGES)),
    "labelled images": Reader(
        "a folder of images with labels.csv", _folder(lambda path: (path / LABELS).is_file()), read_labelled, ("target", *OF_IMAGES)
    ),
    "images and masks": Reader(
        "a folder of images and masks (images/ and masks/, or train/ and trainannot/)", _folder(lambda path: bool(find_pairs(path))),
        read_pairs, OF_IMAGES,
    ),
    "images": Reader("a folder of images (one folder a class)", _folder(lambda path: any(path.iterdir())), read_folder, OF_IMAGES),
    "function": Reader("module:function", names_function, read_function),
}


def read(source: Source, kind: str | None = None) -> Raw:
    """Return the raw data that a source names.

    Raises:
        UserError: nothing is there, it is of no known format, an option has no meaning for it, or it is code and not allowed.
    """
    spec = str(Path(source.spec).expanduser()) if source.spec.startswith("~") else source.spec
    inner = _unwrapped(Path(spec))
    if inner != Path(spec):
        raw = read(replace(source, spec=str(inner)), kind)
        return replace(raw, name=Path(spec).name, notes=(f"read from {inner.relative_to(spec)}/, the only folder in it", *raw.notes))
    for reader in READERS.values():
        if reader.accepts(spec):
            _check_options(source, reader)
            return reader.read(source, kind)
    path = Path(spec)
    valid = ", ".join(reader.what for reader in READERS.values() if reader.what)
    if path.is_dir():
        raise UserError(f"{path}: must hold data, got an empty folder; valid: {valid}")
    if path.is_file():
        raise UserError(f"{path}: data must be of a known kind, got {path.suffix or 'no suffix'}; valid: {valid}")
    if path.exists():
        raise UserError(f"{path}: must be a regular file or a folder, got a FIFO, a device or a socket; copy what it gives into a file")
    raise UserError(f"data: no file or folder {source.spec!r}; valid: {valid}")


def are_encoded(spec: str) -> bool:
    """Return whether what a source names are encoded images, whose layout is their own, whatever a network reads."""
    inner = str(_unwrapped(Path(spec).expanduser()))
    reader = next((reader for reader in READERS.values() if reader.accepts(inner)), None)
    return reader is not None and "image_size" in reader.options


def _unwrapped(path: Path) -> Path:
    """The folder with the data: the only one in another, as archives are often unpacked, where that is not the folder of a class."""
    known = [reader for name, reader in READERS.items() if name != "images"]
    if not path.is_dir() or any(reader.accepts(str(path)) for reader in known):
        return path
    inside = [p for p in path.iterdir() if not p.name.startswith(".") and p.name != "__MACOSX"]
    folders = [p for p in inside if p.is_dir()]
    if len(folders) != 1 or any(is_data(p) for p in inside if not p.is_dir()):
        return path
    inner = folders[0]
    several = sum(p.is_dir() and not p.name.startswith(".") for p in inner.iterdir()) >= 2
    own = any(reader.accepts(str(inner)) for reader in known)
    deeper = _unwrapped(inner)
    return inner if several or own else deeper if deeper != inner else path


def is_data(path: Path) -> bool:
    """Whether a file belongs to data, by its suffix."""
    return path.name.lower().endswith((*SUFFIXES, *TABLES, *LINES, *COLUMNAR, ".npz", ".npy", ".txt.gz", ".arff", ".gz"))


def _check_options(source: Source, reader: Reader) -> None:
    """Raise UserError where an option is given that the format would not look at."""
    for name, meaning in TAKEN_BY_SOME.items():
        if getattr(source, name) is not None and name not in reader.options:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option}: {meaning}; {source.spec} has none; leave it out, in the space's `search` as well")
