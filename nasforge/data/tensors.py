"""Data sets as tensors in memory: read once, split once, normalized with the training part alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from nasforge.data.alike import notes_of
from nasforge.data.arrays import Arrays, Raw
from nasforge.data.batch import Batch
from nasforge.data.dataset import IGNORE, MEMORY_BYTES, PARTS, DataSpec, Part, Source, Target
from nasforge.data.preprocess import Moments, described
from nasforge.data.readers import read
from nasforge.data.rows import Rows
from nasforge.data.splits import divide, stratified_order
from nasforge.data.stored import StoredDataset
from nasforge.errors import UserError


@dataclass(frozen=True)
class TensorDataset:
    """A data set whose parts are tensors; see `nasforge.data.dataset.Dataset`.

    Inputs are (N, C, H, W), (N, T, F) or (N, F) float32, or (N, T) int64 tokens.

    Attributes:
        parts: each as one batch, on the CPU.
        mean, std: subtracted from and divided by, for each channel, or feature of a vector, of the first input; empty for tokens.
    """

    name: str
    key: str
    spec: DataSpec
    parts: Mapping[str, Batch]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    device: str = "cpu"
    changes: tuple[Callable[[Batch], Batch], ...] = ()
    _ready: dict[str, Batch] = field(default_factory=dict, init=False, repr=False, compare=False)

    def part(self, name: Part) -> Batch:
        """Return a part as one batch, changed and on the device; worked out when it is first asked for."""
        if name not in self._ready:
            batch = self.parts[name]
            for change in self.changes:
                batch = change(batch)
            self._ready[name] = batch.to(self.device)
        return self._ready[name]

    def size(self, part: Part) -> int:
        return len(self.parts[part])

    def batches(self, part: Part, size: int, *, generator: Generator | None = None, balanced: str | None = None) -> Iterator[Batch]:
        samples = self.part(part)
        if generator is None:
            yield from (samples[start : start + size] for start in range(0, len(samples), size))
            return
        if balanced is None:
            order = torch.randperm(len(samples), generator=generator)
        else:
            labels = self.parts[part].targets[balanced]
            order = torch.multinomial(1.0 / labels.bincount()[labels], len(labels), replacement=True, generator=generator)
        for chosen in order.to(self.device).split(size):
            yield samples[chosen]

    def subset(self, fraction: float) -> TensorDataset:
        if fraction >= 1:
            return self
        train = self.parts["train"]
        count = max(2, round(fraction * len(train)))
        chosen = torch.arange(count)
        if self.spec.target.kind == "label":
            chosen = torch.from_numpy(stratified_order(train.y.numpy(), np.random.default_rng(0))[:count])
        return replace(self, parts={**self.parts, "train": train[chosen]})

    def to(self, device: torch.device | str) -> TensorDataset:
        return self if str(device) == self.device else replace(self, device=str(device))

    def map(self, change: Callable[[Batch], Batch], name: str) -> TensorDataset:
        sample = self.part("train")[:1].to("cpu")
        inputs = {k: _shape(x, self.spec.inputs[k]) for k, x in change(sample).inputs.items()}
        spec = replace(self.spec, inputs=inputs)
        return replace(self, key=f"{self.key}-{name}", spec=spec, changes=(*self.changes, change))

    # ------------------------------------------------------------ of the first input and target

    @property
    def train(self) -> Batch:
        return self.part("train")

    @property
    def val(self) -> Batch:
        return self.part("val")

    @property
    def test(self) -> Batch:
        return self.part("test")

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample of the first input, without the batch."""
        return tuple(self.part("train").x.shape[1:])

    @property
    def classes(self) -> int:
        """The size of the first target."""
        return self.spec.target.size

    @property
    def vocab(self) -> int | None:
        """The number of tokens of the first input, None where it holds none."""
        first = next(iter(self.spec.inputs.values()))
        return first["tokens"] if isinstance(first, Mapping) else None


def load(source: Source | str = "digits", kind: str | None = None, **options: Any) -> Any:
    """Return the data set that a source names, split and normalized.

    Split: stratified 60/20/20; where the data bring a test set it is kept, and 10 % of the training samples, or 1,000
    where these are at most 20 %, are held out as `val`; a given `val` is kept. The training part is ordered so that
    every prefix of it is stratified as well. With a limit of training samples `val` and `test` shrink in proportion, to
    1,000 at the least; a test set that the data bring is never cut.

    Args:
        source: what to read, and how; of a word, `options` say how.
        kind: of the target where the task settles it: `value` or `labels`.

    Raises:
        UserError: nothing readable is there, or what is there cannot be trained on.
    """
    source = Source(source, **options) if isinstance(source, str) else source
    raw = read(source, kind)
    return prepared(raw, seed=source.seed, limit=source.limit, task=source.task, memory_bytes=source.memory_bytes)


