"""Images: scikit-learn's digits, folders of files, idx files, JPEGs packed into one file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nasforge.data.arrays import Origin, Raw, raw_of
from nasforge.data.dataset import Source
from nasforge.data.images import Encoded, look_over
from nasforge.data.readers.tables import table_columns, target_of, targets_of
from nasforge.data.reading import SUFFIXES
from nasforge.errors import UserError
from nasforge.files import content, unpacked

PART_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
LABELS = "labels.csv"
FILE_COLUMNS = ("file", "filename", "file_name", "image", "path")
PACKED = frozenset({"header", "data", "offsets", "labels", "n_train"})
IDX_NAME = re.compile(r"(images|labels)[-.]idx\d(-ubyte)?(\.gz)?$")
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_digits(source: Source, kind: str | None) -> Raw:
    """Return 1,797 handwritten digits (N, 1, 8, 8) in [0, 1] and their classes. Source: UCI Optdigits, through scikit-learn."""
    x, y = _digits()
    return raw_of({"x": x, "y": y}, "digits", kind)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """What `sklearn.datasets.load_digits` gives, from its file: to import scikit-learn takes longer than all else that a search reads."""
    found = find_spec("sklearn")
    assert found is not None and found.origin is not None
    rows = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")  # (N, 65): pixels, class
    return (rows[:, :-1] / rows[:, :-1].max()).astype(np.float32).reshape(-1, 1, 8, 8), rows[:, -1].astype(np.int64)


def read_digit_scenes(source: Source, kind: str | None) -> Raw:
    """Return the digits, twice as large, in one quarter of a (3, 32, 32) image: two targets for one image.

    `mask` has 11 classes: 0 where there is no ink, else the digit and 1; `label` is the quarter, counted by rows. Ink and paper have random
    colors, the same in every process.
    """
    digits, classes = _digits()
    rng = np.random.default_rng(0)
    ink = np.kron(digits[:, 0], np.ones((2, 2), np.float32))  # (N, 16, 16)
    quarter = rng.integers(0, 4, len(ink))
    canvas = np.zeros((len(ink), 32, 32), np.float32)
    for i, place in enumerate(quarter):
        row, column = 16 * (place // 2), 16 * (place % 2)
        canvas[i, row : row + 16, column : column + 16] = ink[i]
    paper, color = rng.uniform(0, 0.35, (len(ink), 3, 1, 1)), rng.uniform(0.55, 1, (len(ink), 3, 1, 1))
    x = paper + (color - paper) * canvas[:, None] + rng.normal(0, 0.05, (len(ink), 3, 32, 32))
    mask = np.where(canvas > 0.4, classes[:, None, None] + 1, 0)
    return raw_of({"x": x.astype(np.float32), "y:mask": mask, "y:label": quarter}, "digit_scenes", kind)


def read_folder(source: Source, kind: str | None) -> Raw:
    """Return the images of a folder; classes are the sorted names of the folders that hold them, or whose folders do.

    See `nasforge.data.images`.
    """
    root = Path(source.spec).expanduser()
    folders = _folders(root)
    parts: dict[str, Path] = {}
    for folder in folders:
        part = PART_FOLDERS.get(folder.name.lower())
        if part in parts:
            raise UserError(f"{root}: must hold one folder for {part}, got {parts[part].name}/ and {folder.name}/; remove or join them")
        if part is not None:
            parts[part] = folder
    if parts and len(parts) != len(folders):
        inside, beside = next(iter(parts.values())).name, next(d.name for d in folders if d.name.lower() not in PART_FOLDERS)
        raise UserError(
            f"{root}: {inside}/ stands beside class folders such as {beside}/, and its name is that of a part; if it is a class, "
            f"put all classes into a folder train/ (train/{beside}/, train/{inside}/), else give each part the same class folders"
        )
    if parts and "train" not in parts:
        raise UserError(f"{root}: must hold train/ beside {', '.join(f'{d.name}/' for d in parts.values())}")
    parts = parts or {"train": root}
    classes = [d.name for d in _folders(parts["train"])]
    if not classes:
        raise UserError(f"{parts['train']}: must hold one folder of images a class, or labels.csv, got neither")
    empty = [name for name in classes if not _of_class(parts["train"] / name)]
    labels = tuple(name for name in classes if name not in empty)
    files: list[tuple[Path, int, str]] = []
    for part, folder in parts.items():
        unknown = {d.name for d in _folders(folder)} - set(classes)
        if unknown:
            raise UserError(f"{folder}: its classes must be those of train, got also {', '.join(sorted(unknown))}")
        found = [(path, k, part) for k, name in enumerate(labels) for path in _of_class(folder / name)]
        if not found:
            raise UserError(f"{folder}: must hold images ({' '.join(SUFFIXES)}) in its folders, got none")
        files += found
    said = [f"class {name} has no image: left out" for name in empty]
    if stray := [path for folder in dict.fromkeys((root, *parts.values())) for path in _images(folder)]:
        names = ", ".join(str(path.relative_to(root)) for path in stray[:3]) + (", ..." if len(stray) > 3 else "")
        beside = "images beside the folders of the classes are" if len(stray) > 1 else "image beside the folders of the classes is"
        said.append(f"{len(stray)} {beside} left out: {names}")
    encoded = Encoded(tuple(path for path, *_ in files))
    y = np.array([k for _, k, _ in files])
    try:
        return of_encoded(encoded, y, [part for *_, part in files], source, root.name, kind, labels, said)
    except UserError as error:
        raise UserError("; ".join([str(error), *said])) from None


def read_labelled(source: Source, kind: str | None) -> Raw:
    """Return the images that `labels.csv` in a folder lists: a column of file names, the target, and where there is one the part.

    The column of files is called file, filename, image or path, or is the first; that of the part split or part. The target is the one
    that is named, else the usual one (see `nasforge.data.readers.tables`); several make a multi-label target or several values.
    """
    root = Path(source.spec).expanduser()
    columns = table_columns(root / LABELS, named=True)
    name = next((c for c in columns if c.lower() in FILE_COLUMNS), next(iter(columns)))
    split = next((c for c in columns if c.lower() in ("split", "part")), None)
    rest = {c: column for c, column in columns.items() if c not in (name, split)}
    if not rest:
        raise UserError(f"{root / LABELS}: must have a column of files and a target, got {', '.join(columns)}")
    wanted = targets_of(tuple(rest), source.target, str(root / LABELS))
    y, labels = target_of({c: rest[c] for c in wanted}, str(root / LABELS), kind, lambda i: f"row {i + 1}")
    files = [root / str(cell) for cell in columns[name]]
    missing = [str(cell) for cell, path in zip(columns[name], files, strict=True) if not path.is_file()]
    if missing and not source.skip_broken:
        lost = f"{missing[0]}, which is not there ({len(missing)} of {len(files)} are not)"
        raise UserError(f"{root / LABELS}: lists {lost}; add the files, or --skip-broken")
    parts = ["train"] * len(files)
    for i, word in enumerate(columns[split] if split else ()):
        if str(word).lower() not in PART_FOLDERS:
            raise UserError(f"{root / LABELS}: {split} must be train, val or test, got {word!r} in row {i + 1}")
        parts[i] = PART_FOLDERS[str(word).lower()]
    ignored = [c for c in rest if c not in wanted]
    said = [f"{LABELS}: the columns {', '.join(ignored)} are not read"] if ignored else []
    return of_encoded(Encoded(tuple(files)), y, parts, source, root.name, kind, labels, said)


def of_encoded(
    encoded: Encoded, y: np.ndarray, parts: Sequence[str], source: Source, name: str, kind: str | None, labels: tuple[str, ...],
    said: Sequence[str] = (),
) -> Raw:  # fmt: skip
    """Return the data of encoded images, their targets and the part of each; broken ones are left out where they may be."""
    images, whole, notes, how = look_over(encoded, source, name, parts)
    y, of = y[whole], np.array(parts)[whole]
    arrays: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for part in dict.fromkeys(parts):
        chosen: Any = np.flatnonzero(of == part)
        origins[part] = partial(bytes_of, encoded, whole[chosen])
        if len(chosen) and chosen[-1] - chosen[0] == len(chosen) - 1:
            chosen = slice(chosen[0], chosen[-1] + 1)  # images that lie together need not be copied
        arrays |= {f"x_{part}": images[chosen], f"y_{part}": y[chosen]}
    raw = raw_of(arrays, name, kind, labels)
    return replace(raw, notes=(*said, *notes, *raw.notes), about={name: how for name in raw.parts["train"].inputs}, origins=origins)


def bytes_of(encoded: Encoded, which: np.ndarray, i: int) -> bytes:
    """The file of image i of a part."""
    return encoded.read(int(which[i]))


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]


def _of_class(folder: Path, above: tuple[Path, ...] = ()) -> list[Path]:
    """The images of a class: in its folder, and in the folders of this one."""
    found, within = _images(folder), (*above, folder.resolve())
    for inner in _folders(folder) if folder.is_dir() else ():
        if inner.is_symlink() and (inner.resolve() in within or any(inner.resolve() in one.parents for one in within)):
            raise UserError(f"{inner}: must not be a link to a folder that it is in, got {inner.resolve()}; remove the link")
        more = _of_class(inner, within)
        if more and inner.name.lower() in PART_FOLDERS:
            raise UserError(f"{folder}: {inner.name}/ stands in the folder of a class; give {inner.name}/{folder.name}/ instead")
        found += more
    return found


def read_packed(arrays: dict[str, Any], source: Source, kind: str | None, name: str) -> Raw:
    """Return the data of JPEGs packed into one array: image i is `header + data[offsets[i]:offsets[i + 1]]`, test from `n_train` on."""
    for key, dims, kinds in (("header", 1, "u"), ("data", 1, "u"), ("offsets", 1, "ui"), ("labels", 1, "ui"), ("n_train", 0, "ui")):
        if arrays[key].ndim != dims or arrays[key].dtype.kind not in kinds or (kinds == "u" and arrays[key].dtype != np.uint8):
            wanted = "one whole number" if dims == 0 else "(N,) bytes" if kinds == "u" else "(N,) whole numbers"
            raise UserError(f"{name}: {key} must be {wanted} in a file of packed images, got {arrays[key].dtype} {arrays[key].shape}")
    offsets, labels, n = arrays["offsets"].astype(np.int64), arrays["labels"], int(arrays["n_train"])
    if len(offsets) != len(labels) + 1 or not 0 < n <= len(labels):
        raise UserError(f"{name}: must have one offset more than labels, got {len(offsets)} and {len(labels)} (train {n})")
    if offsets[0] < 0 or (np.diff(offsets) < 0).any() or offsets[-1] > len(arrays["data"]):
        raise UserError(f"{name}: offsets must rise from 0 to at most the {len(arrays['data']):,} bytes of data, got others")
    encoded = Encoded(header=arrays["header"].tobytes(), data=arrays["data"], offsets=offsets.tolist(), name=name)
    return of_encoded(encoded, labels, ["train"] * n + ["test"] * (len(labels) - n), source, name, kind, ())


def find_idx(paths: Iterable[Path]) -> dict[str, Path]:
    """Files named as MNIST's, by the name of the array they hold, such as `x_train`."""
    found: dict[str, Path] = {}
    for path in sorted(paths):
        match = IDX_NAME.search(path.name)
        if match is None:
            continue
        stem = path.name[: match.start()]
        part = "test" if "t10k" in stem or "test" in stem else "val" if "val" in stem else "train"
        name = f"{'x' if match[1] == 'images' else 'y'}_{part}"
        if name in found:
            raise UserError(f"{path.parent}: must hold one idx file of {name}, got {found[name].name} and {path.name}")
        found[name] = path
    return found


