"""Images beside masks: two folders whose files have the same names, one of photographs and one of the class of each pixel."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from nasforge.data.arrays import Origin, Raw, raw_of
from nasforge.data.dataset import IGNORE, Source
from nasforge.data.fitting import fitted
from nasforge.data.images import Encoded, look_over
from nasforge.data.readers.images import bytes_of
from nasforge.data.reading import FORMATS, SUFFIXES
from nasforge.errors import UserError
from nasforge.files import content

PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
IMAGES = ("images", "image", "imgs", "img", "jpegimages")
MASKS = ("masks", "mask", "labels", "annotations", "annotation", "annot", "annots", "labelids", "segmentationclass", "gt")
VOID = 255  # the usual value of pixels that do not count
MOST_CLASSES = 254


def find_pairs(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return the folders of images and of masks by part, none where the folders are of another kind.

    Known forms: `train/ trainannot/` (and `train_masks`, ...), `images/ masks/`, `train/images/ train/masks/`, and
    `images/train/ masks/train/`.
    """
    names = {d.name.lower(): d for d in _folders(root)}
    flat = _beside(names)
    if flat is not None:
        inner = [{PARTS[d.name.lower()]: d for d in _folders(one) if d.name.lower() in PARTS} for one in flat]
        by_part = {part: (inner[0][part], inner[1][part]) for part in inner[0] if part in inner[1]}
        return by_part if "train" in by_part else {"train": flat}
    out: dict[str, tuple[Path, Path]] = {}
    for name, folder in names.items():
        part = PARTS.get(name)
        if part is None or part in out:
            continue
        inside = _beside({d.name.lower(): d for d in _folders(folder)})
        mask = next((d for other, d in names.items() if re.sub(r"[\W_]", "", other.removeprefix(name)) in MASKS and other != name), None)
        if inside is not None:
            out[part] = inside
        elif mask is not None:
            out[part] = folder, mask
    return out if "train" in out else {}


def _beside(names: dict[str, Path]) -> tuple[Path, Path] | None:
    """A folder of images and one of masks, both by their usual names."""
    images, masks = ([names[name] for name in known if name in names] for known in (IMAGES, MASKS))
    return (images[0], masks[0]) if images and masks and len(names) == 2 else None


def read_pairs(source: Source, kind: str | None) -> Raw:
    """Return the images of a folder and the class of each of their pixels; see `find_pairs`.

    A mask is a grey or palette image whose numbers are the classes; 255 is no class (of two values, one of them 255, it is the second).
    Masks are brought to the size of the images by their nearest pixels.

    Raises:
        UserError: a file has no partner, a mask has colors or another shape than its image, classes are skipped.
    """
    root = Path(source.spec).expanduser()
    files: list[tuple[Path, Path, str]] = []
    pairs = find_pairs(root)
    for part, (images, masks) in pairs.items():
        both = [_by_stem(folder) for folder in (images, masks)]
        alone = sorted(set(both[0]) ^ set(both[1]))
        if alone:
            of, lacks = (images, masks) if alone[0] in both[0] else (masks, images)
            raise UserError(f"{of}: every image must have a mask of its name, {alone[0]} has none in {lacks} ({len(alone)} have none)")
        if not both[0]:
            raise UserError(f"{images}: must hold images ({' '.join(SUFFIXES)}), got none")
        files += [(both[0][stem], both[1][stem], part) for stem in both[0]]
    encoded = Encoded(tuple(image for image, *_ in files))
    shown, whole, notes, how = look_over(encoded, source, root.name, [part for *_, part in files])
    height, width = shown.shape[-2:]
    masks_of = [files[i] for i in whole.tolist()]
    y = np.stack([_mask(mask, image, (height, width), how.get("resize", "cover")) for image, mask, _ in masks_of])
    if set(np.unique(y).tolist()) - {IGNORE} == {0, VOID}:
        y[y == VOID] = 1
    y = np.where(y == VOID, IGNORE, y)
    numbers = [int(n) for n in np.unique(y) if n != IGNORE]
    if not 2 <= len(numbers) <= MOST_CLASSES:
        raise UserError(f"{root}: masks must hold the numbers of 2 to {MOST_CLASSES} classes, got {len(numbers)}: {numbers[:8]}")
    said = ["read as images and masks: " + ", ".join(f"{a.relative_to(root)}/ and {b.relative_to(root)}/" for a, b in pairs.values())]
    labels: tuple[str, ...] = ()
    if numbers != list(range(len(numbers))):
        some = ", ".join(map(str, numbers[:8])) + ", ..." * (len(numbers) > 8)
        said.append(f"the numbers {some} in masks are the classes, by their order")
        y = np.where(y == IGNORE, IGNORE, np.searchsorted(numbers, y))
        labels = tuple(map(str, numbers))
    arrays: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    parts: Sequence[str] = [part for *_, part in masks_of]
    for part in dict.fromkeys(parts):
        chosen = np.flatnonzero(np.array(parts) == part)
        arrays |= {f"x_{part}": shown[chosen], f"y_{part}": y[chosen]}
        origins[part] = partial(bytes_of, encoded, whole[chosen])
    raw = raw_of(arrays, root.name, kind or "mask", labels)
    return replace(raw, notes=(*said, *notes, *raw.notes), about={name: how for name in raw.parts["train"].inputs}, origins=origins)


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without the suffix. Raise UserError where two have one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise UserError(f"{folder}: every image must have a name of its own, got {found[path.stem].name} and {path.name}; rename one")
        found[path.stem] = path
    return found


def _mask(path: Path, image: Path, size: tuple[int, int], resize: str) -> np.ndarray:
    """(H, W) numbers of a mask at a size: cut and resized as its image, by the nearest pixels; IGNORE where that is padded."""
    try:
        with Image.open(io.BytesIO(content(path)), formats=FORMATS) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            if opened.mode not in ("L", "P", "1", "I", "I;16"):
                raise UserError(f"{path}: a mask must be grey or have a palette, its numbers the classes, got the mode {opened.mode}")
            found = opened.convert("L") if opened.mode == "1" else opened.copy()
        with Image.open(io.BytesIO(content(image)), formats=FORMATS) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            if opened.size != found.size:
                raise UserError(f"{path}: must be as large as {image.name}, got {found.size} and {opened.size} (width, height)")
    except UserError:
        raise
    except Exception as error:  # Pillow raises whatever a broken file leads to
        raise UserError(f"{path}: must be a readable image, got: {error}; repair it, or remove it with {image}") from error
    box, (left, top, right, bottom) = fitted(found.size[::-1], size, resize)
    made = np.full(size, IGNORE, np.int64)
    made[top:bottom, left:right] = np.asarray(found.resize((right - left, bottom - top), Image.Resampling.NEAREST, box=box))
    return made


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
