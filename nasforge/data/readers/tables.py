"""Tables: one row a sample, columns of numbers or names, one or more of them the target."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasforge.data.arrays import Raw, raw_of
from nasforge.data.dataset import Source
from nasforge.errors import UserError, nearest

TARGETS = ("label", "y", "target", "class")  # the usual names of the column that is the target
MOST_NAMES = 50  # different names in a column that is read as categories
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
COLUMNAR = (".parquet", ".arrow", ".feather")
Column = np.ndarray | list[str]  # numbers as float64, NaN where one is missing; or names, "" where one is missing


def read_diabetes(source: Source, kind: str | None) -> Raw:
    """Return 442 patients with ten measurements each, and how their diabetes went on a year later.

    Source: Efron et al. 2004 (least angle regression), through scikit-learn.
    """
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    return raw_of({"x": bunch.data, "y": bunch.target}, "diabetes", kind or "value", ("progression",))


# ---------------------------------------------------------------- from columns to data


def raw_of_columns(
    columns: Mapping[str, Column], name: str, kind: str | None, target: str | None, place: Callable[[int], str] = "row {}".format
) -> Raw:
    """Return the raw data of a table.

    The target is the column that `target` names (with commas between: several), else the one named label, y, target or class, else the
    last one. A column of names becomes one column of zeros and ones for each name. A number that is missing counts as the mean of its
    column over the training part.

    Args:
        place: where a row stands, for messages.

    Raises:
        UserError: no such column, a target that is missing, names where numbers must stand.
    """
    wanted = targets_of(tuple(columns), target, name)
    x, notes = [], []
    for key, column in columns.items():
        if key in wanted:
            continue
        if isinstance(column, np.ndarray):
            if np.isinf(column).any():
                raise UserError(f"{name}: numbers must be finite, got infinity in {place(int(np.argmax(np.isinf(column))))}")
            if missing := int(np.isnan(column).sum()):
                notes.append(f"{key}: {missing} empty cells, counted as its mean")
            x.append(column)
            continue
        kinds = sorted({c for c in column if c})
        mixed = any(_is_float(c) for c in kinds)
        if mixed or len(kinds) > MOST_NAMES:
            row = next(i for i, c in enumerate(column) if c and not _is_float(c))
            got = f"{column[row]!r} beside numbers" if mixed else f"{len(kinds)} different names such as {column[row]!r}"
            raise UserError(f"{name}: {place(row)}: {key} must hold numbers, or at most {MOST_NAMES} names, got {got}; fill or drop it")
        x += [np.array([float(c == one) for c in column]) for one in kinds]
        notes.append(f"{key}: {len(kinds)} names, one column each")
    if not x:
        raise UserError(f"{name}: a table must have a column beside its target, got none")
    y, labels = target_of({key: columns[key] for key in wanted}, name, kind, place)
    raw = raw_of({"x": np.stack(x, 1), "y": y}, name, kind, labels)
    return Raw(raw.name, raw.parts, raw.kinds, labels=labels, notes=tuple(notes))


def targets_of(names: Sequence[str], wanted: str | None, where: str) -> list[str]:
    """The columns that are the target."""
    if wanted is None:
        return [next((n for n in names if n.lower() in TARGETS), names[-1])]
    found = [wanted] if wanted in names else [w.strip() for w in wanted.split(",") if w.strip()]
    for word in found:
        if word not in names:
            raise UserError(f"--target {wanted}: {where} has no column {word!r}; {nearest(word, names)}")
    return found


def target_of(
    columns: Mapping[str, Column], where: str, kind: str | None, place: Callable[[int], str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The target, and its names: of the classes, labels or values."""
    if kind in ("value", "labels"):
        for key, column in columns.items():
            for i, cell in enumerate(column):
                if not _is_number(cell):
                    got = cell if isinstance(cell, str) else ""
                    raise UserError(
                        f"{where}: {place(i)}: the target {key} must be a number, got {got!r}; drop the row, or name another --target"
                    )
        y = np.stack([np.array([float(v) for v in c]) for c in columns.values()], 1)
        return (y[:, 0] if kind == "value" and y.shape[1] == 1 else y), tuple(columns)
    if len(columns) > 1:
        raise UserError(f"{where}: the targets {', '.join(columns)} are for --task multilabel or regression; add it, or name one target")
    (column,) = columns.values()
    empty = np.flatnonzero(np.isnan(column) if isinstance(column, np.ndarray) else np.array(column) == "")
    if empty.size:
        raise UserError(f"{where}: {place(int(empty[0]))}: the target is empty; drop the row, or name another --target")
    found = np.array(column)
    if found.dtype.kind == "f":
        wrong = found[found % 1 != 0]
        if wrong.size:
            got = f"{wrong[0]:g}"
            raise UserError(f"{where}: labels must be integers or names, got {got!r}; for numbers to predict, add --task regression")
    names, classes = np.unique(found, return_inverse=True)
    return classes, tuple(f"{n:g}" if found.dtype.kind == "f" else str(n) for n in names)