def prepared(
    raw: Raw, *, seed: int = 0, limit: int | None = None, task: str | None = None, memory_bytes: float = MEMORY_BYTES, test: bool = True
) -> TensorDataset | StoredDataset:
    """Return what a reader found as a data set, split and normalized as `load` says.

    Inputs that take no more than `memory_bytes` as numbers of the network are kept as such; larger ones stay where they are. Without
    `test`, no test part is cut: where there is none it stays empty, and no network is scored on it.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit: must be at least 1 training sample, got {limit}")
    needed = {0: 1, 1: 2}.get(len({"val", *["test"] * test} - set(raw.parts)), 5)  # samples of a class: one for each part to be cut
    sizes = {name: _size(raw, name, needed) for name in raw.kinds}
    stratified = raw.kinds[next(iter(raw.kinds))] == "label"
    numbers = sum(math.prod(x.shape) for part in raw.parts.values() for x in part.inputs.values())
    stored = 4 * numbers > memory_bytes or any(not isinstance(x, np.ndarray) for x in raw.parts["train"].inputs.values())
    given = {k: Arrays(_rows(part.inputs), part.targets) for k, part in raw.parts.items()} if stored else raw.parts
    parts = divide(given, seed=seed, limit=limit, ordered=raw.ordered, stratified=stratified, where=raw.name, test=test)
    if limit is not None:
        parts = {k: Arrays({n: x.alone() if isinstance(x, Rows) else x for n, x in p.inputs.items()}, p.targets) for k, p in parts.items()}
    targets = {name: _target(parts["train"].targets[name], raw, name, sizes[name]) for name in raw.kinds}
    tensors = {part: {n: torch.from_numpy(y) for n, y in arrays.targets.items()} for part, arrays in parts.items()}
    vocab = {k: {"tokens": n} for k, n in (raw.vocab or {}).items()}
    shapes = {k: _shape(x, vocab.get(k)) for k, x in parts["train"].inputs.items()}
    spec = DataSpec(shapes, targets, task or raw.task, raw.padded, (*raw.notes, *notes_of(parts, raw.name)))
    key = _key(parts, raw.kinds, seed)
    if stored:
        stores: dict[str, Any] = {part: arrays.inputs for part, arrays in parts.items()}
        found = {name: x.moments() for name, x in stores["train"].items() if name not in vocab}
        types = {name: torch.float64 if stores["train"][name].dtype == np.float64 else torch.float32 for name in found}
        means = {name: torch.from_numpy(m).to(types[name]) for name, (m, _) in found.items()}
        deviations = {name: torch.from_numpy(np.where(_constant(m, d), 1.0, d)).to(types[name]) for name, (m, d) in found.items()}
        moments: Moments = {name: (tuple(means[name].tolist()), tuple(deviations[name].tolist())) for name in found}
        spec = replace(spec, preprocess=described(raw, parts["train"], spec, moments, key))
        return StoredDataset(raw.name, key, spec, stores, tensors, means, deviations)
    inputs, moments = _normalize({k: part.inputs for k, part in parts.items()})  # type: ignore[misc]
    spec = replace(spec, preprocess=described(raw, parts["train"], spec, moments, key))
    first = moments[next(iter(moments))]
    return TensorDataset(raw.name, key, spec, {k: Batch(x, tensors[k]) for k, x in inputs.items()}, *first)


def _rows(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs that stay where they are."""
    return {name: replace(Rows.of(x), wide=x.dtype == np.float64) if isinstance(x, np.ndarray) else x for name, x in inputs.items()}


def _shape(x: Any, before: Any) -> Any:
    """The shape of a sample as an architecture writes it; `before` has the vocabulary of tokens."""
    if isinstance(before, Mapping):
        return {"tokens": before["tokens"], "length": x.shape[1]}
    return list(x.shape[1:])


def _size(raw: Raw, name: str, needed: int) -> int:
    """The number of values, labels or classes of a target: of classes the largest + 1, none of which may be empty."""
    kind, found = raw.kinds[name], [part.targets[name] for part in raw.parts.values()]
    if kind in ("value", "labels"):
        return int(found[0].shape[1])
    if kind == "steps" and raw.labels:
        return len(raw.labels)
    if kind == "steps" and raw.vocab is not None:
        return raw.vocab.get("target", next(iter(raw.vocab.values())))
    classes = 1 + max(int(y.max()) for y in found)
    if classes < 2:
        raise UserError(f"{raw.name}: at least 2 classes are needed, got labels that are all {classes - 1}")
    if kind == "label":
        _check_counts(raw, name, classes, needed)
    return classes


