"""From files to the raw numbers of samples, as a description says: images, rows of tables, characters, arrays.

The one place that says how a file is read: data sets are read by it, and its text leaves with every export as a part of `predict.py`.
So it knows Python, NumPy and Pillow alone. A description is plain data; `nasforge.data.preprocess` says what it holds.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasforge.data.fitting import filled, fitted

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "ICO")  # not EPS, which runs a program
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")
MOST_PIXELS = 2**27  # of one image
MOST_BYTES = 2**30  # of one table to predict
GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
ORIENTATION = 0x0112
NUMBER = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?|nan)", re.IGNORECASE)
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


class Broken(Exception):
    """Raised for a file, an image or a row that cannot be read as the network needs it."""


# ---------------------------------------------------------------- images


def decode(
    encoded: bytes, size: tuple[int, int] | None, channels: int | None, resize: str = "cover", fill: Sequence[int] = (0,)
) -> np.ndarray:
    """Return an encoded image as (C, H, W) bytes; without `size` as large as it is, without `channels` grey if it is grey.

    Turned as EXIF says; transparent parts on white; 16 bits a channel as 8; resized (bilinear, averaging) as `fitting.fitted` says.

    Args:
        resize: cover, pad or squash. fill: the color around what is padded, one number a channel.

    Raises:
        Broken: it cannot be decoded, or holds no numbers of 1, 8 or 16 bits.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Broken(f"it has {image.width} x {image.height} pixels, more than {MOST_PIXELS:,}")
            turned = image.getexif().get(ORIENTATION, 1) in TURNED
            place = (0, 0, 0, 0) if size is None else fitted(image.size if turned else image.size[::-1], size, resize)[1]
            sides = (place[2] - place[0], place[3] - place[1])
            if size is not None and image.format == "JPEG" and not turned:
                image.draft(None, sides)  # a reduced decoding, still at least as large
            ImageOps.exif_transpose(image, in_place=True)
            made = eight_bits(image)
            if size is not None and made.size != sides:
                made = made.resize(sides, Image.Resampling.BILINEAR, box=fitted(made.size[::-1], size, resize)[0])
            wanted = channels or (1 if made.mode == "L" else 3)
            pixels = np.asarray(made if (made.mode == "L") == (wanted == 1) else made.convert("L" if wanted == 1 else "RGB"))
    except Exception as error:  # Pillow raises whatever a broken file leads to
        said = "it is no image" if "cannot identify" in str(error) else str(error) or type(error).__name__
        raise error if isinstance(error, Broken) else Broken(said) from error
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if size is None or pixels.shape[1:] == size:
        return pixels
    padded = np.zeros((len(pixels), *size), np.uint8)
    padded[:, place[1] : place[3], place[0] : place[2]] = pixels
    filled(padded, place, fill)
    return padded


def eight_bits(image: Any) -> Any:
    """Return an image of Pillow in mode L or RGB."""
    from PIL import Image

    clear = image.info.get("transparency")
    if image.mode in ("L", "RGB") and clear is None:
        return image
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise Broken(f"must have 8 or 16 bits a channel, got numbers from {pixels.min()} to {pixels.max()}")
        pixels = np.where(pixels == clear, 65535, pixels) if isinstance(clear, int) else pixels
        return Image.fromarray((pixels / 257 + 0.5).astype(np.uint8))
    if image.mode == "F":
        raise Broken("must have 8 or 16 bits a channel, got mode F")
    if image.mode in ("LA", "RGBA", "PA") or clear is not None:
        over = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
        return flat.convert("L" if image.mode in ("LA", "L", "1") else "RGB")
    return image.convert("L" if image.mode in GREY else "RGB")


def image_of(encoded: bytes, about: Mapping[str, Any]) -> np.ndarray:
    """Return an encoded image as (C, H, W) numbers as a description of an input says."""
    channels, height, width = about["shape"]
    if about["file_scale"] is None:
        raise Broken(f"must be an array FILE.npy of the shape {tuple(about['shape'])}: these data were no images of 8 bits")
    pixels = decode(encoded, (height, width), channels, about.get("resize", "cover"), about.get("fill", (0,)))
    return pixels if about["dtype"] == "uint8" else (pixels * about["file_scale"]).astype(about["dtype"])


# ---------------------------------------------------------------- tables


