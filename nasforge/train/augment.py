"""Augmentation of whole batches of images, by tensor operations with an explicit generator.

Every name has a strength:

* `flip`: probability of a left-right mirror image;
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
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from nasforge.data.arrays import IGNORE
from nasforge.errors import UserError

STRENGTHS: Mapping[str, tuple[float, float]] = {  # name: its default, its largest
    "flip": (0.5, 1.0),
    "shift": (0.1, 0.5),
    "crop": (4.0, 64.0),
    "rotate": (10.0, 180.0),
    "zoom": (0.1, 0.9),
    "cutout": (0.5, 1.0),
    "fancy_pca": (0.1, 10.0),
    "mixup": (0.2, 100.0),
}
NOT_FOR_LABEL_MAPS = ("mixup",)


@dataclass(frozen=True)
class Mix:
    """The second target of each sample, and the (B,) weight of the first."""

    y: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Augment:
    """Strength by name, and the principal axes of the colours where `fancy_pca` is among them."""

    strengths: Mapping[str, float]
    axes: Tensor | None = None

    def __call__(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Mix | None]:
        """Augmented `x` and `y`, and what was mixed in. `generator` is on the CPU, `x` and `y` on any device."""
        s = self.strengths
        if s.keys() & {"flip", "shift", "crop"}:
            x, y = self._move(x, y, generator)
        if s.keys() & {"rotate", "zoom"}:
            degrees, size = (_uniform(len(x), s.get(name, 0.0), generator).to(x.device) for name in ("rotate", "zoom"))
            x, y = turn(x, y, degrees, 1 + size)
        if self.axes is not None:
            x = x + color_shift(self.axes, torch.randn(len(x), x.shape[1], generator=generator) * s["fancy_pca"])
        if "cutout" in s:
            x = cutout(x, s["cutout"], generator)
        if "mixup" in s:
            return (*mixup(x, y, s["mixup"], generator),)
        return x, y, None

    def _move(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Flips and whole-pixel shifts as one gather of rows and columns."""
        n, (height, width) = len(x), x.shape[-2:]
        down, right = torch.zeros(n, 1, dtype=torch.long), torch.zeros(n, 1, dtype=torch.long)
        for reach in reaches(self.strengths, height, width):
            down += torch.randint(-reach[0], reach[0] + 1, (n, 1), generator=generator)
            right += torch.randint(-reach[1], reach[1] + 1, (n, 1), generator=generator)
        rows, columns = torch.arange(height) + down, torch.arange(width) + right
        if "flip" in self.strengths:
            mirrored = torch.rand(n, 1, generator=generator) < self.strengths["flip"]
            columns = torch.where(mirrored, columns.flip(1), columns)
        return take(x, y, rows.to(x.device), columns.to(x.device))


def make_augment(strengths: Mapping[str, float], x: Tensor, y: Tensor) -> Augment | None:
    """The augmentation that `strengths` describe, fitted on training samples; None where there is nothing to do.

    Raises:
        UserError: the names do not suit these samples.
    """
    image, label_map = x.ndim == 4, y.ndim == 3
    for name in strengths:
        if not image and (name != "mixup" or x.ndim != 3 or y.ndim != 1):
            raise UserError(f"recipe.augment: {name} needs images, got samples of shape {tuple(x.shape[1:])}; leave it out")
        if label_map and name in NOT_FOR_LABEL_MAPS:
            raise UserError(f"recipe.augment: {name} cannot be used with label maps; leave it out")
    if not strengths:
        return None
    return Augment(strengths, principal_axes(x) if "fancy_pca" in strengths else None)


def reaches(strengths: Mapping[str, float], height: int, width: int) -> list[tuple[int, int]]:
    """Largest whole-pixel moves (down, right) of `shift` and `crop`."""
    made = []
    if "shift" in strengths:
        made.append((max(1, round(strengths["shift"] * height)), max(1, round(strengths["shift"] * width))))
    if "crop" in strengths:
        made.append((round(strengths["crop"]),) * 2)
    return made


def take(x: Tensor, y: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels at `rows` (B, h) and `columns` (B, w) of each image: (B, C, H, W) -> (B, C, h, w); label maps likewise."""
    height, width = x.shape[-2:]
    batch = torch.arange(len(x), device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    r, c = rows.clamp(0, height - 1)[:, None, :, None], columns.clamp(0, width - 1)[:, None, None, :]
    moved = x[batch, channel, r, c]
    if y.ndim != 3:
        return moved, y
    outside = ((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]
    return moved, y[batch[:, 0], r[:, 0], c[:, 0]].masked_fill(outside, IGNORE)


def random_crop(x: Tensor, size: int, generator: Generator) -> Tensor:
    """A random square of each image: (B, C, H, W) -> (B, C, size, size). Source: Krizhevsky et al. 2012, section 4.1."""
    n, (height, width) = len(x), x.shape[-2:]
    down = torch.randint(0, height - size + 1, (n, 1), generator=generator)
    right = torch.randint(0, width - size + 1, (n, 1), generator=generator)
    rows, columns = torch.arange(size) + down, torch.arange(size) + right
    return take(x, x.new_zeros(n), rows.to(x.device), columns.to(x.device))[0]


def turn(x: Tensor, y: Tensor, degrees: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Images turned by (B,) `degrees` and `size` times as large, about their centre; bilinear, label maps by nearest."""
    angle = degrees * (math.pi / 180)
    ratio = x.shape[-1] / x.shape[-2]  # a grid runs from -1 to 1 along either side, whatever their lengths
    cos, sin, zero = angle.cos() / size, angle.sin() / size, torch.zeros_like(angle)
    first, second = torch.stack([cos, -sin / ratio, zero], 1), torch.stack([sin * ratio, cos, zero], 1)
    grid = functional.affine_grid(torch.stack([first, second], 1), list(x.shape), align_corners=False)
    turned = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    if y.ndim != 3:
        return turned, y
    known = (y - IGNORE)[:, None].float()  # so that 0, which is what lies outside, is the ignored label
    labels = functional.grid_sample(known, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return turned, labels[:, 0].round().long() + IGNORE


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


def mixup(x: Tensor, y: Tensor, alpha: float, generator: Generator) -> tuple[Tensor, Tensor, Mix]:
    """Each sample mixed with another, weights from Beta(alpha, alpha). Source: Zhang et al. 2018."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    weight = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, len(x)).astype(np.float32)).to(x.device)
    other = torch.randperm(len(x), generator=generator).to(x.device)
    return x.lerp(x[other], (1 - weight).view(-1, *[1] * (x.ndim - 1))), y, Mix(y[other], weight)


def _uniform(n: int, reach: float, generator: Generator) -> Tensor:
    return (torch.rand(n, generator=generator) * 2 - 1) * reach
