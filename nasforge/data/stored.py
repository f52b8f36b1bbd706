"""Data sets that are not kept as numbers of a network: bytes, arrays in a file, encoded images. Each batch is made when it is asked for."""

from __future__ import annotations

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
        pool, maker = ThreadPoolExecutor(cores()), ThreadPoolExecutor(1)
        waiting: deque[Future[Batch]] = deque()
        try:
            for i in range(len(chosen) + AHEAD):
                if i < len(chosen):
                    waiting.append(maker.submit(self._batch, part, chosen[i], pool))
                if i >= AHEAD:
                    batch = waiting.popleft().result()
                    for change in self.changes:
                        batch = change(batch)
                    yield batch.to(self.device)
        finally:
            maker.shutdown(wait=True, cancel_futures=True)
            pool.shutdown(wait=True, cancel_futures=True)

    def _batch(self, part: Part, chosen: Tensor, pool: ThreadPoolExecutor) -> Batch:
        """The samples at these places, normalized."""
        inputs = {}
        for name, stored in self.inputs[part].items():
            x = torch.from_numpy(stored.take(chosen.numpy(), pool))
            if x.dtype != torch.int64:
                scale = 1 / 255 if x.dtype == torch.uint8 else 1
                axes = [1, -1] + [1] * (x.ndim - 2) if x.ndim == 4 else [1] * (x.ndim - 1) + [-1]
                x = x.float().mul_(scale).sub_(self.mean[name].view(axes)).div_(self.std[name].view(axes))
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
