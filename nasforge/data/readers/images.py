"""Images: scikit-learn's digits, folders, idx files, JPEGs packed into one file."""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nasforge.data.arrays import Raw, raw_of
from nasforge.data.dataset import Source
from nasforge.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")
PART_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
PACKED = frozenset({"header", "data", "offsets", "labels", "n_train"})
IDX_NAME = re.compile(r"(images|labels)[-.]idx\d(-ubyte)?(\.gz)?$")
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_digits(source: Source, kind: str | None) -> Raw:
    """Return 1,797 handwritten digits (N, 1, 8, 8) in [0, 1] and their classes. Source: UCI Optdigits, through scikit-learn."""
    x, y = _digits()
    return raw_of({"x": x, "y": y}, "digits", kind)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.images / bunch.images.max()).astype(np.float32)[:, None], bunch.target


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
    """Return the images of a folder; classes are the sorted names of the folders that hold them."""
    root = Path(source.spec).expanduser()
    parts = {PART_FOLDERS[d.name.lower()]: d for d in _folders(root) if d.name.lower() in PART_FOLDERS}
    if "train" not in parts or len(parts) != len(_folders(root)):
        parts = {"train": root}
    labels = tuple(d.name for d in _folders(parts["train"]))
    if not labels:
        raise UserError(f"{parts['train']}: must hold one folder of images a class, got no folder")
    arrays: dict[str, np.ndarray] = {}
    for part, folder in parts.items():
        unknown = {d.name for d in _folders(folder)} - set(labels)
        if unknown:
            raise UserError(f"{folder}: its classes must be those of train, got also {', '.join(sorted(unknown))}")
        files = [(path, k) for k, name in enumerate(labels) for path in _images(folder / name)]
        if not files:
            raise UserError(f"{folder}: must hold images ({' '.join(SUFFIXES)}) in its folders, got none")
        arrays[f"x_{part}"] = _stack((path for path, _ in files))
        arrays[f"y_{part}"] = np.array([k for _, k in files])
    return raw_of(_same_channels(arrays), root.name, kind, labels)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]


def _stack(paths: Iterable[Path]) -> np.ndarray:
    """(N, C, H, W) bytes, C = 1 if every image is grey, else 3."""
    images: list[np.ndarray] = []
    for path in paths:
        image = _decode(path, str(path))
        if images and image.shape[1:] != images[0].shape[1:]:
            (h, w), (high, wide) = image.shape[1:], images[0].shape[1:]
            raise UserError(f"{path}: all images must be of one size, got {w} x {h} beside {wide} x {high}; resize them to one size")
        images.append(image)
    channels = max(len(image) for image in images)
    return np.stack([np.broadcast_to(image, (channels, *image.shape[1:])) for image in images])


def _decode(source: Path | io.BytesIO, where: str) -> np.ndarray:
    """(C, H, W) bytes: one channel for grey images, three for all others."""
    try:
        with Image.open(source) as image:
            if image.mode[0] in "IF":
                raise UserError(f"{where}: images must have 8 bits a channel, got mode {image.mode}; convert it")
            grey = image.mode in ("1", "L", "LA")
            pixels = np.asarray(image.convert("L" if grey else "RGB"))  # (H, W) or (H, W, 3)
    except (OSError, SyntaxError) as error:
        raise UserError(f"{where}: must be a readable image, got: {error}; repair or remove it") from error
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _same_channels(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Grey parts repeated over three channels where another part is in colour."""
    channels = max(a.shape[1] for a in arrays.values() if a.ndim == 4)
    return {k: np.repeat(a, channels // a.shape[1], axis=1) if a.ndim == 4 else a for k, a in arrays.items()}


def read_packed(arrays: dict[str, Any], where: str) -> dict[str, np.ndarray]:
    """Arrays of JPEGs packed into one: image i is `header + data[offsets[i]:offsets[i + 1]]`, test from `n_train` on."""
    header, data, offsets = arrays["header"].tobytes(), arrays["data"], arrays["offsets"]
    labels, n = arrays["labels"], int(arrays["n_train"])
    if len(offsets) != len(labels) + 1 or not 0 < n <= len(labels):
        raise UserError(f"{where}: must have one offset more than labels, got {len(offsets)} and {len(labels)} (train {n})")
    spans = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    decoded = (_decode(io.BytesIO(header + data[a:b].tobytes()), f"{where}, image {i}") for i, (a, b) in enumerate(spans))
    first = next(decoded)
    x = np.empty((len(labels), *first.shape), dtype=np.uint8)
    x[0] = first
    for i, image in enumerate(decoded, 1):
        if image.shape != first.shape:
            raise UserError(f"{where}: all images must be as the first, {first.shape}, got {image.shape} at {i}")
        x[i] = image
    if n == len(labels):
        return {"x": x, "y": labels}
    return {"x_train": x[:n], "y_train": labels[:n], "x_test": x[n:], "y_test": labels[n:]}


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
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: must be a gzip file, got: {error}; fetch it again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise UserError(f"{path}: must be an idx file, got a wrong head {content[:4].hex()}")
    ndim, dtype = content[3], np.dtype(IDX_TYPES[content[2]])
    shape = tuple(np.frombuffer(content[4 : 4 + 4 * ndim], dtype=">u4").tolist())
    body = content[4 + 4 * ndim :]
    if len(shape) != ndim or len(body) != math.prod(shape) * dtype.itemsize:
        raise UserError(f"{path}: must hold {shape} numbers as its head says, got {len(body)} bytes; fetch it again")
    return np.frombuffer(body, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
