"""Readers of numbers: arrays, tables, text and the user's own function. Each gives the parts that its format brings."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasforge.data.arrays import Arrays, lay_out, parts_of
from nasforge.data.readers.images import PACKED, find_idx, read_digits, read_folder, read_idx, read_packed
from nasforge.errors import UserError

WINDOW = 64  # characters of a text that make one sample
LABEL_COLUMNS = ("label", "y", "target", "class")
KINDS = (
    "digits, a folder of images (one folder a class), FILE.npz, FILE.csv, FILE.txt, a folder of idx files, a folder with "
    "x.npy and y.npy, or module:function"
)


@dataclass(frozen=True)
class Raw:
    """What a reader found, not yet split: arrays by part, `train` at least.

    Attributes:
        vocab: number of tokens where x holds tokens.
        labels: names of the classes, where the format has them.
        ordered: neighbouring samples belong together, so parts must be contiguous.
        per_column: the T steps of a sample are columns of their own scale.
    """

    name: str
    parts: dict[str, Arrays]
    vocab: int | None = None
    labels: tuple[str, ...] = ()
    ordered: bool = False
    per_column: bool = False


def read(spec: str, allow_code: bool = False) -> Raw:
    """The raw data that `spec` names.

    Raises:
        UserError: nothing is there, it is of no known kind, or it is code and `allow_code` is false.
    """
    if spec == "digits":
        return Raw("digits", {"train": lay_out(*read_digits(), "digits")})
    path = Path(spec).expanduser()
    if path.is_file():
        return _read_file(path)
    if path.is_dir():
        return _read_directory(path)
    module, colon, function = spec.rpartition(":")
    if colon and function.isidentifier():
        return _from_arrays(_call(module, function, allow_code), spec)
    raise UserError(f"data: no file or folder {spec!r}; valid: {KINDS}")


def _read_file(path: Path) -> Raw:
    table: dict[str, Callable[[Path], Raw]] = {".npz": _read_npz, ".csv": _read_csv, ".tsv": _read_csv, ".txt": _read_text}
    if path.suffix.lower() in table:
        return table[path.suffix.lower()](path)
    if path.suffix == ".npy":
        return _read_npy(path.parent)
    if find_idx([path]):
        return _from_arrays(read_idx(path.parent), path.parent.name)
    raise UserError(f"{path}: data must be of a known kind, got {path.suffix or 'no suffix'}; valid: {KINDS}")


def _read_directory(path: Path) -> Raw:
    entries = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    if not entries:
        raise UserError(f"{path}: must hold data, got an empty folder; valid: {KINDS}")
    if find_idx(entries):
        return _from_arrays(read_idx(path), path.name)
    if {"x.npy", "y.npy"} <= {p.name for p in entries}:
        return _read_npy(path)
    packs = [p for p in entries if p.suffix == ".npz"]
    if len(packs) == 1:
        return _read_npz(packs[0])
    arrays, labels = read_folder(path)
    raw = _from_arrays(arrays, path.name)
    return Raw(raw.name, raw.parts, labels=labels)


def _from_arrays(arrays: dict[str, Any], name: str) -> Raw:
    """Raw data of named arrays; token windows may overlap, so they are split in order."""
    parts = parts_of(arrays, name)
    x, y = parts["train"]
    if x.dtype != np.int64:
        return Raw(name, parts)
    steps = y.ndim == 2
    vocab = 1 + max(int(max(x.max(), y.max() if steps else 0)) for x, y in parts.values())
    return Raw(name, parts, vocab=vocab, ordered=steps)


def _open_array(path: Path) -> Any:
    """What `np.load` gives without pickles."""
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: must be an array file without pickles, got: {error}; save plain arrays") from error


def _read_npz(path: Path) -> Raw:
    with _open_array(path) as file:
        arrays = {}
        for name in file.files:
            try:
                arrays[name] = file[name]
            except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
                raise UserError(
                    f"{path}: array {name!r} must hold plain numbers, got: {error}; convert it to a numeric type "
                    "before saving (objects would be pickles, which can run code)"
                ) from error
    if set(arrays) >= PACKED:
        arrays = read_packed(arrays, str(path))
    return _from_arrays(arrays, path.stem)


def _read_npy(folder: Path) -> Raw:
    for name in ("x.npy", "y.npy"):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: must hold x.npy and y.npy, {name} is missing")
    return _from_arrays({name: _open_array(folder / f"{name}.npy") for name in "xy"}, folder.name)


def _read_text(path: Path) -> Raw:
    """Windows of 64 characters, none overlapping, each with the characters one further on as its targets."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: text must be UTF-8, got a wrong byte at {error.start}; convert it first") from error
    windows = (len(text) - 1) // WINDOW
    if windows < 5:
        raise UserError(f"{path}: text must have at least {5 * WINDOW + 1} characters, got {len(text)}")
    letters, tokens = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32), return_inverse=True)
    tokens = tokens.astype(np.int64)
    x, y = (tokens[shift : shift + windows * WINDOW].reshape(windows, WINDOW) for shift in (0, 1))
    return Raw(path.stem, {"train": (x, y)}, vocab=len(letters), ordered=True)


