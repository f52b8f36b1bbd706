"""Tables: one row a sample, columns of numbers or names, one or more of them the target."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nasforge.data.arrays import Origin, Raw, raw_of
from nasforge.data.dataset import Source
from nasforge.data.readers.arrow import unpacked_size
from nasforge.data.reading import is_float
from nasforge.errors import UserError, nearest
from nasforge.files import content, most_of, unpacked

TARGETS = ("label", "y", "target", "class")  # the usual names of the column that is the target
MOST_NAMES = 50  # different names in a column that is read as categories
LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
COLUMNAR = (".parquet", ".arrow", ".feather")
Column = np.ndarray | list[str]  # numbers, NaN where one is missing, or names; or cells as they are written, "" where one is missing
LEADING_ZERO = re.compile(r"[+-]?0[0-9]+")


def read_diabetes(source: Source, kind: str | None) -> Raw:
    """Return 442 patients with ten measurements each, and how their diabetes went on a year later.

    Source: Efron et al. 2004 (least angle regression), through scikit-learn.
    """
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(scaled=False)
    return raw_of({"x": bunch.data, "y": bunch.target}, "diabetes", kind or "value", ("progression",))


# ---------------------------------------------------------------- from columns to data


def raw_of_columns(
    columns: Mapping[str, Column], name: str, kind: str | None, target: str | Sequence[str] | None,
    place: Callable[[int], str] = "row {}".format,
) -> Raw:  # fmt: skip
    """Return the raw data of a table.

    The target is the column that `target` names (several: a sequence, or with commas between), else the one named label, y, target or
    class, else the last one. A column of names becomes one column of zeros and ones for each name. A number that is missing counts as the
    mean of its column over the training part.

    Args:
        place: where a row stands, for messages.

    Raises:
        UserError: no such column, a target that is missing, names where numbers must stand.
    """
    wanted = targets_of(tuple(columns), target, name)
    x, notes, described = [], [], list[dict[str, Any]]()
    for key, column in columns.items():
        if key in wanted:
            continue
        column = _numbers_or_names(column)
        if isinstance(column, np.ndarray):
            if np.isinf(column).any():
                raise UserError(f"{name}: numbers must be finite, got infinity in {place(int(np.argmax(np.isinf(column))))}")
            if missing := int(np.isnan(column).sum()):
                notes.append(f"{key}: {_empty_cells(missing)}, counted as the mean of the column")
            x.append(column)
            described.append({"name": key})
            continue
        kinds = sorted({c for c in column if c})
        mixed = any(is_float(c) for c in kinds)
        if mixed or len(kinds) > MOST_NAMES:
            row = next(i for i, c in enumerate(column) if c and not is_float(c))
            got = f"{column[row]!r} beside numbers" if mixed else f"{len(kinds)} different names such as {column[row]!r}"
            raise UserError(f"{name}: {place(row)}: {key} must hold numbers, or at most {MOST_NAMES} names, got {got}; fill or drop it")
        x += [np.array([float(c == one) for c in column]) for one in kinds]
        described += [{"name": key, "names": kinds}] if kinds else []
        empty = sum(not c for c in column)
        missing_too = f"; {_empty_cells(empty)}, counted as none of them" if empty else ""
        notes.append(f"{key}: {len(kinds)} names, one column each{missing_too}")
    if not x:
        raise UserError(f"{name}: a table must have a column beside its target, got none")
    y, labels = target_of({key: columns[key] for key in wanted}, name, kind, place)
    raw = raw_of({"x": np.stack(x, 1), "y": y}, name, kind, labels)
    header = list(columns) != [str(i + 1) for i in range(len(columns))]
    about = {"kind": "table", "header": header, "columns": described, "target_columns": list(wanted)}
    used = {one["name"]: columns[one["name"]] for one in described}
    return Raw(raw.name, raw.parts, raw.kinds, labels=labels, notes=tuple(notes), about={"input": about},
               origins={"train": partial(_cells_of, used)})  # fmt: skip


def _empty_cells(empty: int) -> str:
    return f"{empty} empty cell{'s' * (empty > 1)}"


def raw_of_parts(found: Mapping[str, Mapping[str, Column]], name: str, kind: str | None, target: str | Sequence[str] | None) -> Raw:
    """Return the raw data of tables by part: their columns are matched by name, and a name in one of them gets its column in all.

    Raises:
        UserError: as of `raw_of_columns`, and where a part has other columns than train.
    """
    first = found["train"]
    for part, columns in found.items():
        if other := sorted(set(columns) ^ set(first)):
            lacks = part if other[0] in first else "train"
            raise UserError(f"{name}: {part} must have the columns of train, got {other[0]!r}, which {lacks} lacks; add or drop it")
    sizes = {part: len(next(iter(columns.values()))) for part, columns in found.items()}
    place = partial(place_of, sizes) if len(sizes) > 1 else "row {}".format
    whole = raw_of_columns({key: _joined([columns[key] for columns in found.values()]) for key in first}, name, kind, target, place)
    every, parts, start, origins = whole.parts["train"], {}, 0, dict[str, Origin]()
    for part, n in sizes.items():
        origins[part] = partial(_row_from, whole.origins["train"], start)
        parts[part], start = every[start : start + n], start + n
    return replace(whole, parts=parts, origins=origins)


def _cells_of(columns: Mapping[str, Column], i: int) -> dict[str, Any]:
    """Row i by column."""
    return {name: column[i] for name, column in columns.items()}


def _row_from(rows: Origin, start: int, i: int) -> Any:
    """Row i of a part that begins at `start`."""
    return rows(start + i)


def place_of(sizes: Mapping[str, int], i: int) -> str:
    """Where row i of all parts, one after the other, stands in its part."""
    for part, n in sizes.items():
        if i < n:
            return f"{part}, row {i}"
        i -= n
    return f"row {i}"


def _joined(columns: Sequence[Column]) -> Column:
    """The columns of several parts as one."""
    arrays = [column for column in columns if isinstance(column, np.ndarray)]
    if len(arrays) == len(columns) and len({array.dtype.kind in "uif" for array in arrays}) == 1:
        return np.concatenate(arrays)
    return [cell for column in columns for cell in (column.tolist() if isinstance(column, np.ndarray) else column)
            for cell in ["" if cell != cell else str(cell)]]  # fmt: skip


def targets_of(names: Sequence[str], wanted: str | Sequence[str] | None, where: str) -> list[str]:
    """The columns that are the target."""
    if not isinstance(wanted, str | None):
        return list(wanted)
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
    numeric = _is_numeric(column)
    empty = next((i for i, cell in enumerate(column) if cell == "" or cell != cell or (numeric and str(cell).lower() == "nan")), None)
    if empty is not None:
        raise UserError(f"{where}: {place(empty)}: the target is empty; drop the row, or name another --target")
    if not numeric:
        names, classes = np.unique(np.array(column), return_inverse=True)
        return classes, tuple(map(str, names))
    found = [_whole(cell, where) for cell in (column.tolist() if isinstance(column, np.ndarray) else column)]
    known = {one: i for i, one in enumerate(sorted(set(found)))}
    return np.array([known[one] for one in found]), tuple(written or str(number) for number, written in known)


def _whole(cell: Any, where: str) -> tuple[int, str]:
    """A class that is a number: exactly, and as it is written where it has zeros before it, so that 01 is not 1."""
    if isinstance(cell, int):
        return cell, ""
    number = float(cell)
    if not np.isfinite(number) or number % 1:
        raise UserError(f"{where}: labels must be integers or names, got '{number:.15g}'; for numbers to predict, add --task regression")
    if isinstance(cell, float):
        return int(cell), ""
    cell = cell.strip()
    return (int(number) if abs(number) > 2**63 else int(Decimal(cell))), cell if LEADING_ZERO.match(cell) else ""


def _is_number(cell: Any) -> bool:
    return bool(np.isfinite(float(cell))) if not isinstance(cell, str) or is_float(cell) else False


def columns_of(frame: Any, where: str) -> dict[str, Column]:
    """Return the columns of a data frame (pandas, polars, pyarrow) or of a mapping of columns, two at least; see `columns_of_frame`."""
    found = columns_of_frame(frame, where)
    sizes = {len(column) for column in found.values()}
    if len(found) < 2 or len(sizes) != 1 or sizes == {0}:
        raise UserError(f"{where}: a table must have rows of a number and a label, got {len(found)} columns, {sorted(sizes)} rows")
    return found


def columns_of_frame(frame: Any, where: str) -> dict[str, Column]:
    """Return the columns of a data frame: numbers as such, moments as seconds since 1970, spans as seconds, all else as it is written.

    Raises:
        UserError: two columns have one name, a cell is neither number nor name.
    """
    names = list(getattr(frame, "column_names", getattr(frame, "columns", frame)))
    _check_names([str(name) for name in names], where)
    found: dict[str, Column] = {}
    for name in names:
        values = frame[name]
        found[str(name)] = _cells(np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values), f"{where}: {name}")
    return found


def _check_names(names: Sequence[str], where: str) -> None:
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise UserError(f"{where}: every column must have a name of its own, got {twice!r} twice; rename one")


def _cells(array: np.ndarray, where: str) -> Column:
    """A column as an array gives it."""
    if array.ndim != 1:
        raise UserError(f"{where}: a column must hold one number or name a row, got the shape {array.shape}; give a column for each")
    if array.dtype.kind in "uif":
        return array
    if array.dtype.kind in "Mm":
        return _seconds(array)
    values = [None if _is_missing(v) else v for v in array.tolist()]
    for row, v in enumerate(values):
        if isinstance(v, list | tuple | dict | set | np.ndarray):
            raise UserError(f"{where}, row {row}: must be a number or a name, got a {type(v).__name__}; give each of its numbers a column")
    filled = [v for v in values if v is not None]
    if filled and all(isinstance(v, date) for v in filled):
        moments = [v.astimezone(UTC).replace(tzinfo=None) if isinstance(v, datetime) and v.tzinfo else v for v in values]
        return _seconds(np.array(moments, "datetime64[us]"))
    return ["" if v is None else str(v) for v in values]


def _seconds(array: np.ndarray) -> np.ndarray:
    """Moments as seconds since 1970, or spans as seconds, whatever their unit; NaN where one is missing."""
    unit = np.datetime_data(array.dtype)[0]
    if unit in ("Y", "M", "W", "D", "h", "m"):
        array = array.astype(f"{array.dtype.kind}8[s]")
    ticks = {"ms": 10**3, "us": 10**6, "ns": 10**9}.get(np.datetime_data(array.dtype)[0], 1)
    return np.where(np.isnat(array), np.nan, array.astype(np.int64) / ticks)


def _is_missing(value: Any) -> bool:
    """Whether a cell is empty: None, NaN, NaT, or NA of pandas, which is neither equal nor unequal to anything."""
    if value is None or isinstance(value, str | list | tuple | dict | np.ndarray):
        return value is None
    try:
        return bool(value != value)
    except TypeError:
        return True


def _numbers_or_names(column: Column) -> Column:
    """Numbers as float64 where every cell that is filled is one, else names."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "uif":
        return column.astype(np.float64)
    return np.array([float(c) if c else np.nan for c in column]) if _is_numeric(column) else list(map(str, column))


