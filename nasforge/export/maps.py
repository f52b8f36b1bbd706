"""Predicted label maps as PNG files: the class of each pixel of an image, at its own size. Its text leaves with every export."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasforge.data.fitting import fitted
from nasforge.data.reading import FORMATS, ORIENTATION, TURNED, Broken, files_of

UNSEEN = 255  # of pixels that the network was not shown, as the image was cut to the middle


def masks_of(about: Mapping[str, Any]) -> list[str]:
    """Return the targets that are label maps."""
    return [name for name, target in about["targets"].items() if target["kind"] == "mask"]


def places(out: Path, names: Sequence[str], about: Mapping[str, Any]) -> dict[Path, Path]:
    """Return where the maps of files go, without the ending: by their names, in the folders in which they lie in those that are named.

    Raises:
        Broken: the network has no label maps, or they would be written over each other or over what is predicted.
    """
    masks = masks_of(about)
    if not masks:
        kinds = ", ".join(sorted({target["kind"] for target in about["targets"].values()}))
        raise Broken(f"--out {out}: is for networks that give a class for each pixel (segmentation), this one gives {kinds}; leave it out")
    if many := [about["targets"][name]["size"] for name in masks if about["targets"][name]["size"] > UNSEEN]:
        raise Broken(f"--out {out}: a PNG tells at most {UNSEEN} classes apart, the network has {many[0]}; predict from Python instead")
    if out.exists() and not out.is_dir():
        raise Broken(f"--out {out}: must be a folder, got a file; name another")
    kind, found = next(iter(about["inputs"].values()))["kind"], dict[Path, Path]()
    for name in names:
        given = Path(name)
        if given.is_dir() and out.resolve().is_relative_to(given.resolve()):
            raise Broken(f"--out {out}: must not lie in {given}, whose images are predicted; name another folder")
        found |= {path: path.relative_to(given if given.is_dir() else given.parent) for path in files_of([name], kind)}
    plain = Counter(path.with_suffix("") for path in found.values())
    made = {path: out / (to if plain[to.with_suffix("")] > 1 else to.with_suffix("")) for path, to in found.items()}
    first: dict[Path, Path] = {}
    for path, to in made.items():
        if first.setdefault(to, path).resolve() != path.resolve():
            raise Broken(f"--out {out}: {first[to]} and {path} have one name; give the folder that holds both")
        if path.resolve() == Path(f"{to}.png").resolve():
            raise Broken(f"--out {out}: must not be where {path} lies, which would be written over; name another folder")
    return made


def sides(path: Path, about: Mapping[str, Any]) -> tuple[int, int]:
    """Return (height, width) of an image file as it is looked at, of an array those of its samples."""
    if path.suffix.lower() == ".npy":
        height, width = about["shape"][-2:]
        return height, width
    from PIL import Image

    with Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        return (width, height) if image.getexif().get(ORIENTATION, 1) in TURNED else (height, width)


def label_map(y: np.ndarray, image: tuple[int, int], about: Mapping[str, Any]) -> np.ndarray:
    """Return the classes (H, W) of the pixels of an image of that size, from (C, h, w) outputs for what was shown of it, else UNSEEN."""
    classes, shape = y.argmax(0).astype(np.uint8), about["shape"]
    box, place = fitted(image, (shape[-2], shape[-1]), about.get("resize", "cover"))
    made = np.full(image, UNSEEN, np.uint8)
    at: list[tuple[np.ndarray, np.ndarray]] = []
    for axis, first in ((0, 1), (1, 0)):  # rows from top to bottom, columns from left to right
        centers = np.arange(image[axis]) + 0.5
        share = (centers - box[first]) / (box[first + 2] - box[first])
        seen = np.flatnonzero((share >= 0) & (share < 1))
        shown = (place[first] + share[seen] * (place[first + 2] - place[first])) / shape[axis - 2]
        at.append((seen, np.minimum((shown * classes.shape[axis]).astype(int), classes.shape[axis] - 1)))
    (rows, from_rows), (columns, from_columns) = at
    made[np.ix_(rows, columns)] = classes[np.ix_(from_rows, from_columns)]
    return made


def written(outputs: Mapping[str, np.ndarray], about: Mapping[str, Any], path: Path, place: str, to: Path) -> dict[str, str]:
    """Write the label maps of one sample of a file as PNG, and return their paths by target. Raise Broken where that cannot be."""
    from PIL import Image

    one, masks, made = next(iter(about["inputs"].values())), masks_of(about), dict[str, str]()
    for name in masks:
        y = outputs[name] if len(about["targets"]) > 1 else next(iter(outputs.values()))
        row = f"-{int(place.removeprefix('row ')):05}" if place else ""
        more = "." + re.sub(r"[^\w-]", "_", name) if len(masks) > 1 else ""
        file, text = Path(f"{to}{row}{more}.png"), io.BytesIO()
        try:
            image = Image.fromarray(label_map(y, sides(path, one), one))
            image.putpalette(palette())
            image.save(text, "PNG")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.getvalue())
        except OSError as error:
            raise Broken(f"{file}: cannot be written ({error.strerror or error})") from error
        made[name] = str(file)
    return made


def palette() -> list[int]:
    """Return 256 colors that are easy to tell apart: the bits of a number, dealt out to red, green and blue. Source: Pascal VOC 2012."""
    return [sum(((n >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3)) for n in range(256) for channel in range(3)]