def _read_csv(path: Path) -> Raw:
    """One row a sample, every column a number but the label's: the one named label, y, target or class, or the last."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: a table must be UTF-8 text, got a wrong byte at {error.start}") from error
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    rows = [(i, [c.strip() for c in r]) for i, r in enumerate(csv.reader(lines, delimiter=delimiter), 1) if any(r)]
    if len(rows) < 2 or len(rows[0][1]) < 2:
        raise UserError(f"{path}: a table must have rows of at least one number and a label, got {first[:60]!r}")
    header = rows.pop(0)[1] if any(not _is_number(c) for c in rows[0][1][:-1]) or _names_label(rows[0][1]) else []
    label = next((i for i, c in enumerate(header) if c.lower() in LABEL_COLUMNS), len(rows[0][1]) - 1)
    width = len(header or rows[0][1])
    x = np.array([_numbers(cells, line, label, width, path) for line, cells in rows], dtype=np.float32)
    labels, y = _classes_of([cells[label] for _, cells in rows], str(path))
    return Raw(path.stem, {"train": lay_out(x, y, str(path))}, labels=labels, per_column=True)


def _names_label(cells: list[str]) -> bool:
    return any(c.lower() in LABEL_COLUMNS for c in cells)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(cells: list[str], line: int, label: int, width: int, path: Path) -> list[float]:
    if len(cells) != width:
        raise UserError(f"{path}: line {line} must have {width} cells as the first has, got {len(cells)}")
    for column, cell in enumerate(cells):
        if column != label and not _is_number(cell):
            raise UserError(f"{path}: line {line}, column {column + 1} must be a number, got {cell!r}; fill or drop it")
    return [float(cell) for column, cell in enumerate(cells) if column != label]


def _classes_of(cells: list[str], where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names in order, and the index of each cell's name: numbers sort as numbers, and must be integers."""
    if not all(_is_number(c) for c in cells):
        names, y = np.unique(np.array(cells), return_inverse=True)
        return tuple(str(n) for n in names), y
    values = [float(c) for c in cells]
    wrong = next((c for c, v in zip(cells, values, strict=True) if v != v or v % 1), None)
    if wrong is not None:
        raise UserError(f"{where}: labels must be integers or names, got {wrong!r}; only classes are supported")
    numbers, y = np.unique(np.array(values), return_inverse=True)
    return tuple(f"{n:g}" for n in numbers), y


def _call(module: str, function: str, allow_code: bool) -> dict[str, Any]:
    """The arrays that the user's function returns."""
    where = f"{module}:{function}"
    if not allow_code:
        raise UserError(f"data: {where} would run code of its own; if you trust it, add --allow-code")
    found = getattr(_import(module), function, None)
    if not callable(found):
        raise UserError(f"data: {module} must have a function {function!r}")
    result = found()
    if isinstance(result, dict):
        return result
    if isinstance(result, (tuple, list)) and len(result) == 2:
        return {"x": result[0], "y": result[1]}
    raise UserError(f"data: {where} must return (x, y) or a dict of arrays, got {type(result).__name__}")


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
        raise UserError(f"data: no file, folder or module {module!r} ({error}); valid: {KINDS}") from error
    finally:
        sys.path.pop(0)
