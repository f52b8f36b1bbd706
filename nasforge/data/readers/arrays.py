"""Arrays in NumPy's files, and those that a function of the user's own returns."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import sys
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from nasforge.data.arrays import Raw, raw_of
from nasforge.data.dataset import PARTS, Source
from nasforge.data.readers.images import PACKED, read_packed
from nasforge.data.rows import Rows
from nasforge.errors import UserError
from nasforge.files import check_zip

# what NumPy and zipfile raise for a file that is no array
BROKEN = (
    ValueError, OSError, EOFError, MemoryError, LookupError, TypeError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error,
    SyntaxError,
)  # fmt: skip


def read_npz(source: Source, kind: str | None) -> Raw:
    """Return the data of FILE.npz, or of a folder that holds one."""
    path = Path(source.spec).expanduser()
    path = next(path.glob("*.npz")) if path.is_dir() else path
    with _open_array(path) as file:
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UserError(f"{path}: must be an archive of arrays, got one array; save it with numpy.savez")
        arrays: dict[str, Any] = {}
        for name in file.files:
            try:
                _check_archived(file, name)
                arrays[name] = file[name]
            except BROKEN as error:
                raise UserError(
                    f"{path}: array {name!r} must hold plain numbers, got: {error}; convert it to numbers "
                    "before saving (objects would be pickles, which can run code); pad samples of unequal length with NaN, or add their "
                    "lengths as an array `lengths`"
                ) from error
    if set(arrays) >= PACKED:
        return read_packed(arrays, source, kind, path.stem)
    return raw_of(arrays, path.stem, kind, reads=source.reads)


def read_npy(source: Source, kind: str | None) -> Raw:
    """Return the data of `x.npy` and `y.npy`, or of `x_train.npy` and so on, in a folder; a file of them names the folder too.

    An `x` larger than the memory that may be taken is mapped, not read.
    """
    path = Path(source.spec).expanduser()
    folder = path if path.is_dir() else path.parent
    files = npy_files(folder)
    if not {"x", "y"} <= files.keys() and not {"x_train", "y_train"} <= files.keys():
        missing = next(n for n in ("x", "y") if n not in files)
        raise UserError(f"{folder}: must hold x.npy and y.npy, {missing}.npy is missing; or x_train.npy, y_train.npy, ...")
    arrays: dict[str, Any] = {}
    for name, file in files.items():
        large = name.startswith("x") and file.stat().st_size > source.memory_bytes
        array = _open_array(file, "r" if large else None)
        arrays[name] = Rows.of(array) if large and array.ndim else np.asarray(array)
    return raw_of(arrays, folder.name, kind, reads=source.reads)


def npy_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that are called as arrays are: x, y, lengths, x_train, ..."""
    names = {f"{word}{part}" for word in ("x", "y", "lengths") for part in ("", *(f"_{part}" for part in PARTS))}
    return {path.stem: path for path in sorted(folder.glob("*.npy")) if path.stem in names}


def _open_array(path: Path, mapped: Literal["r"] | None = None) -> Any:
    """What `np.load` gives without pickles."""
    try:
        check_zip(path)
        if path.suffix == ".npz" and not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("it is no archive, or was cut off")
        if path.suffix == ".npy":
            with path.open("rb") as file:
                _check_size(file, path.stat().st_size)
        return np.load(path, mmap_mode=mapped, allow_pickle=False)
    except BROKEN as error:
        raise UserError(f"{path}: must be an array file without pickles, got: {error}; save plain arrays") from error


def _check_archived(arrays: np.lib.npyio.NpzFile, name: str) -> None:
    """As `_check_size`, of an array in an archive."""
    archive: Any = arrays.zip
    member = name if name in archive.namelist() else f"{name}.npy"
    with archive.open(member) as file:
        _check_size(file, archive.getinfo(member).file_size)


def _check_size(file: IO[bytes], size: int) -> None:
    """Raise ValueError where an array's head tells of more numbers than its file of `size` bytes holds: no memory is taken before that."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    wanted = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and (wanted > size - file.tell() or dtype.itemsize == 0):  # objects are refused elsewhere
        told = f"its head tells of {shape} numbers of {dtype.itemsize} bytes"
        raise ValueError(f"{told}, {wanted:,} in all, and {size - file.tell():,} follow")


def names_function(spec: str) -> bool:
    """Return whether a word is `module:function`."""
    _, colon, function = spec.rpartition(":")
    return bool(colon) and function.isidentifier()


def read_function(source: Source, kind: str | None) -> Raw:
    """Return the data of the arrays that the user's function returns: `(x, y)` or a dict of arrays."""
    module, _, function = source.spec.rpartition(":")
    where = source.spec
    if not source.allow_code:
        raise UserError(f"data: {where} would run code of its own; if you trust it, add --allow-code")
    found = getattr(_import(module), function, None)
    if not callable(found):
        raise UserError(f"data: {module} must have a function {function!r}")
    result = found()
    if isinstance(result, (tuple, list)) and len(result) == 2:
        result = {"x": result[0], "y": result[1]}
    if not isinstance(result, dict):
        raise UserError(f"data: {where} must return (x, y) or a dict of arrays, got {type(result).__name__}")
    return raw_of(result, where, kind, reads=source.reads)


def _import(module: str) -> Any:
    """A module by name, the working folder included, or from a .py file."""
    path = Path(module)
    if path.suffix == ".py":
        spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", path.stem), path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise UserError(f"data: no file {module!r}")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"data: no file, folder or module {module!r} ({error})") from error
    finally:
        sys.path.pop(0)