def _is_number(cell: Any) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def columns_of(frame: Any, where: str) -> dict[str, Column]:
    """Return the columns of a data frame (pandas, polars) or of a mapping of columns: numbers as such, all else as names."""
    names = list(frame.columns) if hasattr(frame, "columns") else list(frame)
    found: dict[str, Column] = {}
    for name in names:
        values = frame[name]
        array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
        if array.dtype.kind in "uif":
            found[str(name)] = array.astype(np.float64)
            continue
        cells = ["" if v is None or v != v else str(v) for v in array.tolist()]
        found[str(name)] = _column(cells)
    sizes = {len(column) for column in found.values()}
    if len(found) < 2 or len(sizes) != 1 or sizes == {0}:
        raise UserError(f"{where}: a table must have rows of a number and a label, got {len(found)} columns, {sorted(sizes)} rows")
    return found


def _column(cells: list[str]) -> Column:
    """Numbers where every cell that is filled is one, else names."""
    filled = [c for c in cells if c]
    if filled and all(_is_float(c) for c in filled):
        return np.array([float(c) if c else np.nan for c in cells])
    return cells


def _is_float(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- formats


def read_table(source: Source, kind: str | None) -> Raw:
    """Return the rows of FILE.csv or FILE.tsv, plain or gzipped; a first line of names is found out. See `raw_of_columns`."""
    path = Path(source.spec).expanduser()
    lines: list[int] = []
    columns = table_columns(path, source.target, lines)
    raw = raw_of_columns(columns, str(path), kind, source.target, lambda row: f"line {lines[row]}")
    return Raw(stem(path), raw.parts, raw.kinds, labels=raw.labels, notes=raw.notes)


def table_columns(path: Path, target: str | None = None, lines: list[int] | None = None, named: bool = False) -> dict[str, Column]:
    """Return the columns of FILE.csv or FILE.tsv by name, or number where there are no names; `lines` gets the line of each row.

    named: whether the first line holds names for certain.
    """
    header, rows = _rows(path, named)
    width = len(header or rows[0][1])
    names = header or [str(i + 1) for i in range(width)]
    if len(set(names)) < width:
        twice = next(n for n in names if names.count(n) > 1)
        raise UserError(f"{path}: every column must have a name of its own, got {twice!r} twice; rename one")
    for line, cells in rows:
        if len(cells) != width:
            raise UserError(f"{path}: line {line} must have {width} cells as the first has, got {len(cells)}")
    if lines is not None:
        lines += [line for line, _ in rows]
    wanted = targets_of(names, target, str(path))
    columns: dict[str, Column] = {}
    for i, name in enumerate(names):
        cells = [row[i] for _, row in rows]
        for (line, _), cell in zip(rows, cells, strict=True) if name not in wanted else ():
            blank = cell == "" and not header  # without names it is a mistake
            if blank or cell.lower() == "nan" or (not header and not _is_float(cell)):
                raise UserError(f"{path}: line {line}, column {i + 1} must be a number, got {cell!r}; fill or drop it")
        columns[name] = _column(cells)
    return columns


def stem(path: Path) -> str:
    """The name of a file without its endings."""
    return path.name.removesuffix(".gz").rpartition(".")[0]


def text_of(path: Path, what: str) -> str:
    """The text of a file, plain or gzipped."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {what} must be UTF-8 text, got a wrong byte at {error.start}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: must be {what}, plain or gzipped, got: {error}; fetch it again") from error


def _rows(path: Path, named: bool = False) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, none where there are none, and the rows with their lines."""
    text = text_of(path, "a table")
    first = text[: text.find("\n")] if "\n" in text else text
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[tuple[int, list[str]]] = []
    before = csv.field_size_limit(sys.maxsize)
    try:
        rows = [(reader.line_num, [c.strip() for c in r]) for r in reader if any(r)]
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} must be a row of cells, got: {error}") from error
    finally:
        csv.field_size_limit(before)
    if len(rows) < 2 or len(rows[0][1]) < 2:
        raise UserError(f"{path}: a table must have rows of at least one number and a label, got {first[:60]!r}")
    head = rows[0][1]
    named = named or any(c and not _is_float(c) for c in head[:-1]) or any(c.lower() in TARGETS for c in head)
    return (rows.pop(0)[1] if named else []), rows


