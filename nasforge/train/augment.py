"""Augmentation of whole batches of images, by tensor operations with an explicit generator.

Every name has a strength:

* `flip`: probability of a left-right mirror image;
* `alternating_flip`: a left-right mirror image every other epoch, the first time in the first or in the second one;
* `shift`: largest shift each way, as a share of the side (at least 1 pixel);
* `crop`: pixels of padding each way before a random crop of the old size;
* `rotate`: largest angle each way, in degrees;
* `zoom`: largest change of size each way, as a share;
* `cutout`: side of the blanked square, as a share of the image's side;
* `fancy_pca`: standard deviation of the shift along each principal axis of the colours, in eigenvalues;
* `mixup`: alpha of the Beta distribution of the mixing weights; also for sequences.

Beyond the border an image goes on with its border pixels, a label map is ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from nasforge.data import IGNORE, Batch, Dataset, Mix
from nasforge.errors import UserError
from nasforge.tasks.base import Task

FITTED_ON = 1000  # training samples whose colors are looked at
STRENGTHS: Mapping[str, tuple[float, float]] = {  # name: its default, its largest
    "flip": (0.5, 1.0),
    "alternating_flip": (1.0, 1.0),
    "shift": (0.1, 0.5),
    "crop": (4.0, 64.0),
    "rotate": (10.0, 180.0),
    "zoom": (0.1, 0.9),
    "cutout": (0.5, 1.0),
    "fancy_pca": (0.1, 10.0),
    "mixup": (0.2, 100.0),
}


@dataclass(frozen=True)
class Augment:
    """Strength by name, the masks among the targets, and the principal axes of the colors where `fancy_pca` is asked for."""

    strengths: Mapping[str, float]
    masks: tuple[str, ...] = ()
    axes: Tensor | None = None

    def __call__(self, batch: Batch, generator: Generator, epoch: int = 0) -> Batch:
        """Return the augmented batch of an epoch, counted from 0. `generator` is on the CPU, the batch on any device."""
        s, x = self.strengths, batch.x
        masks = {name: batch.targets[name] for name in self.masks}
        if s.keys() & {"flip", "alternating_flip", "shift", "crop"}:
            rows, columns = self._moved(x, generator, epoch)
            x, masks = take(x, rows, columns), {name: take_mask(y, rows, columns) for name, y in masks.items()}
        if s.keys() & {"rotate", "zoom"}:
            degrees, size = (_uniform(len(x), s.get(name, 0.0), generator).to(x.device) for name in ("rotate", "zoom"))
            x, masks = turn(x, degrees, 1 + size), {name: turn_mask(y, degrees, 1 + size) for name, y in masks.items()}
        if self.axes is not None:
            x = x + color_shift(self.axes, torch.randn(len(x), x.shape[1], generator=generator) * s["fancy_pca"])
        if "cutout" in s:
            x = cutout(x, s["cutout"], generator)
        changed = replace(batch, inputs={**batch.inputs, next(iter(batch.inputs)): x}, targets={**batch.targets, **masks})
        return mixup(changed, s["mixup"], generator) if "mixup" in s else changed

    def _moved(self, x: Tensor, generator: Generator, epoch: int) -> tuple[Tensor, Tensor]:
        """The rows and columns of flips and whole-pixel shifts, so that both are one gather."""
        n, (height, width) = len(x), x.shape[-2:]
        down, right = torch.zeros(n, 1, dtype=torch.long), torch.zeros(n, 1, dtype=torch.long)
        for reach in reaches(self.strengths, height, width):
            down += torch.randint(-reach[0], reach[0] + 1, (n, 1), generator=generator)
            right += torch.randint(-reach[1], reach[1] + 1, (n, 1), generator=generator)
        rows, columns = torch.arange(height) + down, torch.arange(width) + right
        if "flip" in self.strengths:
            mirrored = torch.rand(n, 1, generator=generator) < self.strengths["flip"]
            columns = torch.where(mirrored, columns.flip(1), columns)
        if "alternating_flip" in self.strengths:
            columns = torch.where((coins(x).cpu() + epoch)[:, None] % 2 == 1, columns.flip(1), columns)
        return rows.to(x.device), columns.to(x.device)


def make_augment(strengths: Mapping[str, float], data: Dataset, task: Task) -> Augment | None:
    """Return the augmentation that `strengths` describe, fitted on training samples; None where there is nothing to do.

    Raises:
        UserError: the names do not suit these samples or this task.
    """
    if not strengths:
        return None
    x = next(data.batches("train", FITTED_ON if "fancy_pca" in strengths else 1)).x
    several = len(data.spec.inputs) > 1
    for name in strengths:
        if several or (x.ndim != 4 and (name != "mixup" or x.ndim != 3)):
            got = f"the inputs {', '.join(data.spec.inputs)}" if several else f"samples of shape {tuple(x.shape[1:])}"
            raise UserError(f"recipe.augment: {name} needs images, got {got}; leave it out")
        if name == "mixup" and data.spec.padded:
            raise UserError("recipe.augment: mixup needs samples of equal length, got sequences that end early; leave it out")
        if name not in task.augmentations:
            raise UserError(f"recipe.augment: {name} cannot be used with the task {task.name}; leave it out")
    masks = tuple(name for name, target in data.spec.targets.items() if target.kind == "mask")
    return Augment(strengths, masks, principal_axes(x) if "fancy_pca" in strengths else None)


def coins(x: Tensor) -> Tensor:
    """Return 0 or 1 for each of (B, ...) samples, always the same for the same one: from the digits of its numbers.

    Source: Jordan 2024 (94% on CIFAR-10 in 3.29 seconds on a single GPU), section 3.6, which draws them by the number of a sample.
    """
    digits = x.float().contiguous().view(torch.int32).long().flatten(1).sum(1)
    return (digits * 0x9E3779B1 >> 16) & 1


def reaches(strengths: Mapping[str, float], height: int, width: int) -> list[tuple[int, int]]:
    """Largest whole-pixel moves (down, right) of `shift` and `crop`."""
    made = []
    if "shift" in strengths:
        made.append((max(1, round(strengths["shift"] * height)), max(1, round(strengths["shift"] * width))))
    if "crop" in strengths:
        made.append((round(strengths["crop"]),) * 2)
    return made


def take(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels at `rows` (B, h) and `columns` (B, w) of each image: (B, C, H, W) -> (B, C, h, w)."""
    height, width = x.shape[-2:]
    batch = torch.arange(len(x), device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    return x[batch, channel, rows.clamp(0, height - 1)[:, None, :, None], columns.clamp(0, width - 1)[:, None, None, :]]


def take_mask(y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the same of label maps: (B, H, W) -> (B, h, w), ignored where they lie outside."""
    height, width = y.shape[-2:]
    outside = ((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]
    batch = torch.arange(len(y), device=y.device)[:, None, None]
    moved = y[batch, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    return moved.masked_fill(outside, IGNORE)


def random_crop(x: Tensor, size: int, generator: Generator) -> Tensor:
    """A random square of each image: (B, C, H, W) -> (B, C, size, size). Source: Krizhevsky et al. 2012, section 4.1."""
    n, (height, width) = len(x), x.shape[-2:]
    down = torch.randint(0, height - size + 1, (n, 1), generator=generator)
    right = torch.randint(0, width - size + 1, (n, 1), generator=generator)
    rows, columns = torch.arange(size) + down, torch.arange(size) + right
    return take(x, rows.to(x.device), columns.to(x.device))


def turn(x: Tensor, degrees: Tensor, size: Tensor) -> Tensor:
    """Return images (B, C, H, W) turned by (B,) `degrees` and `size` times as large, about their center; bilinear."""
    return functional.grid_sample(x, _turned(x, degrees, size), padding_mode="border", align_corners=False)


def turn_mask(y: Tensor, degrees: Tensor, size: Tensor) -> Tensor:
    """Return the same of label maps (B, H, W), by the nearest pixel, ignored where they lie outside."""
    known = (y - IGNORE)[:, None].float()  # so that 0, which is what lies outside, is the ignored label
    labels = functional.grid_sample(known, _turned(known, degrees, size), mode="nearest", padding_mode="zeros", align_corners=False)
    return labels[:, 0].round().long() + IGNORE


def _turned(x: Tensor, degrees: Tensor, size: Tensor) -> Tensor:
    angle = degrees * (math.pi / 180)
    ratio = x.shape[-1] / x.shape[-2]  # a grid runs from -1 to 1 along either side, whatever their lengths
    cos, sin, zero = angle.cos() / size, angle.sin() / size, torch.zeros_like(angle)
    first, second = torch.stack([cos, -sin / ratio, zero], 1), torch.stack([sin * ratio, cos, zero], 1)
    return functional.affine_grid(torch.stack([first, second], 1), list(x.shape), align_corners=False)


def principal_axes(x: Tensor) -> Tensor:
    """(C, C) principal axes of the colours in (N, C, H, W), each column scaled by its eigenvalue."""
    pixels = x[:1000].transpose(0, 1).flatten(1)  # (C, N*H*W)
    values, vectors = torch.linalg.eigh(torch.cov(pixels).reshape(x.shape[1], x.shape[1]))
    return vectors * values.clamp_min(0)


def color_shift(axes: Tensor, alpha: Tensor) -> Tensor:
    """[p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T for each of (B, C) `alpha`: one shift of all pixels of an image, (B, C, 1, 1).

    Source: fancy PCA, Krizhevsky et al. 2012, section 4.1.
    """
    return (alpha.to(axes.device) @ axes.T)[:, :, None, None]


def cutout(x: Tensor, share: float, generator: Generator) -> Tensor:
    """Images with a square of `share` of the side blanked, its centre anywhere. Source: DeVries and Taylor 2017."""
    n, sides = len(x), x.shape[-2:]
    inside = []
    for side in sides:
        length = max(1, round(share * side))
        start = torch.randint(0, side, (n, 1), generator=generator) - length // 2
        place = torch.arange(side)
        inside.append((place >= start) & (place < start + length))  # (B, side)
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (B, 1, H, W)
    return x.masked_fill(hole.to(x.device), 0.0)


def mixup(batch: Batch, alpha: float, generator: Generator) -> Batch:
    """Return the batch with each sample mixed with another, weights from Beta(alpha, alpha). Source: Zhang et al. 2018."""
    x = batch.x
    seed = int(torch.randint(2**62, (1,), generator=generator))
    weight = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, len(x)).astype(np.float32)).to(x.device)
    other = torch.randperm(len(x), generator=generator).to(x.device)
    mixed = x.lerp(x[other], (1 - weight).view(-1, *[1] * (x.ndim - 1)))
    targets = {name: y[other] for name, y in batch.targets.items()}
    return replace(batch, inputs={**batch.inputs, next(iter(batch.inputs)): mixed}, mix=Mix(targets, weight))


def _uniform(n: int, reach: float, generator: Generator) -> Tensor:
    return (torch.rand(n, generator=generator) * 2 - 1) * reach
