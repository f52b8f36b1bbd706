"""Samples that a network has not seen, made what it reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nasforge.data.stored import StoredDataset
from nasforge.data.tensors import TensorDataset


@dataclass(frozen=True)
class Normalization:
    """What a data set does to the numbers of its first input: times `scale`, less the mean, divided by the deviation.

    Attributes:
        mean, std: of the training part, for each channel of images and sequences, for each feature of vectors.
        scale: 1/255 where the samples of the data set were bytes, else 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1.0

    @classmethod
    def of(cls, data: TensorDataset | StoredDataset, scale: float = 1.0) -> Normalization:
        """Return the one of a data set of numbers."""
        if isinstance(data, TensorDataset):
            return cls(data.mean, data.std, scale)
        mean, std = (next(iter(found.values())) for found in (data.mean, data.std))
        return cls(tuple(mean.tolist()), tuple(std.tolist()), scale)

    def __call__(self, x: np.ndarray) -> Tensor:
        """Return (N, F), (N, T, F) or (N, C, H, W) numbers as float32; of vectors a missing one (NaN) becomes 0, which is the mean."""
        axes = [1, -1] + [1] * (x.ndim - 2) if x.ndim == 4 else [1] * (x.ndim - 1) + [-1]
        made = torch.from_numpy(x.astype(np.float64 if x.dtype == np.float64 else np.float32)).mul_(self.scale)
        mean, std = (torch.tensor(found, dtype=made.dtype).view(axes) for found in (self.mean, self.std))
        made = made.sub_(mean).div_(std).float()
        return made.nan_to_num_(0.0) if x.ndim == 2 else made