def read_json_lines(source: Source, kind: str | None) -> Raw:
    """Return the rows of FILE.jsonl, one object a line; a key is a column, and a list of numbers is a column for each."""
    path = Path(source.spec).expanduser()
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(text_of(path, "JSON lines").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}: line {number} must be JSON, got: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f'{path}: line {number} must be an object such as {{"a": 1, "label": "cat"}}, got {line[:40]}')
        rows.append((number, _spread(row)))
    names = list(dict.fromkeys(key for _, row in rows for key in row))
    frame = {name: [row.get(name) for _, row in rows] for name in names}
    for name, cells in frame.items():
        for (number, _), cell in zip(rows, cells, strict=True):
            if isinstance(cell, dict | list):
                raise UserError(f"{path}: line {number}, {name}: must be a number, a name or a list of numbers, got {str(cell)[:40]}")
    raw = raw_of_columns(columns_of(frame, str(path)), str(path), kind, source.target, lambda row: f"line {rows[row][0]}")
    return Raw(stem(path), raw.parts, raw.kinds, labels=raw.labels, notes=raw.notes)


def _spread(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with each list of numbers as a column for each of them."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, list) and all(isinstance(v, int | float) for v in value):
            found |= {f"{key}.{i}": v for i, v in enumerate(value)}
        else:
            found[key] = value
    return found


def read_columnar(source: Source, kind: str | None) -> Raw:
    """Return the rows of FILE.parquet, FILE.arrow or FILE.feather. Needs pyarrow."""
    path = Path(source.spec).expanduser()
    try:
        from pyarrow import ArrowException, ipc, parquet
    except ImportError:
        raise UserError(f"{path}: needs pyarrow, which is not installed; pip install 'nasforge[data]'") from None
    try:
        if path.suffix == ".parquet":
            table = parquet.read_table(path)
        else:
            with path.open("rb") as file:
                head = file.read(6)
                file.seek(0)
                table = (ipc.open_file(file) if head == b"ARROW1" else ipc.open_stream(file)).read_all()
    except (ArrowException, OSError) as error:
        raise UserError(f"{path}: must be a file that pyarrow reads, got: {str(error).splitlines()[0]}; write it again") from error
    columns = columns_of({name: table.column(name) for name in table.column_names}, str(path))
    raw = raw_of_columns(columns, str(path), kind, source.target)
    return Raw(stem(path), raw.parts, raw.kinds, labels=raw.labels, notes=raw.notes)


def read_arff(source: Source, kind: str | None) -> Raw:
    """Return the rows of FILE.arff, plain or gzipped.

    Of `NAME-train.arff` also `NAME-test.arff` beside it is read, as the test part. With the task multilabel the labels are the targets
    that are named, else those that `NAME.xml` beside it lists (Mulan's format).
    Source: the format's description by Weka; https://mulan.sourceforge.net/format.html.
    """
    from scipy.io import arff

    path = Path(source.spec).expanduser()
    found: dict[str, dict[str, Column]] = {}
    beside = path.with_name(path.name.replace("-train.", "-test."))
    for part, file in {"train": path, "test": beside}.items():
        if part == "test" and (file == path or not file.is_file()):
            continue
        try:
            rows, meta = arff.loadarff(io.StringIO(text_of(file, "ARFF")))
        except (arff.ArffError, NotImplementedError, ValueError, StopIteration) as error:
            raise UserError(f"{file}: must be dense ARFF of numbers and nominal values, got: {error or type(error).__name__}") from error
        cells = {name: [v.decode() for v in rows[name]] if meta[name][0] == "nominal" else rows[name] for name in meta.names()}
        found[part] = {n: _column(["" if c == "?" else c for c in v]) if isinstance(v, list) else v.astype(float) for n, v in cells.items()}
    target = source.target
    if target is None and kind == "labels":
        xml = path.with_name(re.sub(r"-(train|test)$", "", stem(path)) + ".xml")
        if not xml.is_file():
            raise UserError(f"{path}: which columns are labels must be said; name them as --target A,B,C, or put {xml.name} beside it")
        names = re.findall(r'<label\s+name="([^"]+)"', text_of(xml, "XML"))
        target = ",".join(names)
    made = {part: raw_of_columns(columns, str(path), kind, target) for part, columns in found.items()}
    if "test" not in made:
        train = made["train"]
        return Raw(stem(path), train.parts, train.kinds, labels=train.labels, notes=train.notes)
    joined = {name: np.concatenate([found[p][name] for p in found]) if isinstance(found["train"][name], np.ndarray)  # type: ignore[arg-type]
              else [*found["train"][name], *found["test"][name]] for name in found["train"]}  # fmt: skip
    whole = raw_of_columns(joined, str(path), kind, target)  # names of both parts get the same columns
    n, every = len(made["train"].parts["train"]), whole.parts["train"]
    parts = {"train": every[:n], "test": every[n:]}
    return Raw(stem(path).removesuffix("-train"), parts, whole.kinds, labels=whole.labels, notes=whole.notes)