def is_float(cell: str) -> bool:
    """Return whether a cell is written as a number: as Python reads it, but for the underscores."""
    return NUMBER.fullmatch(cell.strip()) is not None


def row_of(row: Mapping[str, Any], about: Mapping[str, Any]) -> np.ndarray:
    """Return a row of a table, cells or numbers by column, as (F,) numbers: NaN where one is missing, a column for each name.

    Raises:
        Broken: a column is missing, or a cell is neither a number nor one of the names that the training saw.
    """
    found: list[float] = []
    for column in about["columns"]:
        name, cell = column["name"], row.get(column["name"])
        if name not in row:
            raise Broken(f"must have the column {name}, got {', '.join(map(str, row))}")
        word = "" if cell is None or cell != cell else str(cell).strip()
        if "names" in column:
            if word and word not in column["names"]:
                raise Broken(f"{name} must be one of {', '.join(column['names'])}, got {word!r}")
            found += [float(word == one) for one in column["names"]]
        elif word and not is_float(word):
            raise Broken(f"{name} must be a number, got {word!r}")
        else:
            found.append(float(word) if word else np.nan)
            if np.isinf(found[-1]):
                raise Broken(f"{name} must be finite, got {word}")
    return np.array(found, about["dtype"])


def rows_of(path: Path, about: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str] | Broken]]:
    """Yield the place and the cells by column of each row of a CSV or TSV file, or why it has none; a first line of names is expected where
    there was one.
    """
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise Broken(f"has more than {MOST_BYTES:,} bytes; cut it")
        text = data.decode("utf-8-sig")
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise Broken(f"must be a table as UTF-8 text, got: {error}") from error
    first = text[: text.find("\n")] if "\n" in text else text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    names: list[str] | None = None
    any_row = False
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if not about["header"]:
            yield f"line {reader.line_num}", {str(i + 1): cell for i, cell in enumerate(cells)}
        elif names is None:
            names = cells
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise Broken(f"every column must have a name of its own, got {twice!r} twice")
            continue
        elif len(cells) != len(names):
            yield f"line {reader.line_num}", Broken(f"must have {len(names)} cells, got {len(cells)}")
        else:
            yield f"line {reader.line_num}", dict(zip(names, cells, strict=True))
        any_row = True
    if not any_row:
        raise Broken("holds no rows")


# ---------------------------------------------------------------- samples of files


def samples(path: Path, about: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray | Broken]]:
    """Yield the place in a file and the numbers of each sample in it, or why it cannot be read.

    Args:
        about: the description of the input.
    """
    kind = about["kind"]
    try:
        if not path.is_file():
            raise Broken("is no regular file" if path.exists() else "there is no such file")
        if path.suffix.lower() == ".npy":
            yield from _of_array(path, about)
        elif kind == "image":
            yield "", image_of(path.read_bytes(), about)
        elif kind == "table":
            for place, row in rows_of(path, about):
                try:
                    yield place, row if isinstance(row, Broken) else row_of(row, about)
                except Broken as error:
                    yield place, error
        elif kind == "characters":
            yield "", characters_of(path.read_text(encoding="utf-8"), about)
        else:
            raise Broken(f"must be an array FILE.npy of the shape {tuple(about['shape'])}, or (N, ...) of them")
    except (Broken, OSError, ValueError, csv.Error) as error:
        yield "", error if isinstance(error, Broken) else Broken(str(getattr(error, "strerror", None) or error))


def characters_of(text: str, about: Mapping[str, Any]) -> np.ndarray:
    """Return the last characters of a text as (T,) tokens. Raise Broken where there are too few, or one that the training never saw."""
    length, known = about["shape"][0], {letter: i for i, letter in enumerate(about["characters"])}
    last = text[-length:]
    if len(last) < length:
        raise Broken(f"must have at least {length} characters, got {len(last)}")
    if strange := sorted(set(last) - set(known)):
        raise Broken(f"must hold characters that the training saw, got {strange[0]!r}")
    return np.array([known[letter] for letter in last], np.int64)


