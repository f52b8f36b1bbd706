"""Attention inside windows of a grid of tokens, shifted between layers: its cost is linear in the area."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.activation import Act
from nasforge.blocks.core.shapes import Shape, need_rank
from nasforge.blocks.sequence.tokens import grid


class WindowAttention(Layer):
    """Multi-head self-attention inside windows of `window` x `window` tokens, with a trained bias for each head and
    distance.

    Shapes: (H*W, F) -> the same; `size: [H, W]` where it is no square. `shift`: the grid is rolled by half a window
    first, and tokens that are no neighbours do not read each other. A grid that the windows do not tile is padded;
    padding is not read. A window wider than the grid shrinks to it, without shift. Source: Liu et al. 2021 (Swin),
    section 3.2, equation 4.
    """

    def __init__(
        self,
        shape: Shape,
        heads: int = 4,
        window: int = 7,
        shift: bool = False,
        size: list[int] | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        need_rank(shape, (2,), "window_attention")
        if heads < 1 or shape[1] % heads:
            raise ValueError(f"window_attention needs features divisible by heads, got {shape[1]} and {heads}")
        if window < 1:
            raise ValueError(f"window must be at least 1 token, got {window}")
        self.heads, self.dropout = heads, dropout
        self.size = grid(shape[0], size)
        self.window = [min(window, side) for side in self.size]
        self.shift = [w // 2 if shift and w < side else 0 for w, side in zip(self.window, self.size, strict=True)]
        self.full = [-(-side // w) * w for w, side in zip(self.window, self.size, strict=True)]  # the padded grid
        self.read = nn.Linear(shape[1], 3 * shape[1], bias=bias)
        self.project = nn.Linear(shape[1], shape[1])
        tall, wide = self.window
        self.table = nn.Parameter(torch.empty((2 * tall - 1) * (2 * wide - 1), heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.distance: Tensor
        self.apart: Tensor
        self.register_buffer("distance", window_distances(tall, wide), persistent=False)
        self.register_buffer("apart", self._apart(), persistent=False)

    def _apart(self) -> Tensor:
        """Return (windows, N, N): 0 where two tokens of a window are neighbours in the grid, -inf where they are not."""
        region = torch.zeros(self.full)
        for axis, (side, full, shift) in enumerate(zip(self.size, self.full, self.shift, strict=True)):
            at = torch.arange(full)
            rolled = (at + shift) % full  # the place in the grid of what stands at `at` after the roll
            part = 2 * (rolled < shift) + (rolled >= side)  # brought round by the roll; padding
            region = region * 4 + (part[:, None] if axis == 0 else part[None, :])
        cells = self._split(region[None, :, :, None])[0, :, :, 0]  # (windows, N)
        same = cells[:, None, :] == cells[:, :, None]
        return torch.zeros(same.shape).masked_fill(~same, float("-inf"))

    def _split(self, x: Tensor) -> Tensor:
        """Cut into windows: (B, H, W, F) -> (B, windows, N, F), N the tokens of a window."""
        tall, wide = self.window
        x = x.unflatten(2, (-1, wide)).unflatten(1, (-1, tall))  # (B, H/w, w, W/w, w, F)
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _merge(self, x: Tensor) -> Tensor:
        """Undo `_split`."""
        (high, broad), (tall, wide) = self.full, self.window
        x = x.unflatten(1, (high // tall, broad // wide)).unflatten(3, (tall, wide))  # (B, H/w, W/w, w, w, F)
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        (height, width), (high, broad), (down, across) = self.size, self.full, self.shift
        x = F.pad(x.unflatten(1, (height, width)), (0, 0, 0, broad - width, 0, high - height))  # (B, H, W, F)
        if down or across:
            x = torch.roll(x, (-down, -across), (1, 2))
        x = self._merge(self.attend(self._split(x)))
        if down or across:
            x = torch.roll(x, (down, across), (1, 2))
        return x[:, :height, :width].flatten(1, 2)  # (B, T, F)

    def attend(self, x: Tensor) -> Tensor:
        """Attend inside each window: (B, windows, N, F) -> the same."""
        windows = x.shape[1]  # they go beside the heads: attention in ONNX has 4 axes
        parts = self.read(x).unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)  # (3, B, windows, heads, N, P)
        query, key, value = parts.flatten(2, 3).unbind(0)  # (B, windows*heads, N, P)
        bias = self.table[self.distance].permute(2, 0, 1)  # (heads, N, N)
        mask = (bias + self.apart.unsqueeze(1)).flatten(0, 1)  # (windows*heads, N, N)
        y = F.scaled_dot_product_attention(query, key, value, mask, self.dropout if self.training else 0.0)
        return self.project(y.unflatten(1, (windows, self.heads)).transpose(2, 3).flatten(3))


def window_distances(tall: int, wide: int) -> Tensor:
    """Return (N, N): the number of the distance between each two tokens of a window."""
    y, x = torch.meshgrid(torch.arange(tall), torch.arange(wide), indexing="ij")
    at = torch.stack([y.flatten(), x.flatten()])  # (2, N)
    down, across = at[:, :, None] - at[:, None, :]
    return (down + tall - 1) * (2 * wide - 1) + across + wide - 1


def swin_pair(
    heads: int = 4,
    window: int = 7,
    expand: float = 4.0,
    act: Act = "gelu",
    dropout: float = 0.0,
    size: list[int] | None = None,
) -> list:
    """Two transformer layers, the first with plain, the second with shifted windows.

    Source: Liu et al. 2021, equation 3.
    """
    norm = {"norm": {"kind": "layer"}}
    think = {"ffn": {"expand": expand, "act": act, "dropout": dropout}}
    blocks = []
    for shift in (False, True):
        look = {"window_attention": {"heads": heads, "window": window, "shift": shift, "size": size}}
        blocks += [{"residual": {"shortcut": "identity", "body": [norm, part]}} for part in (look, think)]
    return blocks