def read_idx(source: Source, kind: str | None) -> Raw:
    """Return the arrays of the idx files in a folder. Source: the format's description on the MNIST page (LeCun et al. 1998)."""
    path = Path(source.spec).expanduser()
    folder = path if path.is_dir() else path.parent
    return raw_of({name: _read_idx(file) for name, file in find_idx(folder.iterdir()).items()}, folder.name, kind)


def _read_idx(path: Path) -> np.ndarray:
    try:
        data = unpacked(content(path)) if path.suffix == ".gz" else content(path)
    except OSError as error:
        raise UserError(f"{path}: must be an idx file, plain or gzipped, got: {error}; fetch it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES:
        raise UserError(f"{path}: must be an idx file, got a wrong head {data[:4].hex()}")
    ndim, dtype = data[3], np.dtype(IDX_TYPES[data[2]])
    shape = tuple(np.frombuffer(data[4 : 4 + 4 * (len(data[: 4 + 4 * ndim]) // 4 - 1)], dtype=">u4").tolist())
    body = data[4 + 4 * ndim :]
    if len(shape) != ndim or len(body) != math.prod(shape) * dtype.itemsize:
        raise UserError(f"{path}: must hold {shape} numbers as its head says, got {len(body)} bytes; fetch it again")
    return np.frombuffer(body, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
