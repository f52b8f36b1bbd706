"""Tables: one row a sample, columns of numbers or names, one of them the target."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nasforge.data.arrays import Arrays, Raw, raw_of
from nasforge.data.dataset import Source
from nasforge.errors import UserError, nearest

TARGETS = ("label", "y", "target", "class")  # the usual names of the column that is the target
MOST_NAMES = 50  # different names in a column that is read as categories


def read_diabetes(source: Source, kind: str | None) -> Raw:
    """Return 442 patients with ten measurements each, and how their diabetes went on a year later.

    Source: Efron et al. 2004 (least angle regression), through scikit-learn.
    """
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    raw = raw_of({"x": bunch.data, "y": bunch.target}, "diabetes", kind or "value")
    return Raw(raw.name, raw.parts, raw.kinds, labels=("progression",), per_column=True)


def read_table(source: Source, kind: str | None) -> Raw:
    """Return the rows of FILE.csv or FILE.tsv, plain or gzipped; a first line of names is found out.

    The target is the column that `Source.target` names, else the one named label, y, target or class, else the last one. A column of
    names becomes one column of zeros and ones for each name. An empty cell of a column that is a number elsewhere counts as missing:
    the mean of the training part stands in for it.
    """
    path = Path(source.spec).expanduser()
    header, rows = _rows(path)
    width = len(header or rows[0][1])
    target = _target(header, width, source.target, path)
    for line, cells in rows:
        if len(cells) != width:
            raise UserError(f"{path}: line {line} must have {width} cells as the first has, got {len(cells)}")
    columns, names, notes = [], [], []
    for i in range(width):
        if i == target:
            continue
        cells = [row[i] for _, row in rows]
        name = header[i] if header else f"column {i + 1}"
        if header and _is_names(cells):
            kinds = sorted({c for c in cells if c})
            columns += [np.array([float(c == kind) for c in cells]) for kind in kinds]
            names += [f"{name}={kind}" for kind in kinds]
            notes.append(f"{name}: {len(kinds)} names, one column each")
            continue
        column = np.array([_number(cell, line, i, bool(header), path) for cell, (line, _) in zip(cells, rows, strict=True)])
        if missing := int(np.isnan(column).sum()):
            notes.append(f"{name}: {missing} empty cells, counted as its mean")
        columns.append(column)
        names.append(name)
    x = np.stack(columns, 1).astype(np.float32) if columns else np.zeros((len(rows), 0), np.float32)
    if not columns:
        raise UserError(f"{path}: a table must have a column beside its target, got none")
    if np.isinf(x).any():
        raise UserError(f"{path}: numbers must be finite, got infinity in line {rows[int(np.argmax(np.isinf(x).any(1)))][0]}")
    cells = [row[target] for _, row in rows]
    labels: tuple[str, ...] = (header[target] if header else "target",)
    if kind == "value":
        y = np.array([_target_value(cell, line, path) for cell, (line, _) in zip(cells, rows, strict=True)])
    else:
        labels, y = _classes_of(cells, str(path))
    missing_x = np.isnan(x)
    raw = raw_of({"x": np.where(missing_x, 0.0, x), "y": y}, str(path), kind, labels)
    train = raw.parts["train"]
    filled = Arrays({"input": np.where(missing_x[:, :, None], np.nan, train.x)}, train.targets)
    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    return Raw(stem, {"train": filled}, raw.kinds, labels=labels, per_column=True, notes=tuple(notes))


def _rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, none where there are none, and the rows with their lines."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: a table must be UTF-8 text, got a wrong byte at {error.start}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: must be a table, plain or gzipped, got: {error}; fetch it again") from error
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    rows = [(i, [c.strip() for c in r]) for i, r in enumerate(csv.reader(lines, delimiter=delimiter), 1) if any(r)]
    if len(rows) < 2 or len(rows[0][1]) < 2:
        raise UserError(f"{path}: a table must have rows of at least one number and a label, got {first[:60]!r}")
    head = rows[0][1]
    named = any(c and not _is_number(c) for c in head[:-1]) or any(c.lower() in TARGETS for c in head)
    return (rows.pop(0)[1] if named else []), rows


def _target(header: Sequence[str], width: int, wanted: str | None, path: Path) -> int:
    """The place of the column that is the target."""
    if wanted is not None:
        if wanted in header:
            return list(header).index(wanted)
        if not header and wanted.isdigit() and 1 <= int(wanted) <= width:
            return int(wanted) - 1
        raise UserError(f"--target {wanted}: {path} has no such column; {nearest(wanted, header or range(1, width + 1))}")
    return next((i for i, c in enumerate(header) if c.lower() in TARGETS), width - 1)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_names(cells: Sequence[str]) -> bool:
    """Whether a column holds names: no cell is a number, and few are different."""
    filled = {c for c in cells if c}
    return bool(filled) and len(filled) <= MOST_NAMES and not any(_is_number(c) for c in filled)


def _number(cell: str, line: int, column: int, named: bool, path: Path) -> float:
    """A cell as a number, NaN where it is empty."""
    if not cell and named:
        return math.nan
    if not _is_number(cell) or math.isnan(float(cell)):
        raise UserError(f"{path}: line {line}, column {column + 1} must be a number, got {cell!r}; fill or drop it")
    return float(cell)


def _target_value(cell: str, line: int, path: Path) -> float:
    if not _is_number(cell) or not math.isfinite(float(cell)):
        raise UserError(f"{path}: line {line}: the target must be a number, got {cell!r}; drop the row, or name another --target")
    return float(cell)


def _classes_of(cells: Sequence[str], where: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names in order, and the index of each cell's name: numbers sort as numbers, and must be integers."""
    if not all(_is_number(c) for c in cells):
        names, y = np.unique(np.array(cells), return_inverse=True)
        return tuple(str(n) for n in names), y
    values = [float(c) for c in cells]
    wrong = next((c for c, v in zip(cells, values, strict=True) if v != v or v % 1), None)
    if wrong is not None:
        raise UserError(f"{where}: labels must be integers or names, got {wrong!r}; for numbers to predict, add --task regression")
    numbers, y = np.unique(np.array(values), return_inverse=True)
    return tuple(f"{n:g}" for n in numbers), y
