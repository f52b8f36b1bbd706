"""Self-attention over the positions of an image, and the bottleneck block that uses it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, need_rank


class ImageAttention(Layer):
    """Every position of an image reads all others: o_j = v(sum_i softmax_i(f(x_i).g(x_j)) h(x_i)), f, g, h, v 1x1
    convolutions.

    Shapes: (C, H, W) -> (C, H, W), without `project` (the matrix v) -> (width, H, W). `width` is that of f, g and h
    over all heads, C/8 by default. `scale`: scores divided by sqrt(width/heads). `relative`: scores get q.r, with a
    trained vector r for each vertical and each horizontal distance, shared by the heads.
    Sources: Zhang et al. 2019 (SAGAN), equations 1 and 2; relative Srinivas et al. 2021 (BoTNet), section 3.
    """

    scope = "global"

    def __init__(
        self,
        shape: Shape,
        heads: int = 1,
        width: int | None = None,
        project: bool = True,
        scale: bool = False,
        relative: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        need_rank(shape, (3,), "image_attention")
        inner = max(shape[0] // 8, 1) if width is None else width
        if heads < 1 or inner % heads:
            raise ValueError(f"image_attention needs width divisible by heads, got width={inner}, heads={heads}")
        self.heads, self.size = heads, (shape[1], shape[2])
        self.scale = (inner // heads) ** -0.5 if scale else 1.0
        self.read = nn.Conv2d(shape[0], 3 * inner, 1, bias=bias)
        self.project = nn.Conv2d(inner, shape[0], 1, bias=bias) if project else nn.Identity()
        self.rows = self.columns = None
        if relative:
            self.rows, self.columns = (distances(side, inner // heads) for side in self.size)
            y, x = torch.meshgrid(*(torch.arange(side) for side in self.size), indexing="ij")
            self.register_buffer("row_of", places(y.flatten(), shape[1]), persistent=False)
            self.register_buffer("column_of", places(x.flatten(), shape[2]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.read(x).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(3, 4)  # (B, 3, heads, H*W, P)
        query, key, value = parts.unbind(1)
        bias = None if self.rows is None else self.bias(query * self.scale)
        y = F.scaled_dot_product_attention(query, key, value, bias, scale=self.scale)
        return self.project(y.transpose(2, 3).flatten(1, 2).unflatten(2, self.size))  # (B, heads, H*W, P) -> (B, C, H, W)

    def bias(self, query: Tensor) -> Tensor:
        """Return what distance alone adds to the scores: (B, heads, H*W, P) -> (B, heads, H*W, H*W)."""
        spread = (query.shape[0], self.heads, -1, -1)
        down = (query @ self.rows.T).gather(3, self.row_of.expand(spread))  # type: ignore[union-attr, operator]
        across = (query @ self.columns.T).gather(3, self.column_of.expand(spread))  # type: ignore[union-attr, operator]
        return (down.unsqueeze(4) + across.unsqueeze(3)).flatten(3)  # (.., H, 1) + (.., 1, W)


def distances(side: int, width: int) -> nn.Parameter:
    """Return (2*side - 1, P): a trained vector for each distance from -(side - 1) to side - 1."""
    return nn.Parameter(torch.randn(2 * side - 1, width) * width**-0.5)


def places(at: Tensor, side: int) -> Tensor:
    """Return (positions, side): the number of the distance from each position to each row (or column)."""
    return torch.arange(side)[None, :] - at[:, None] + side - 1


def bot(out: int, width: int | None = None, heads: int = 4, stride: int = 1, relative: bool = True) -> dict:
    """A bottleneck block with attention in place of its 3x3 convolution; with stride 2 an average pool follows the
    attention.

    `width` = out / 4. Source: Srinivas et al. 2021 (BoTNet), figures 1 and 4.
    """
    inner = max(out // 4, 1) if width is None else width
    attention = {"heads": heads, "width": inner, "project": False, "scale": True, "relative": relative}
    shrink = [{"pool": {"kind": "avg", "kernel": stride, "ceil": True}}] if stride > 1 else []
    body = [
        {"conv": {"out": inner, "kernel": 1}},
        {"image_attention": attention},
        *shrink,
        {"norm": {"kind": "batch"}},
        "relu",
        {"conv": {"out": out, "kernel": 1, "act": "none"}},
    ]
    return {"residual": {"body": body, "act": "relu"}}
