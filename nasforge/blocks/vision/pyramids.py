"""Layers that read and give several feature maps, from fine to coarse."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.activation import Act, activation
from nasforge.blocks.core.shapes import Shape, need_rank


def maps_of(shapes: tuple[Shape, ...], what: str) -> None:
    """Raise ValueError unless there are two images at least."""
    if len(shapes) < 2:
        raise ValueError(f"{what} reads several maps, got one; name maps with `as: c3` and write `from: [c3, c4, c5]`")
    for shape in shapes:
        need_rank(shape, (3,), what)


def resize(x: Tensor, size: tuple[int, ...], kind: str) -> Tensor:
    """Return the map in another height and width (nearest, or bilinear between the centres of pixels)."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size, mode=kind, align_corners=False if kind == "bilinear" else None)


def shrink(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the largest values of a map in a smaller size: 3x3 max pool with the step between the sizes."""
    step = [max(-(-side // to), 1) for side, to in zip(x.shape[2:], size, strict=True)]
    return resize(F.max_pool2d(x, 3, step, 1), size, "nearest")


def fine_to_coarse(shapes: tuple[Shape, ...], what: str) -> list[tuple[int, ...]]:
    """Return the sizes of maps. Raise ValueError unless they fall."""
    maps_of(shapes, what)
    sizes = [tuple(shape[1:]) for shape in shapes]
    if any(a < b for fine, coarse in pairwise(sizes) for a, b in zip(fine, coarse, strict=True)):
        raise ValueError(f"{what} reads maps from fine to coarse, got the sizes {sizes}; turn round the names in `from`")
    return sizes


class FuseMaps(Layer):
    """Several maps as one of the first one's size: 1x1 convolutions to `out` channels where needed, enlarged, added.

    Shapes: (C, H, W), (D, H2, W2), ... -> (out, H, W), out = C; join concat: side by side, without convolutions.
    Sources: Long et al. 2015 (FCN), section 4.2 (scores of a shallow map plus enlarged deeper ones); Kirillov et al.
    2019, figure 3.
    """

    reads = "all"
    free = True

    def __init__(
        self,
        shapes: tuple[Shape, ...],
        out: int | Literal["classes"] | None = None,
        join: Literal["add", "concat"] = "add",
        kind: Literal["bilinear", "nearest"] = "bilinear",
    ) -> None:
        super().__init__()
        maps_of(shapes, "fuse_maps")
        if join == "concat" and out is not None:
            raise ValueError("fuse_maps with join: concat keeps all channels; leave out `out`, or put a 1x1 conv after it")
        after = shapes[0][0] if out is None else int(out)
        self.size, self.join, self.kind = shapes[0][1:], join, kind
        keep = [join == "concat" or shape[0] == after for shape in shapes]
        self.laterals = nn.ModuleList(nn.Identity() if k else nn.Conv2d(s[0], after, 1) for k, s in zip(keep, shapes, strict=True))

    def forward(self, *maps: Tensor) -> Tensor:
        same = [resize(lateral(x), self.size, self.kind) for lateral, x in zip(self.laterals, maps, strict=True)]
        return torch.cat(same, 1) if self.join == "concat" else torch.stack(same).sum(0)


class Fpn(Layer):
    """Feature pyramid network: maps from fine to coarse -> as many maps of `out` channels, and `extra` coarser ones.

    Shapes: (C2, H, W), (C3, H/2, W/2), ... -> (out, H, W), (out, H/2, W/2), .... 1x1 laterals, from the top down
    nearest enlarging and addition, 3x3 smoothing. Source: Lin et al. 2017, section 3.
    """

    reads = "all"

    def __init__(self, shapes: tuple[Shape, ...], out: int = 256, extra: int = 0) -> None:
        super().__init__()
        self.sizes, self.extra = fine_to_coarse(shapes, "fpn"), extra
        self.laterals = nn.ModuleList(nn.Conv2d(shape[0], out, 1) for shape in shapes)
        self.smooth = nn.ModuleList(nn.Conv2d(out, out, 3, padding=1) for _ in shapes)

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        levels = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for i in reversed(range(len(levels) - 1)):
            levels[i] = levels[i] + resize(levels[i + 1], self.sizes[i], "nearest")
        outs = [smooth(x) for smooth, x in zip(self.smooth, levels, strict=True)]
        for _ in range(self.extra):
            outs.append(F.max_pool2d(outs[-1], 1, 2))  # every second position
        return tuple(outs)


class Meeting(nn.Module):
    """Maps of one shape, weighted by trained shares, through a depthwise separable convolution. (C, H, W) each -> (C,
    H, W).

    Source: Tan et al. 2020 (EfficientDet), section 3.3, fast normalised fusion.
    """

    def __init__(self, count: int, width: int, act: str) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(count))
        self.act = activation(act)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, *maps: Tensor) -> Tensor:
        shares = self.weights.relu()
        shares = shares / (shares.sum() + 1e-4)
        total = torch.stack([share * x for share, x in zip(shares.unbind(0), maps, strict=True)]).sum(0)
        return self.norm(self.pointwise(self.depthwise(self.act(total))))


class BiFpn(Layer):
    """One bidirectional pyramid layer: maps from fine to coarse -> as many maps of `out` channels.

    First from coarse to fine, then back; each of the 2*(n - 1) meetings weighs its two or three maps. Maps of another
    width come through a 1x1 convolution. Source: Tan et al. 2020 (EfficientDet), section 3.2, figure 2d.
    """

    reads = "all"

    def __init__(self, shapes: tuple[Shape, ...], out: int = 64, act: Act = "swish") -> None:
        super().__init__()
        self.sizes = fine_to_coarse(shapes, "bifpn")
        self.laterals = nn.ModuleList(nn.Identity() if s[0] == out else _lateral(s[0], out) for s in shapes)
        last = len(shapes) - 1
        self.down = nn.ModuleList(Meeting(2, out, act) for _ in range(last))
        self.back = nn.ModuleList(Meeting(3 if i < last else 2, out, act) for i in range(1, last + 1))

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        inputs = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        middle = list(inputs)
        for i in reversed(range(len(inputs) - 1)):
            middle[i] = self.down[i](inputs[i], resize(middle[i + 1], self.sizes[i], "nearest"))
        outs = [middle[0]]
        for i, meet in enumerate(self.back, 1):
            finer = shrink(outs[-1], self.sizes[i])
            outs.append(meet(inputs[i], middle[i], finer) if i < len(inputs) - 1 else meet(inputs[i], finer))
        return tuple(outs)


def _lateral(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