def _is_numeric(column: Column) -> bool:
    """Whether a column holds numbers, or cells of which every one that is filled is written as a number."""
    if isinstance(column, np.ndarray):
        return column.dtype.kind in "uif"
    return any(column) and all(is_float(c) for c in column if c)


# ---------------------------------------------------------------- formats


def read_table(source: Source, kind: str | None) -> Raw:
    """Return the rows of FILE.csv or FILE.tsv, plain or gzipped; a first line of names is found out. See `raw_of_columns`."""
    path = Path(source.spec).expanduser()
    lines: list[int] = []
    columns = table_columns(path, source.target, lines)
    raw = raw_of_columns(columns, str(path), kind, source.target, lambda row: f"line {lines[row]}")
    return replace(raw, name=stem(path))


def table_columns(path: Path, target: str | None = None, lines: list[int] | None = None, named: bool = False) -> dict[str, Column]:
    """Return the columns of FILE.csv or FILE.tsv by name, or number where there are no names; `lines` gets the line of each row.

    named: whether the first line holds names for certain.
    """
    header, rows = _rows(path, named)
    width = len(header or rows[0][1])
    names = header or [str(i + 1) for i in range(width)]
    _check_names(names, str(path))
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
            if blank or cell.lower() == "nan" or (not header and not is_float(cell)):
                raise UserError(f"{path}: line {line}, column {i + 1} must be a number, got {cell!r}; fill or drop it")
        columns[name] = cells
    return columns


