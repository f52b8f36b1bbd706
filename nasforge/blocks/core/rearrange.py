"""Layers that move values and do not weigh them: shuffle, shift, space to depth and back, interpolation. `conv` lists them."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, need_rank


class Shuffle(Layer):
    """Channels as a table of `groups` rows, read column by column. Source: Zhang et al. 2018 (ShuffleNet), section 3.1."""

    free = True

    def __init__(self, shape: Shape, groups: int = 2) -> None:
        super().__init__()
        need_rank(shape, (3, 4), "shuffle")
        if groups < 1 or shape[0] % groups:
            raise ValueError(f"shuffle needs channels divisible by groups, got {shape[0]} channels and {groups} groups")
        self.groups = groups

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [] if args.get("groups") == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)  # (B, C, ..) -> (B, g, C/g, ..) -> (B, C, ..)


class Shift(Layer):
    """Each group of channels moved by one of the kernel's offsets, zeros moved in: no parameters, no arithmetic.

    The channels left over stay in place. Source: Wu et al. 2018 (Shift), section 3.
    """

    free = True

    def __init__(self, shape: Shape, kernel: int = 3, dilation: int = 1) -> None:
        super().__init__()
        need_rank(shape, (3,), "shift")
        if kernel < 1 or kernel % 2 == 0 or dilation < 1:
            raise ValueError(f"shift needs an odd kernel and dilation >= 1, got kernel {kernel}, dilation {dilation}")
        self.reach = kernel // 2 * dilation
        self.share = shape[0] // kernel**2
        steps = [i * dilation for i in range(kernel)]
        self.offsets = [(row, column) for row in steps for column in steps]

    def forward(self, x: Tensor) -> Tensor:
        height, width, moved = x.shape[2], x.shape[3], self.share * len(self.offsets)
        wide = F.pad(x, [self.reach] * 4)  # (B, C, H, W) -> (B, C, H + 2r, W + 2r)
        parts = []
        for i, (row, column) in enumerate(self.offsets if self.share else []):
            parts.append(wide[:, i * self.share : (i + 1) * self.share, row : row + height, column : column + width])
        return torch.cat([*parts, x[:, moved:]], 1)


class SpaceToDepth(Layer):
    """Squares of `block` positions as channels; loses nothing. Shapes: (C, H, W) -> (C * block^2, H / block, W / block)."""

    free = True

    def __init__(self, shape: Shape, block: int = 2) -> None:
        super().__init__()
        need_rank(shape, (3,), "space_to_depth")
        if block < 1 or shape[1] % block or shape[2] % block:
            raise ValueError(f"space_to_depth needs a height and width divisible by block={block}, got {shape[1]} x {shape[2]}")
        self.block = block

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [] if args.get("block") == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self.block)


class DepthToSpace(Layer):
    """The inverse of space_to_depth. Shapes: (C, H, W) -> (C / block^2, H * block, W * block). Source: Shi et al. 2016, equation 4."""

    free = True

    def __init__(self, shape: Shape, block: int = 2) -> None:
        super().__init__()
        need_rank(shape, (3,), "depth_to_space")
        if block < 1 or shape[0] % block**2:
            raise ValueError(f"depth_to_space needs channels divisible by block^2={block**2}, got {shape[0]}")
        self.block = block

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [] if args.get("block") == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, self.block)


class Upsample(Layer):
    """Interpolation to `scale` times the size, or to `size`. Shapes: (C, H, W) -> (C, H', W'), likewise (T, F) and video."""

    free = True

    def __init__(
        self,
        shape: Shape,
        scale: int = 2,
        mode: Literal["nearest", "bilinear"] = "nearest",
        size: int | list[int] | None = None,
    ) -> None:
        super().__init__()
        need_rank(shape, (2, 3, 4), "upsample")
        self.swap, self.scale = len(shape) == 2, scale if size is None else None
        now = shape[:1] if self.swap else shape[1:]
        self.size = [n * scale for n in now] if size is None else [size] * len(now) if isinstance(size, int) else list(size)
        if len(self.size) != len(now) or min(self.size) < 1:
            raise ValueError(f"size must be a number >= 1 or {len(now)} of them and scale >= 1, got size={size}, scale={scale}")
        self.mode = mode if mode == "nearest" else {1: "linear", 2: "bilinear", 3: "trilinear"}[len(now)]

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [] if args.get("scale") == 1 and args.get("size") is None else None

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2) if self.swap else x
        x = F.interpolate(x, self.size, mode=self.mode)
        return x.transpose(1, 2) if self.swap else x


BLOCKS = {"shuffle": Shuffle, "shift": Shift, "space_to_depth": SpaceToDepth, "depth_to_space": DepthToSpace, "upsample": Upsample}
