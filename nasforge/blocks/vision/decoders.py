"""Necks: joining feature maps of several stages, enlarging them, and the blocks of segmentation networks.

A layer that reads several maps gets them by name: `from: [p3, p4, p5]`, and names its own: `as: [p3, p4, p5]`. Such a
layer must be a line of its own, for a chain hands on one map only.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.activation import Act, activation
from nasforge.blocks.core.norm import NormKind, normalization
from nasforge.blocks.core.shapes import Shape, channels, divisible, need_rank
from nasforge.blocks.vision.pyramids import BiFpn, Fpn, FuseMaps, maps_of, resize

Enlarge = Literal["transposed", "bilinear", "nearest"]


class Concat(Layer):
    """All inputs side by side. Shapes: (C1, H, W), (C2, H, W), ... -> (C1 + C2 + ..., H, W); also (T, F) and (F).

    `crop`: the other maps are cut to the middle of the first one's size (Ronneberger et al. 2015, figure 1).
    """

    reads = "all"
    free = True

    def __init__(self, shapes: tuple[Shape, ...], crop: bool = False) -> None:
        super().__init__()
        several(shapes, "concat")
        self.axis = -1 if len(shapes[0]) <= 2 else 1
        sizes = [shape[:-1] if self.axis < 0 else shape[1:] for shape in shapes]
        if len({len(shape) for shape in shapes}) > 1 or (len(set(sizes)) > 1 and not crop):
            raise ValueError(f"concat needs inputs of one size, got {list(shapes)}; put resize_to before it, or give crop: true")
        if crop and (len(shapes[0]) != 3 or any(a > b for size in sizes for a, b in zip(sizes[0], size, strict=True))):
            raise ValueError(f"crop needs images, the first of them the smallest, got {list(shapes)}")
        self.size = sizes[0] if crop else None

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return torch.cat([x, *(self.cut(y) for y in context)], self.axis)

    def cut(self, y: Tensor) -> Tensor:
        """Return the middle of a map."""
        if self.size is None:
            return y
        top, left = ((side - kept) // 2 for side, kept in zip(y.shape[2:], self.size, strict=True))
        return y[:, :, top : top + self.size[0], left : left + self.size[1]]


class Add(Layer):
    """The sum of all inputs, which have one shape."""

    reads = "all"
    free = True

    def __init__(self, shapes: tuple[Shape, ...]) -> None:
        super().__init__()
        several(shapes, "add")
        if len(set(shapes)) > 1:
            raise ValueError(f"add needs inputs of one shape, got {list(shapes)}; use fuse_maps, which projects and resizes")

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        for y in context:
            x = x + y
        return x


def several(shapes: tuple[Shape, ...], what: str) -> None:
    """Raise ValueError unless there are two inputs of numbers at least."""
    if len(shapes) < 2:
        raise ValueError(f"{what} reads several inputs, got one; name an output with `as: NAME` and write `from: [last, NAME]`")
    for shape in shapes:
        channels(shape)


class ResizeTo(Layer):
    """The first map in the height and width of the second. Shapes: (C, H, W), (D, H2, W2) -> (C, H2, W2)."""

    reads = "all"
    free = True

    def __init__(self, shapes: tuple[Shape, ...], kind: Literal["bilinear", "nearest"] = "bilinear") -> None:
        super().__init__()
        maps_of(shapes, "resize_to")
        self.size, self.kind = shapes[1][1:], kind

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return resize(x, self.size, self.kind)


class Up(Layer):
    """A map enlarged `factor` times. Shapes: (C, H, W) -> (out, factor*H, factor*W), out = C * expand.

    transposed: convolution backwards with `kernel` = factor (its stride is factor); bilinear, nearest: interpolation,
    after a 1x1 convolution where the channels change. Sources: Long et al. 2015, section 3.3; Ronneberger et al.
    2015, section 2.
    """

    free = True

    def __init__(
        self, shape: Shape, kind: Enlarge = "transposed", factor: int = 2, out: int | Literal["classes"] | None = None,
        expand: float = 1, kernel: int | None = None, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        need_rank(shape, (3,), "up")
        after = divisible(shape[0] * expand, 1) if out is None else int(out)
        self.kind, self.size = kind, (shape[1] * factor, shape[2] * factor)
        span = factor if kernel is None else kernel
        if factor < 1 or (kind == "transposed" and (span < factor or (span - factor) % 2)):
            raise ValueError(f"up needs factor >= 1 and a kernel of factor + 0, 2, 4, ..., got factor={factor}, kernel={kernel}")
        self.project: nn.Module = nn.Identity()
        if kind == "transposed":
            self.project = nn.ConvTranspose2d(shape[0], after, span, factor, (span - factor) // 2, bias=bias)
        elif after != shape[0]:
            self.project = nn.Conv2d(shape[0], after, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        return x if self.kind == "transposed" else resize(x, self.size, self.kind)


class PooledMap(Layer):
    """What a map holds in each of bins x bins parts, as a map of the old size: average pool, 1x1 convolution, enlarged.

    Shapes: (C, H, W) -> (out, H, W), out = C * expand. Sources: Zhao et al. 2017 (PSPNet), section 3.2; with one bin
    Chen et al. 2017 (DeepLab v3), section 3.3.
    """

    scope = "global"

    def __init__(
        self,
        shape: Shape,
        bins: int = 1,
        out: int | None = None,
        expand: float = 1,
        norm: NormKind = "batch",
        act: Act = "relu",
    ) -> None:
        super().__init__()
        need_rank(shape, (3,), "pooled_map")
        if not 1 <= bins <= min(shape[1:]):
            raise ValueError(f"pooled_map needs bins from 1 to the shorter side, got {bins} for {tuple(shape)}")
        after = divisible(shape[0] * expand, 1) if out is None else out
        self.size = (shape[1], shape[2])
        self.edges = [[(i * side // bins, -(-(i + 1) * side // bins)) for i in range(bins)] for side in shape[1:]]
        self.project = nn.Conv2d(shape[0], after, 1, bias=norm == "none")
        self.norm = normalization(norm, (after, bins, bins))
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.stack([x[:, :, a:b].mean(2) for a, b in self.edges[0]], 2)  # (B, C, bins, W)
        x = torch.stack([rows[..., a:b].mean(3) for a, b in self.edges[1]], 3)  # (B, C, bins, bins)
        return resize(self.act(self.norm(self.project(x))), self.size, "bilinear")


# ---------------------------------------------------------------- blocks of segmentation and detection networks


def double_conv(out: int, kernel: int = 3, convs: int = 2, residual: bool = False, norm: NormKind = "batch", act: Act = "relu") -> list:
    """Two 3x3 convolutions; `residual`: with a skip around them.

    Source: Ronneberger et al. 2015, figure 1 (there without norm).
    """
    body: list = [{"conv": {"out": out, "kernel": kernel, "norm": norm, "act": act}}] * convs
    return [{"residual": {"body": body}}] if residual else body


def unet_down(out: int, kernel: int = 3, convs: int = 2, residual: bool = False, norm: NormKind = "batch", act: Act = "relu") -> list:
    """One level down the contracting path: 2x2 max pool, two convolutions.

    Source: Ronneberger et al. 2015, section 2.
    """
    return [{"pool": {"kind": "max", "kernel": 2}}, *double_conv(out, kernel, convs, residual, norm, act)]


def unet_up(
    out: int,
    kind: Enlarge = "transposed",
    kernel: int = 3,
    convs: int = 2,
    residual: bool = False,
    norm: NormKind = "batch",
    act: Act = "relu",
) -> list:
    """One level up the expanding path, `from: [last, copied map]`: up-convolution to `out` maps, the copied map beside,
    two convolutions.

    Source: Ronneberger et al. 2015, section 2. A map of odd size is stretched to the copied one, not cut.
    """
    return [
        {"up": {"kind": kind, "out": out}},
        "resize_to",
        "concat",
        *double_conv(out, kernel, convs, residual, norm, act),
    ]


def aspp(out: int = 256, rates: list[int] | None = None, image: bool = True, dropout: float = 0.0) -> list:
    """Atrous spatial pyramid pooling: 1x1, 3x3 at several dilations and the image's mean, concatenated, 1x1. Rates 6,
    12, 18 if none.

    Source: Chen et al. 2017 (DeepLab v3), section 3.3.
    """
    branches: list = [{"conv": {"out": out, "kernel": 1}}]
    branches += [{"conv": {"out": out, "kernel": 3, "dilation": rate}} for rate in (rates or [6, 12, 18])]
    branches += [{"pooled_map": {"out": out}}] if image else []
    tail: list = [{"dropout": {"p": dropout}}] if dropout else []
    return [{"parallel": {"branches": branches}}, {"conv": {"out": out, "kernel": 1}}, *tail]


def pyramid_pooling(bins: list[int] | None = None) -> dict:
    """The map beside its means over 1, 2, 3 and 6 bins, each with C / (number of bins) channels.

    Source: Zhao et al. 2017 (PSPNet), section 3.2.
    """
    counts = bins or [1, 2, 3, 6]
    return {"parallel": {"branches": [[], *({"pooled_map": {"bins": n, "expand": 1 / len(counts)}} for n in counts)]}}


def extra_level(squeeze: int, out: int, stride: int = 2, pad: Literal["same", "valid"] = "same", norm: NormKind = "none") -> list:
    """One more, smaller map at the end of a backbone: 1x1, then 3x3. Source: Liu et al. 2016 (SSD), figure 2."""
    return [
        {"conv": {"out": squeeze, "kernel": 1, "norm": norm}},
        {"conv": {"out": out, "kernel": 3, "stride": stride, "pad": pad, "norm": norm}},
    ]


BLOCKS = {
    "concat": Concat, "add": Add, "resize_to": ResizeTo, "up": Up, "pooled_map": PooledMap, "fuse_maps": FuseMaps, "fpn": Fpn,
    "bifpn": BiFpn, "double_conv": double_conv, "unet_down": unet_down, "unet_up": unet_up, "aspp": aspp,
    "pyramid_pooling": pyramid_pooling, "extra_level": extra_level,
}  # fmt: skip
