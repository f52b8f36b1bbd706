"""A network that reads raw numbers: it normalizes them itself, and gives values in their own units. Its text leaves with Python files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class FromRaw(nn.Module):
    """A network with what lies between raw numbers and it: x * scale, less mean, divided by std, for each channel or feature.

    preprocess: its description, as preprocess.json has it. Missing numbers (NaN) of vectors become the mean; tokens stay. Of values the
    outputs are in the units of the data; of classes they are logits.
    """

    def __init__(self, network: nn.Module, preprocess: Mapping[str, Any], names: list[str]) -> None:
        super().__init__()
        self.network, self.names, self.preprocess = network, names, preprocess
        self.inputs, self.targets = preprocess["inputs"], preprocess["targets"]
        self.kept: dict[str, str] = {}
        for name, about in self.inputs.items():
            axes = [-1, 1, 1] if len(about["shape"]) == 3 else [-1]
            kind = torch.float64 if about["dtype"] == "float64" else torch.float32
            for word in ("mean", "std"):
                self.keep(f"{name}.{word}", torch.tensor(about[word], dtype=kind).view(axes))
            if about.get("resize_to"):
                self.keep(f"{name}.rows", resampling(about["shape"][1], about["resize_to"][0]))
                self.keep(f"{name}.columns", resampling(about["shape"][2], about["resize_to"][1]))
        for name, target in self.targets.items():
            if target["kind"] == "value":
                for word in ("mean", "std"):
                    self.keep(f"{name}.target {word}", torch.tensor(target[word], dtype=torch.float32))

    def keep(self, name: str, numbers: Tensor) -> None:
        """Keep numbers that follow the network to its device and are none of its weights."""
        self.kept[name] = f"kept{len(self.kept)}"
        self.register_buffer(self.kept[name], numbers, persistent=False)

    def table(self, name: str) -> Tensor:
        """Return numbers that are kept."""
        return getattr(self, self.kept[name])

    def normalized(self, x: Tensor, name: str) -> Tensor:
        """Return an input as the network reads it."""
        about = self.inputs[name]
        if about["dtype"] == "int64":
            return x
        mean, std = self.table(f"{name}.mean"), self.table(f"{name}.std")
        made = ((x.to(mean.dtype) * about["scale"] - mean) / std).to(self.floating())
        if x.ndim == 2:
            made = torch.where(made.isnan(), torch.zeros_like(made), made)
        if about.get("resize_to"):
            made = self.table(f"{name}.rows") @ made @ self.table(f"{name}.columns").T
        return made[:, :, None] if about.get("as_steps") else made

    def floating(self) -> torch.dtype:
        """Return the type of the numbers that the network computes with."""
        return next((p.dtype for p in self.network.parameters() if p.is_floating_point()), torch.float32)

    def valued(self, y: Tensor, name: str) -> Tensor:
        """Return an output in the units of its target."""
        if self.targets[name]["kind"] != "value":
            return y
        return y * self.table(f"{name}.target std") + self.table(f"{name}.target mean")

    def forward(self, *xs: Tensor) -> Any:
        y = self.network(*[self.normalized(x, name) for x, name in zip(xs, self.names, strict=True)])
        if isinstance(y, dict):
            return {name: self.valued(one, name) for name, one in y.items()}
        return self.valued(y, next(iter(self.targets)))


def resampling(before: int, after: int) -> Tensor:
    """Return the (after, before) weights by which a side of an image is brought to another: bilinear, averaging where it shrinks."""
    whole = torch.eye(before)[None, None]
    return nn.functional.interpolate(whole, size=(after, before), mode="bilinear", antialias=True)[0, 0]
