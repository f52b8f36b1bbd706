"""Data sets that are not kept as numbers of a network: bytes, arrays in a file, encoded images. Each batch is made when it is asked for."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator, Tensor

from nasforge.data.batch import Batch
from nasforge.data.dataset import DataSpec, Part
from nasforge.data.images import Images, cores
from nasforge.data.rows import Rows
from nasforge.data.splits import stratified_order

AHEAD = 2  # batches that are made while one is used
TASKS = 4  # for each core, of a batch

Stored = Rows | Images


@dataclass(frozen=True)
class StoredDataset:
    """A data set whose inputs are made into tensors batch by batch; see `nasforge.data.dataset.Dataset`.

    Attributes:
        inputs: by part and name. targets: by part, in memory.
        mean, std: by input, for each channel.
    """

    name: str
    key: str
    spec: DataSpec
    inputs: Mapping[str, Mapping[str, Stored]]
    targets: Mapping[str, Mapping[str, Tensor]]
    mean: Mapping[str, Tensor]
    std: Mapping[str, Tensor]
    device: str = "cpu"
    changes: tuple[Callable[[Batch], Batch], ...] = ()

    def size(self, part: Part) -> int:
        return len(next(iter(self.targets[part].values())))

    def batches(self, part: Part, size: int, *, generator: Generator | None = None, balanced: str | None = None) -> Iterator[Batch]:
        n = self.size(part)
        if balanced is not None and generator is not None:
            labels = self.targets[part][balanced]
            order = torch.multinomial(1.0 / labels.bincount()[labels], n, replacement=True, generator=generator)
        else:
            order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
        chosen = list(order.split(size))
        pool, maker, old = ThreadPoolExecutor(cores()), ThreadPoolExecutor(1), list[np.ndarray]()
        waiting: deque[Future[Batch]] = deque()
        try:
            for i in range(len(chosen) + AHEAD):
                if i < len(chosen):
                    waiting.append(maker.submit(self._batch, part, chosen[i].numpy(), pool, old))
                if i >= AHEAD:
                    batch = waiting.popleft().result()
                    for change in self.changes:
                        batch = change(batch)
                    yield batch.to(self.device)
        finally:
            maker.shutdown(wait=True, cancel_futures=True)
            pool.shutdown(wait=True, cancel_futures=True)

    def _batch(self, part: Part, chosen: np.ndarray, pool: ThreadPoolExecutor, old: list[np.ndarray]) -> Batch:
        """The samples at these places, normalized."""
        inputs = {}
        for name, stored in self.inputs[part].items():
            if stored.ndim == 4:
                inputs[name] = torch.from_numpy(_images(stored, chosen, self.mean[name], self.std[name], pool, old))
                continue
            x = torch.from_numpy(stored.take(chosen))
            if x.dtype != torch.int64:
                x = x.sub_(self.mean[name]).div_(self.std[name]).float()
                if x.ndim == 2:
                    x.nan_to_num_(0.0)
            inputs[name] = x
        return Batch(inputs, {name: y[chosen] for name, y in self.targets[part].items()})

    def subset(self, fraction: float) -> StoredDataset:
        if fraction >= 1:
            return self
        n = self.size("train")
        chosen = np.arange(max(2, round(fraction * n)))
        if self.spec.target.kind == "label":
            labels = next(iter(self.targets["train"].values())).numpy()
            chosen = stratified_order(labels, np.random.default_rng(0))[: len(chosen)]
        inputs = {name: stored[chosen] for name, stored in self.inputs["train"].items()}
        targets = {name: y[torch.from_numpy(chosen)] for name, y in self.targets["train"].items()}
        return replace(self, inputs={**self.inputs, "train": inputs}, targets={**self.targets, "train": targets})

    def to(self, device: torch.device | str) -> StoredDataset:
        return replace(self, device=str(device))

    def map(self, change: Callable[[Batch], Batch], name: str) -> StoredDataset:
        sample = next(self.batches("train", 1)).to("cpu")
        shapes = {}
        for key, x in change(sample).inputs.items():
            before = self.spec.inputs[key]
            shapes[key] = {"tokens": before["tokens"], "length": x.shape[1]} if isinstance(before, Mapping) else list(x.shape[1:])
        return replace(self, key=f"{self.key}-{name}", spec=replace(self.spec, inputs=shapes), changes=(*self.changes, change))


def _images(stored: Stored, chosen: np.ndarray, mean: Tensor, std: Tensor, pool: ThreadPoolExecutor, old: list[np.ndarray]) -> np.ndarray:
    """The images at these places as float32, normalized one by one while they are in the cache."""
    scale, kind = 255 if stored.dtype == np.uint8 else 1, np.float64 if stored.dtype == np.float64 else np.float32
    shift, factor = (x.numpy()[:, None, None].astype(kind) for x in (mean * scale, 1 / (std * scale)))
    out = _empty((len(chosen), *stored.shape[1:]), old)

    def fill(some: np.ndarray) -> None:
        for i in some.tolist():
            one = out[i]
            taken = np.ascontiguousarray(stored.one(int(chosen[i])))
            one[...] = taken - shift if kind == np.float64 else taken
            if kind == np.float32:
                one -= shift
            one *= factor

    forward = np.argsort(stored.index[chosen], kind="stable")  # as a file is read best
    list(pool.map(fill, np.array_split(forward, min(len(chosen), TASKS * cores()))))
    return out


def _empty(shape: tuple[int, ...], old: list[np.ndarray]) -> np.ndarray:
    """An array of this shape, an old one where nobody uses it any more: new memory costs as much as filling it does."""
    free = next((i for i in range(len(old)) if old[i].shape == shape and _references(old, i) <= UNUSED), None)
    if free is not None:
        return old[free]
    made = np.empty(shape, np.float32)
    if len(old) <= AHEAD + 1:
        old.append(made)
    return made


def _references(arrays: list[np.ndarray], i: int) -> int:
    return sys.getrefcount(arrays[i])


UNUSED = _references([np.empty(0)], 0)  # of an array that nothing but a list knows
