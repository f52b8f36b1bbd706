"""Encoded images, brought to one size: looked over once, kept as bytes where these fit the memory, else decoded when they are needed.

The rule: turned as EXIF says; transparent parts on white; 16 bits a channel as 8; grey where every image is grey, else three channels;
resized (bilinear, averaging) as `--image-fit` says: `crop` just covers the size, and the middle is cut out; `pad` shows all of it, and the
rest is filled with the mean color of the images of train (of all where they have no parts), rounded to bytes; `squash` resizes both sides.
"""

from __future__ import annotations

import hashlib
import io
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nasforge.data.dataset import FITS, Source
from nasforge.data.fitting import filled, fitted
from nasforge.data.reading import FORMATS, GREY, MOST_PIXELS, ORIENTATION, TURNED, Broken, decode
from nasforge.data.rows import LEVELS
from nasforge.errors import UserError
from nasforge.files import content

LARGEST_SIDE = 224  # of images brought to one size, where none is asked for
SMALL_SIDE = 96  # above it a search on a CPU takes long
MOST_TOLD = 8  # broken images that are named
AT_ONCE = 512  # images between two looks at what has been found
A_SHARE = 32  # images that a thread takes at once


@dataclass(frozen=True)
class Encoded:
    """Images as files or as bytes in one array; `read` and `where` give the bytes and the name of one."""

    files: tuple[Path, ...] = ()
    header: bytes = b""
    data: Any = None
    offsets: Any = None
    name: str = ""

    def __len__(self) -> int:
        return len(self.files) if self.data is None else len(self.offsets) - 1

    def read(self, i: int) -> bytes:
        if self.data is None:
            return content(self.files[i])
        return self.header + self.data[self.offsets[i] : self.offsets[i + 1]].tobytes()

    def where(self, i: int) -> str:
        return str(self.files[i]) if self.data is None else f"{self.name}, image {i}"


@dataclass(frozen=True)
class Head:
    """What the head of an image tells: its size as it is looked at, its mode, and whether it is turned or partly transparent."""

    size: tuple[int, int]
    mode: str
    turned: bool = False
    transparent: bool = False

    @classmethod
    def of(cls, encoded: bytes) -> Head:
        """Return the head of an image. Raise Broken where there is none."""
        try:
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Broken(f"it has {image.width} x {image.height} pixels, more than {MOST_PIXELS:,}")
                orientation = image.getexif().get(ORIENTATION, 1)
                width, height = image.size
                clear = image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info
                size = (width, height) if orientation in TURNED else (height, width)
                return cls(size, image.mode, orientation != 1, clear)
        except Exception as error:  # Pillow raises whatever a broken file leads to
            raise error if isinstance(error, Broken) else Broken(str(error) or type(error).__name__) from error


# ---------------------------------------------------------------- many


