"""A batch of samples: inputs and targets by name. Only a task looks inside the targets, only a network inside the inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Mix:
    """What was mixed into each sample: the targets of the other one, and the (B,) weight of the first."""

    targets: Tensors
    weight: Tensor


@dataclass(frozen=True)
class Batch:
    """Samples that lie together; the first axis of every tensor is the sample.

    Attributes:
        inputs: by the names under `input:` of an architecture; a single input is called `input`.
        targets: by name; a single target is called by its kind, see `nasforge.data.dataset`.
        lengths: (B,) true lengths of padded inputs, by their names.
        mix: what augmentation has mixed in.
    """

    inputs: Tensors
    targets: Tensors
    lengths: Tensors = field(default_factory=dict)
    mix: Mix | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, which: slice | Tensor) -> Batch:
        return self.map(lambda tensor: tensor[which])

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with every tensor changed."""
        inputs, targets, lengths = ({k: change(v) for k, v in group.items()} for group in (self.inputs, self.targets, self.lengths))
        mix = None if self.mix is None else Mix({k: change(v) for k, v in self.mix.targets.items()}, change(self.mix.weight))
        return Batch(inputs, targets, lengths, mix)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return self.map(lambda tensor: tensor.to(device))

    def with_inputs(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with every input changed."""
        return replace(self, inputs={name: change(x) for name, x in self.inputs.items()})

    @property
    def x(self) -> Tensor:
        """The first input."""
        return next(iter(self.inputs.values()))

    @property
    def y(self) -> Tensor:
        """The first target."""
        return next(iter(self.targets.values()))

    @property
    def numbers(self) -> int:
        """How many numbers the inputs of one sample have."""
        return sum(x[0].numel() for x in self.inputs.values())