def _of_array(path: Path, about: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The samples of an array: one, or several along the first axis."""
    array, shape = np.load(path, mmap_mode="r", allow_pickle=False), tuple(about["shape"])
    if array.shape != shape and array.shape[1:] != shape:
        raise Broken(f"must be of the shape {shape} or {('N', *shape)}, got {array.shape}".replace("'", ""))
    if about["dtype"] in ("uint8", "int64") and not np.issubdtype(array.dtype, np.integer):
        raise Broken(f"must hold whole numbers ({about['dtype']}), got {array.dtype}")
    if about["dtype"] == "uint8" and array.size and not 0 <= array.min() <= array.max() <= 255:
        raise Broken(f"must hold whole numbers from 0 to 255, got {array.min()} to {array.max()}")
    for i, one in enumerate(array[None] if array.shape == shape else array):
        yield ("" if array.shape == shape else f"row {i}"), one.astype(about["dtype"])


def files_of(names: Sequence[str], kind: str) -> list[Path]:
    """Return the files that are named, and those of a folder that are named so; raise Broken for a folder without any."""
    found: list[Path] = []
    for path in map(Path, names):
        if not path.is_dir():
            found.append(path)
            continue
        fits = (*SUFFIXES, ".npy") if kind == "image" else (*TABLES, ".npy") if kind == "table" else (".txt", ".npy")
        shown = (p for p in path.rglob("*") if not any(part.startswith(".") for part in p.relative_to(path).parts))
        inside = sorted(p for p in shown if p.name.lower().endswith(fits) and p.is_file())
        if not inside:
            raise Broken(f"{path}: must hold files to predict ({' '.join(fits)}), got none")
        found += inside
    return found


# ---------------------------------------------------------------- numbers around a network


def normalized(x: np.ndarray, about: Mapping[str, Any]) -> np.ndarray:
    """Return raw samples as a network reads them that does not normalize by itself."""
    if about["dtype"] == "int64":
        return x
    wide: Any = np.float64 if about["dtype"] == "float64" else np.float32
    axes = (1, -1) + (1,) * (x.ndim - 2) if x.ndim == 4 else (1,) * (x.ndim - 1) + (-1,)
    mean, std = (np.array(about[word], wide).reshape(axes) for word in ("mean", "std"))
    made = ((x.astype(wide) * wide(about["scale"]) - mean) / std).astype(np.float32)
    if x.ndim == 2:
        made = np.nan_to_num(made, nan=0.0)
    return made[:, :, None] if about.get("as_steps") else made


def outcome(outputs: Mapping[str, np.ndarray], about: Mapping[str, Any], top: int = 5) -> dict[str, Any]:
    """Return what a network says of one sample, in the words of the data: for each target by its name, or of the only one itself.

    Args:
        outputs: of one sample, without the batch, by head. about: the description.
        top: classes to tell of.
    """
    targets = about["targets"]
    if len(targets) == 1:
        return _told(next(iter(outputs.values())), next(iter(targets.values())), about["inside"], top)
    return {key: _told(outputs[key], target, about["inside"], top) for key, target in targets.items()}


def _told(y: np.ndarray, target: Mapping[str, Any], inside: bool, top: int) -> dict[str, Any]:
    names = target["names"] or [str(i) for i in range(target["size"])]
    if target["kind"] == "value":
        if not inside:
            y = y * np.array(target["std"]) + np.array(target["mean"])
        names = target["names"] if len(target["names"]) == len(y) else [str(i) for i in range(len(y))]
        return {"values": {name: float(value) for name, value in zip(names, y, strict=True)}}
    y = y.astype(np.float64)
    if target["kind"] == "labels":
        shares = 1 / (1 + np.exp(-y))
        order = np.argsort(-shares, kind="stable")
        return {"labels": [names[i] for i in order if y[i] > 0], "top": _ranked(shares, names, top)}
    if target["kind"] == "mask":
        seen = np.bincount(y.argmax(0).ravel(), minlength=len(names)) / y[0].size  # shares of the pixels
        return {"class": names[int(seen.argmax())], "top": _ranked(seen, names, top, "pixels")}
    if target["kind"] == "steps":
        last = _shares(y[-1])
        return {"steps": [names[i] for i in y.argmax(-1)], "class": names[int(last.argmax())], "top": _ranked(last, names, top)}
    shares = _shares(y)
    return {"class": names[int(shares.argmax())], "top": _ranked(shares, names, top)}


def _shares(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def _ranked(shares: np.ndarray, names: Sequence[str], top: int, word: str = "probability") -> list[dict[str, Any]]:
    return [{"class": names[i], word: float(shares[i])} for i in np.argsort(-shares, kind="stable")[:top]]
