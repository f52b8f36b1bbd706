"""Maps moved by amounts that are learned, and the residual unit made of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, need_rank


class ActiveShift(Layer):
    """Each map moved down and right by two learned numbers, between positions by bilinear interpolation; zeros outside.

    Shapes: (C, H, W) -> (C, ceil(H / stride), ceil(W / stride)). The four products of a position are not counted, as in the paper.
    `reach`: the amounts are drawn from -reach to reach. Source: Jeon & Kim 2018, equations 5 to 7.
    """

    free = True

    def __init__(self, shape: Shape, stride: int = 1, reach: float = 1.0) -> None:
        super().__init__()
        need_rank(shape, (3,), "active_shift")
        if stride < 1 or reach < 0:
            raise ValueError(f"active_shift needs stride >= 1 and reach >= 0, got stride={stride}, reach={reach}")
        self.stride = stride
        self.amounts = nn.Parameter(torch.empty(2, shape[0]).uniform_(-reach, reach))  # rows, columns

    def forward(self, x: Tensor) -> Tensor:
        x = moved(x, self.amounts[0], self.stride)
        return moved(x.transpose(2, 3), self.amounts[1], self.stride).transpose(2, 3)


def moved(x: Tensor, amounts: Tensor, stride: int) -> Tensor:
    """Return y[c, i] = x[c, i * stride + amounts[c]] along the height, interpolated. Shapes: (B, C, H, W) -> (B, C, ceil(H/stride), W)."""
    below = amounts.detach().floor()
    share = (amounts - below)[:, None, None]
    places = torch.arange(0, x.shape[2], stride, device=x.device)[None, :] + below.long()[:, None]  # (C, H')
    return (1 - share) * taken(x, places) + share * taken(x, places + 1)


def taken(x: Tensor, places: Tensor) -> Tensor:
    """Return the rows `places` (C, H') of the maps of x (B, C, H, W); rows outside are zero."""
    framed = F.pad(x, [0, 0, 1, 1])  # a row of zeros above and below
    rows = (places + 1).clamp(0, x.shape[2] + 1)
    return framed.gather(2, rows[None, :, :, None].expand(x.shape[0], -1, -1, x.shape[3]))


def active_shift_unit(out: int | None = None, stride: int = 1) -> list:
    """Norm, activation, 1x1, norm, activation, shift, 1x1 and a shortcut; a norm and an activation must follow the last unit.

    Source: Jeon & Kim 2018, figure 4 (d); widths as in the released AS-ResNet.
    """
    bare = {"kernel": 1, "norm": "none", "act": "none", "bias": False}
    body = [{"conv": {"out": out, "kernel": 1}}, {"active_shift": {"stride": stride}}, {"conv": {"out": out, **bare}}]
    return [{"residual_unit": {"body": body, "before": ["norm", "relu"], "norm": "none"}}]


BLOCKS = {"active_shift": ActiveShift, "active_shift_unit": active_shift_unit}