def stem(path: Path) -> str:
    """The name of a file without its endings."""
    return (path.stem if path.suffix.lower() == ".gz" else path.name).rpartition(".")[0]


def text_of(path: Path, what: str) -> str:
    """The text of a file, plain or gzipped."""
    try:
        data = unpacked(content(path)) if path.suffix.lower() == ".gz" else content(path)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {what} must be UTF-8 text, got a wrong byte at {error.start}") from error
    except OSError as error:
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
    named = named or any(c and not is_float(c) for c in head[:-1]) or any(c.lower() in TARGETS for c in head)
    return (rows.pop(0)[1] if named else []), rows


def read_json_lines(source: Source, kind: str | None) -> Raw:
    """Return the rows of FILE.jsonl, one object a line; a key is a column, and a list of numbers is a column for each."""
    path = Path(source.spec).expanduser()
    rows: list[tuple[int, dict[str, Any]]] = []
    listed: set[str] = set()
    plain: set[str] = set()
    for number, line in enumerate(text_of(path, "JSON lines").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: line {number} must be JSON, got: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f'{path}: line {number} must be an object such as {{"a": 1, "label": "cat"}}, got {line[:40]}')
        rows.append((number, _spread(row, listed)))
        plain |= set(rows[-1][1]) - listed
        if twice := sorted(listed & (plain | set(row))):
            raise UserError(f"{path}: line {number}: every column must have a name of its own, got {twice[0]!r} twice, once of a list; "
                            "rename one")  # fmt: skip
    names = list(dict.fromkeys(key for _, row in rows for key in row))
    frame = {name: [row.get(name) for _, row in rows] for name in names}
    for name, cells in frame.items():
        for (number, _), cell in zip(rows, cells, strict=True):
            if isinstance(cell, dict | list):
                raise UserError(f"{path}: line {number}, {name}: must be a number, a name or a list of numbers, got {str(cell)[:40]}")
    raw = raw_of_columns(columns_of(frame, str(path)), str(path), kind, source.target, lambda row: f"line {rows[row][0]}")
    return replace(raw, name=stem(path))


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raise ValueError where a key stands twice in it."""
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise ValueError(f"the key {twice!r} twice in one object")
    return dict(pairs)


def _spread(row: Mapping[str, Any], listed: set[str]) -> dict[str, Any]:
    """A row with each list of numbers as a column for each of them; `listed` gets their names."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, list) and all(isinstance(v, int | float) for v in value):
            columns = {f"{key}.{i}": v for i, v in enumerate(value)}
            listed |= set(columns)
            found |= columns
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
        if path.suffix.lower() == ".parquet":
            _check_names(parquet.read_schema(path).names, str(path))
            about = parquet.read_metadata(path)
            size, most = 8 * about.num_rows * max(1, about.num_columns), most_of(path.stat().st_size)
            if size > most:  # a column of one value packs to nothing
                raise UserError(f"{path}: must not unpack to more than {most:,} bytes, got {about.num_rows:,} rows; drop constant columns")
            table = parquet.read_table(path)
        else:
            with path.open("rb") as file:
                start = 8 if file.read(6) == b"ARROW1" else 0  # a file is a stream with a frame around it
                file.seek(start)
                size, most = sum(map(unpacked_size, ipc.MessageReader.open_stream(file))), most_of(path.stat().st_size)
                if size > most:
                    raise UserError(f"{path}: must not unpack to more than {most:,} bytes, got {size:,}; drop constant columns")
                file.seek(start)
                table = ipc.open_stream(file).read_all()
    except (ArrowException, OSError) as error:
        raise UserError(f"{path}: must be a file that pyarrow reads, got: {(str(error) or type(error).__name__).splitlines()[0]}; write "
                        "it again") from error  # fmt: skip
    columns = columns_of(table, str(path))
    raw = raw_of_columns(columns, str(path), kind, source.target)
    return replace(raw, name=stem(path))


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
        found[part] = {n: ["" if c == "?" else c for c in v] if isinstance(v, list) else v.astype(float) for n, v in cells.items()}
    target = source.target
    if target is None and kind == "labels":
        xml = path.with_name(re.sub(r"-(train|test)$", "", stem(path)) + ".xml")
        if not xml.is_file():
            raise UserError(f"{path}: which columns are labels must be said; name them as --target A,B,C, or put {xml.name} beside it")
        names = re.findall(r'<label\s+name="([^"]+)"', text_of(xml, "XML"))
        target = ",".join(names)
    raw = raw_of_parts(found, str(path), kind, target)
    return replace(raw, name=stem(path).removesuffix("-train") if "test" in found else stem(path))
