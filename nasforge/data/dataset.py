"""The contract of a data set, and what it says of itself before anything is read of it.

A *source* says what to load. A *spec* says what the loaded data are: the shapes of the inputs and the kind and size of each target.
Targets are of a few kinds, and each kind has a task that learns it by default (`nasforge.tasks`):

* `label`: (N,) one class a sample;
* `mask`: (N, H, W) one class a pixel, `IGNORE` where none counts;
* `steps`: (N, T) one class a step of a sequence, `IGNORE` where none counts;
* `value`: (N, V) numbers;
* `labels`: (N, K) zeros and ones, any number of the K labels a sample.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nasforge.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, device

    from nasforge.data.batch import Batch

IGNORE = -100  # the target that no loss counts; torch's default ignore_index
LARGEST_SIDE = 8192
MEMORY_BYTES = 2.0 * 2**30
KINDS = ("label", "mask", "steps", "value", "labels")
Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Source:
    """What to load and how to cut it.

    Attributes:
        spec: a name, file, folder or `module:function`; see `nasforge.data.readers`.
        limit: training samples to keep, None for all.
        seed: of the split.
        allow_code: whether `module:function` may be imported and run.
        task: what is learned, None where the data tell.
        target: the column of a table that is the target, None for the usual names.
        reads: [channels, height, width] of the network, which settles the layout of arrays of images.
        image_size: (height, width) to which image files are brought, None for the one they have, or one that suits them.
        skip_broken: whether images that cannot be decoded are left out.
        memory_bytes: that the inputs may take; larger ones are kept as bytes, or decoded when they are needed.
    """

    spec: str = "digits"
    limit: int | None = None
    seed: int = 0
    allow_code: bool = False
    task: str | None = None
    target: str | None = None
    reads: tuple[int, ...] | None = None
    image_size: tuple[int, int] | None = None
    skip_broken: bool = False
    memory_bytes: float = MEMORY_BYTES

    @classmethod
    def of(cls, options: Mapping[str, Any], reads: tuple[int, ...] | None = None) -> Source:
        """Return the source that options of the command line describe: data, data_limit, allow_code, task, target, image_size, skip_broken,
        data_memory (GiB). What is absent or None is as by default.

        Raises:
            UserError: the size or the memory is none.
        """
        given = {name: value for name, value in options.items() if value is not None}
        memory = given.get("data_memory", MEMORY_BYTES / 2**30)
        if not isinstance(memory, int | float) or memory < 0:
            raise UserError(f"--data-memory: must be a number of GiB, 0 or more, got {memory!r}")
        return cls(
            str(given.get("data", "digits")), given.get("data_limit"), 0, given.get("allow_code", False), given.get("task"),
            given.get("target"), reads, size_of(given.get("image_size")), given.get("skip_broken", False), memory * 2**30,
        )  # fmt: skip


def size_of(word: Any) -> tuple[int, int] | None:
    """Return (height, width) of `64`, `48x64` or a pair; None of None. Raise UserError for another word."""
    if word is None:
        return None
    sides = re.fullmatch(r"(\d+)(?:x(\d+))?", word.strip()) if isinstance(word, str) else None
    pair = [int(n) for n in (sides[1], sides[2] or sides[1])] if sides else [word, word] if isinstance(word, int) else word
    if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(n, int) and 0 < n <= LARGEST_SIDE for n in pair):
        raise UserError(f"--image-size: must be a side, or HEIGHTxWIDTH, from 1 to {LARGEST_SIDE} pixels, got {word!r}")
    return pair[0], pair[1]


@dataclass(frozen=True)
class Target:
    """One target: its kind, and its size, which is the number of classes, labels or values.

    Attributes:
        names: of the classes, labels or values, where the data have them.
        samples: in the training part.
        counts: training samples (pixels, steps) of each class or label.
        mean, std: of each value over the training part; what a network learns has mean 0 and deviation 1.
    """

    kind: str
    size: int
    names: tuple[str, ...] = ()
    samples: int = 0
    counts: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class DataSpec:
    """What data are. Knows no torch.

    Attributes:
        inputs: shape of one sample of each input as an architecture writes it: [channels, height, width], [time, features],
            [features] or {tokens: vocabulary, length: time}.
        targets: by name.
        task: the task that was asked for, None where the kind of the target decides.
        padded: inputs whose samples may end early: NaN from there on, or the token -1.
        notes: what a reader did that its user should know.
        preprocess: what lies between a file and the network, see `nasforge.data.preprocess`; empty where that is not known.
    """

    inputs: Mapping[str, Any]
    targets: Mapping[str, Target]
    task: str | None = None
    padded: frozenset[str] = frozenset()
    notes: tuple[str, ...] = field(default=(), compare=False)
    preprocess: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def input(self) -> Any:
        """The value of `input:` in an architecture for these data."""
        return dict(self.inputs) if len(self.inputs) > 1 else next(iter(self.inputs.values()))

    @property
    def target(self) -> Target:
        """The first target."""
        return next(iter(self.targets.values()))

    @property
    def is_image(self) -> bool:
        """Whether the one input is an image."""
        return len(self.inputs) == 1 and isinstance(self.input, list) and len(self.input) == 3


def may_be_laid_out_otherwise(spec: DataSpec, reads: tuple[int, ...] | None) -> bool:
    """Return whether arrays of images that were laid out without a network could be otherwise for one that reads [channels, height, width].

    They could where its number of channels is that of another axis than the one that was taken for them.
    """
    images = [shape for shape in spec.inputs.values() if isinstance(shape, list) and len(shape) == 3]
    return reads is not None and any(reads[0] in (height, width) for _, height, width in images)


class Dataset(Protocol):
    """Samples in three parts: weights are fitted on `train`, choices are made on `val`, `test` is read once at the end.

    `key` is a short hash of the content and the split. A data set is used by these methods alone, wherever its samples lie.
    """

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def spec(self) -> DataSpec: ...

    def size(self, part: Part) -> int:
        """Return how many samples a part has."""
        ...

    def batches(self, part: Part, size: int, *, generator: Generator | None = None, balanced: str | None = None) -> Iterator[Batch]:
        """Yield the samples of a part, `size` at a time, on the device of the data set.

        generator: of a new random order; without one, they come as they lie. balanced: a target of kind `label` whose classes
        are drawn equally often, with replacement.
        """
        ...

    def subset(self, fraction: float) -> Dataset:
        """Return the data set with a fraction of its training samples, the same ones each time."""
        ...

    def to(self, device: device | str) -> Dataset:
        """Return the data set with its batches on a device."""
        ...

    def map(self, change: Callable[[Batch], Batch], name: str) -> Dataset:
        """Return the data set with every batch changed; `name` of the change becomes a part of the key."""
        ...