def each(function: Callable[[int], Any], places: Sequence[int]) -> Iterator[Any]:
    """Yield what a function gives for each place, in order, worked out on every core; a few hundred at once."""
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(places), AT_ONCE):
            shares = [places[at : at + A_SHARE] for at in range(start, min(start + AT_ONCE, len(places)), A_SHARE)]
            for found in pool.map(lambda share: [function(i) for i in share], shares):
                yield from found


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Images:
    """Images of one shape that stay encoded until they are taken. Behaves as an array of (N, C, H, W) bytes, without its numbers.

    Attributes:
        index: which of the encoded images, in order.
        digests: (N, 8) bytes of each one's content.
        sums: (N, 2, C) sums of the pixels in [0, 1], and of their squares.
        how: `resize` and `fill` as a description has them, empty where it is `cover`.
    """

    encoded: Encoded
    sample: tuple[int, int, int]
    index: np.ndarray
    digests: np.ndarray = field(repr=False)
    sums: np.ndarray = field(repr=False)
    how: Mapping[str, Any] = field(default_factory=dict)

    dtype = np.dtype(np.uint8)
    ndim = 4

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.index), *self.sample

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: Any) -> Images:
        return replace(self, index=self.index[which], digests=self.digests[which], sums=self.sums[which])

    def one(self, place: int) -> np.ndarray:
        """Return the image at a place as bytes. Raise UserError where it cannot be decoded any more."""
        which = int(self.index[place])
        try:
            return decode(self.encoded.read(which), self.sample[1:], self.sample[0], **self.how)
        except (Broken, OSError) as error:
            raise UserError(f"{self.encoded.where(which)}: could be read before, and cannot now ({error}); restore it") from error

    def take(self, places: np.ndarray) -> np.ndarray:
        """Return the images at these places as bytes."""
        return np.stack([self.one(int(place)) for place in places])

    def content(self) -> Iterator[bytes]:
        """Yield what a key of the content is made of."""
        if self.how:
            yield repr(sorted(self.how.items())).encode()
        yield self.digests.tobytes()

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of each channel of the images in [0, 1]."""
        mean, square = self.sums.sum(0) / (len(self) * self.sample[1] * self.sample[2])
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def look_over(
    encoded: Encoded, source: Source, where: str, parts: Sequence[str]
) -> tuple[Images | np.ndarray, np.ndarray, list[str], dict[str, Any]]:
    """Return the images at one size, which of them are whole, what is to be said of them, and `resize` and `fill` of their description.

    Args:
        parts: of each image. The mean color is that of train.

    Raises:
        UserError: an image is broken and broken ones are not to be skipped, or none is whole.
    """
    broken: dict[int, str] = {}

    def head(i: int) -> Head | None:
        try:
            return Head.of(encoded.read(i))
        except (Broken, OSError) as error:
            broken[i] = "it is no image" if "cannot identify" in str(error) else str(error)
            return None

    heads = dict(enumerate(each(head, range(len(encoded)))))
    known = {i: one for i, one in heads.items() if one is not None}
    if not known:
        _check_broken(broken, encoded, source)
        raise UserError(f"{where}: must hold images that can be read, got none")
    resize = FITS[source.image_fit or "crop"]
    size, said = _one_size([one.size for one in known.values()], source.image_size, resize)
    channels = 1 if all(one.mode in GREY for one in known.values()) else 3
    sample = (channels, *size)
    whole = np.array(sorted(known))
    fits = len(whole) * int(np.prod(sample)) <= source.memory_bytes
    kept = np.empty((len(whole), *sample), np.uint8) if fits else None
    digests, sums = np.zeros((len(whole), 8), np.uint8), np.zeros((len(whole), 2, channels))

    def look(place: int) -> None:
        i = int(whole[place])
        try:
            found = encoded.read(i)
            pixels = decode(found, size, channels, resize)
        except (Broken, OSError) as error:
            broken[i] = str(error)
            return
        if kept is not None:
            kept[place] = pixels
            if resize == "pad":
                sums[place, 0] = pixels.sum((1, 2), dtype=np.float64) / 255
            return
        digests[place] = np.frombuffer(hashlib.blake2b(found, digest_size=8).digest(), np.uint8)
        shown = Image.fromarray(pixels.transpose(1, 2, 0) if channels > 1 else pixels[0])
        counts = np.reshape(shown.histogram(), (channels, 256))
        sums[place] = counts @ LEVELS, counts @ LEVELS**2

    for _ in each(look, range(len(whole))):
        pass
    _check_broken(broken, encoded, source)
    good = np.array([i not in broken for i in whole.tolist()], bool)
    if not good.any():
        raise UserError(f"{where}: must hold images that can be decoded, got none")
    how: dict[str, Any] = {} if resize == "cover" else {"resize": resize}
    if resize == "pad":
        train = good & (np.array(parts)[whole] == "train")
        how["fill"] = _padded([known[i].size for i in whole.tolist()], size, sums, train if train.any() else good, kept)
        said = [text.replace("mean color", f"mean color {tuple(how['fill'])}") for text in said]
    images: Images | np.ndarray = Images(encoded, sample, whole[good], digests[good], sums[good], how) if kept is None else kept
    if kept is not None and not good.all():
        images = kept[good]
    notes = [*said, *_kinds(known.values(), channels)]
    if broken:
        names = ", ".join(encoded.where(i) for i in sorted(broken)[:3])
        notes.append(f"{len(broken)} broken image{'s' * (len(broken) > 1)} left out: {names}" + (", ..." if len(broken) > 3 else ""))
    if kept is None:
        gib = len(whole) * int(np.prod(sample)) / 2**30
        notes.append(f"{len(whole):,} images would take {gib:.1f} GiB, more than {source.memory_bytes / 2**30:.3g}: decoded when needed")
    return images, whole[good], notes, how


def _padded(sizes: Sequence[tuple[int, int]], size: tuple[int, int], sums: np.ndarray, train: np.ndarray, kept: Any) -> list[int]:
    """Fill what lies around images that were padded with black, and count it in their sums; return the color, the mean of train."""
    places = [fitted(one, size, "pad")[1] for one in sizes]
    shown = np.array([(right - left) * (bottom - top) for left, top, right, bottom in places])
    fill = [round(255 * level) for level in (sums[train, 0].sum(0) / shown[train].sum()).tolist()]
    around, levels = (size[0] * size[1] - shown)[:, None], np.array(fill) / 255
    sums += np.stack([around * levels, around * levels**2], 1)
    for pixels, place in zip(() if kept is None else kept, places, strict=kept is not None):
        filled(pixels, place, fill)
    return fill


def _check_broken(broken: dict[int, str], encoded: Encoded, source: Source) -> None:
    if not broken or source.skip_broken:
        return
    first, *more = sorted(broken)
    names = ", ".join("/".join(encoded.files[i].parts[-2:]) if encoded.files else encoded.where(i) for i in more[:MOST_TOLD])
    others = f" ({len(more)} more broken: {names}{', ...' if len(more) > MOST_TOLD else ''})" if more else ""
    raise UserError(
        f"{encoded.where(first)}: must be a readable image, got: {broken[first]}{others}; repair or remove it, or add --skip-broken"
    )


def _one_size(sizes: Sequence[tuple[int, int]], asked: tuple[int, int] | None, resize: str) -> tuple[tuple[int, int], list[str]]:
    """The size of all images, and how it came about where they differ from it."""
    different = Counter(sizes)
    size = asked
    if size is None and len(different) == 1:
        size = sizes[0]
    elif size is None:
        side = min(LARGEST_SIDE, round(statistics.median(min(one) for one in sizes)))
        size = (side, side)
    if set(different) == {size}:
        return size, []
    smallest, largest = min(sizes, key=lambda s: s[0] * s[1]), max(sizes, key=lambda s: s[0] * s[1])
    had = f"{smallest[1]} x {smallest[0]}" + (f" to {largest[1]} x {largest[0]}" if smallest != largest else "")
    done = {
        "cover": f"cover {size[1]} x {size[0]}, and the middle is cut out (--image-size)",
        "pad": f"fit into {size[1]} x {size[0]}, and the rest is filled with their mean color (--image-fit)",
        "squash": f"{size[1]} x {size[0]}, both sides as they need (--image-fit)",
    }
    sooner = "; a smaller --image-size is trained sooner" if asked is None and min(size) > SMALL_SIDE else ""
    return size, [f"images of {had} are resized to {done[resize]}{sooner}"]


def _kinds(heads: Iterable[Head], channels: int) -> list[str]:
    """What was done with images of other kinds than most."""
    heads = list(heads)
    counts = {
        "turned as EXIF says": sum(one.turned for one in heads),
        "partly transparent, put on white": sum(one.transparent for one in heads),
        "of 16 bits, read as 8": sum(one.mode.startswith("I") for one in heads),
        "grey, repeated as three channels": sum(one.mode in GREY for one in heads) if channels == 3 else 0,
    }
    return [f"{count} image{'s' * (count > 1)} {what}" for what, count in counts.items() if count]