def _check_counts(raw: Raw, name: str, classes: int, needed: int) -> None:
    counts = np.bincount(raw.parts["train"].targets[name], minlength=classes)
    if counts.min() >= needed:
        return
    which = int(counts.argmin())
    label = f" ({raw.labels[which]})" if raw.labels else ""
    raise UserError(
        f"{raw.name}: class {which}{label} must have at least {needed} training samples, got {int(counts.min())}; "
        f"add samples, drop the class, or number the classes 0 to {max(int((counts > 0).sum()) - 1, 1)} without gaps "
        "(for measurements to predict, add --task regression)"
    )


def _target(train: np.ndarray, raw: Raw, name: str, size: int) -> Target:
    """A target as its training part tells."""
    kind = raw.kinds[name]
    names = raw.labels if name == next(iter(raw.kinds)) else ()
    if kind == "value":
        wide = train.astype(np.float64)  # far from 0 the digits of float32 do not last
        mean, std = wide.mean(0), wide.std(0)
        if not std.all():
            raise UserError(f"{raw.name}: the target must differ between samples, got {train[0].tolist()} in all of the training part")
        return Target(kind, size, names, len(train), mean=tuple(mean.tolist()), std=tuple(std.tolist()))
    counts = train.sum(0) if kind == "labels" else np.bincount(train[train != IGNORE], minlength=size)
    return Target(kind, size, names, len(train), tuple(int(n) for n in counts))


def _normalize(arrays: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[dict[str, dict[str, Tensor]], Moments]:
    """Inputs by part: bytes scaled to [0, 1], then every channel to mean 0 and variance 1 over the *training* part; tokens as they are.

    Also mean and deviation of each input. Of vectors every feature is a channel, and a number that is missing becomes its
    mean. Steps after the end of a sequence stay NaN.
    """
    tensors = {part: {k: _as_tensor(x) for k, x in inputs.items()} for part, inputs in arrays.items()}
    moments: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}
    for name, train in tensors["train"].items():
        if not train.is_floating_point():
            moments[name] = ((), ())
            continue
        dims = {2: [0], 3: [0, 1], 4: [0, 2, 3]}[train.ndim]
        std, mean = _moments(train, dims)
        if bool(std.isinf().any()) or (bool((std < 1e-12).any()) and bool(((std < 1e-12) & _differs(train, dims)).any())):
            for part in tensors.values():  # squares of very large and small numbers need more room
                part[name] = part[name].double()
            std, mean = _moments(tensors["train"][name], dims)
        std = torch.where(_constant(mean, std), torch.ones_like(std), std)  # a constant channel stays constant
        for part in tensors.values():
            part[name] = part[name].sub_(mean).div_(std).float()
            if train.ndim == 2:
                part[name].nan_to_num_(0.0)
        moments[name] = (tuple(mean.flatten().tolist()), tuple(std.flatten().tolist()))
    return tensors, moments


def _moments(x: Tensor, dims: list[int]) -> tuple[Tensor, Tensor]:
    """Deviation and mean over some axes; NaN does not count."""
    if not bool(x.isnan().any()):
        return torch.std_mean(x, dim=dims, correction=0, keepdim=True)
    mean = x.nanmean(dims, keepdim=True)
    return (x - mean).square().nanmean(dims, keepdim=True).sqrt(), mean


def _differs(x: Tensor, dims: list[int]) -> Tensor:
    """Whether there are two different numbers over some axes; NaN does not count."""
    gone = x.isnan()
    return x.masked_fill(gone, -math.inf).amax(dims, keepdim=True) > x.masked_fill(gone, math.inf).amin(dims, keepdim=True)


def _constant(mean: Any, std: Any) -> Any:
    """Whether a deviation is none: 0, or what rounding leaves of it."""
    return (std == 0) | ((std < 1e-12) & (std <= 1e-6 * abs(mean)))


def _as_tensor(x: np.ndarray) -> Tensor:
    if x.dtype == np.int64:
        return torch.from_numpy(x)
    wide = x.dtype == np.float64  # its digits last until it is centered
    return torch.from_numpy(x.astype(np.float64 if wide else np.float32, order="C")).mul_(1 / 255 if x.dtype == np.uint8 else 1)


def _key(parts: Mapping[str, Arrays], kinds: Mapping[str, str], seed: int) -> str:
    """A short hash of the split: inputs in the order of their names, targets in theirs, as the first of them leads."""
    digest = hashlib.blake2b(f"split {seed}".encode(), digest_size=6)
    if len(kinds) > 1 and any(name != kind for name, kind in kinds.items()):
        digest.update(f"targets {list(kinds)}".encode())
    for name in PARTS:
        inputs = parts[name].inputs
        for array in (*(inputs[key] for key in sorted(inputs)), *parts[name].targets.values()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            if not isinstance(array, np.ndarray):
                for some in array.content():
                    digest.update(some)
            elif math.prod(array.shape):
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
