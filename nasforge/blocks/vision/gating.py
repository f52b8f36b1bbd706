"""Gates: layers that weigh the maps or the positions of their input."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.activation import Act, activation
from nasforge.blocks.core.shapes import Shape, channels, divisible, need_rank

Gate = Literal["sigmoid", "hard_sigmoid"]


def _narrow(count: int, ratio: float, divisor: int) -> int:
    if not ratio > 0 or divisor < 1:
        raise ValueError(f"ratio must be a number above 0 and divisor >= 1, got ratio={ratio}, divisor={divisor}")
    return divisible(count * ratio, divisor)


def _over(weights: Tensor, x: Tensor) -> Tensor:
    """Return weights (B, C) as a factor for every position of x: (B, T, C) or (B, C, H, W)."""
    return weights.unsqueeze(1) if x.ndim == 3 else weights.unflatten(1, (-1, *[1] * (x.ndim - 2)))


def _mean(x: Tensor) -> Tensor:
    """Return the mean over positions, (B, C); a sequence has its channels last."""
    return x.mean(1) if x.ndim == 3 else x.flatten(2).mean(-1)


class SqueezeExcite(Layer):
    """x times s = gate(W2 act(W1 mean(x) + b1) + b2), one factor per map. Shapes: (C, H, W), (T, C), (C, T, H, W) -> the same.

    The width between is `width`, or `ratio` of the channels rounded to `divisor`. Source: Hu et al. 2018, equations 2 to 4.
    """

    scope = "global"

    def __init__(
        self, shape: Shape, ratio: float = 0.0625, width: int | None = None, divisor: int = 1,
        act: Act = "relu", gate: Gate = "sigmoid", bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        need_rank(shape, (2, 3, 4), "se")
        count = channels(shape)
        inner = _narrow(count, ratio, divisor) if width is None else width
        if inner < 1:
            raise ValueError(f"width must be a whole number >= 1, got {width}")
        self.reduce = nn.Linear(count, inner, bias=bias)
        self.expand = nn.Linear(inner, count, bias=bias)
        self.act, self.gate = activation(act), activation(gate)

    def forward(self, x: Tensor) -> Tensor:
        return x * _over(self.factors(_mean(x)), x)

    def factors(self, mean: Tensor) -> Tensor:
        """Return the factor of each map from its mean, (B, C)."""
        return self.gate(self.expand(self.act(self.reduce(mean))))


class EfficientChannel(Layer):
    """SE without a narrow layer: a filter over neighbouring channels; k follows from the channels where it is not given.

    Source: Wang et al. 2020 (ECA-Net), equations 5 and 12.
    """

    scope = "global"

    def __init__(self, shape: Shape, kernel: int | None = None) -> None:
        super().__init__()
        need_rank(shape, (2, 3, 4), "eca")
        if kernel is None:
            kernel = int(abs((math.log2(channels(shape)) + 1) / 2))
            kernel += 1 - kernel % 2
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * _over(self.factors(_mean(x)), x)

    def factors(self, mean: Tensor) -> Tensor:
        """Return the factor of each map from its mean, (B, C)."""
        return self.conv(mean.unsqueeze(1)).squeeze(1).sigmoid()  # (B, C) -> (B, 1, C) -> (B, C)


class ConvBlockAttention(Layer):
    """A gate over maps (one perceptron on their mean and their maximum), then one over positions. Shapes: (C, H, W) -> the same.

    Source: Woo et al. 2018 (CBAM), equations 2 and 3.
    """

    scope = "global"

    def __init__(self, shape: Shape, ratio: float = 0.0625, kernel: int = 7) -> None:
        super().__init__()
        need_rank(shape, (3,), "cbam")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        inner = _narrow(shape[0], ratio, 1)
        self.reduce, self.expand = nn.Linear(shape[0], inner), nn.Linear(inner, shape[0])
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        scores = [self.expand(self.reduce(part).relu()) for part in (flat.mean(-1), flat.amax(-1))]
        x = x * _over((scores[0] + scores[1]).sigmoid(), x)
        places = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)  # (B, 2, H, W)
        return x * self.norm(self.conv(places)).sigmoid()


class ConcurrentExcite(Layer):
    """A gate over maps beside one over positions, both on the input, joined. Shapes: (C, H, W) -> the same.

    Source: Roy et al. 2018 (scSE), equations 2 to 4.
    """

    scope = "global"

    def __init__(self, shape: Shape, ratio: float = 0.5, join: Literal["add", "max"] = "add") -> None:
        super().__init__()
        need_rank(shape, (3,), "scse")
        inner = _narrow(shape[0], ratio, 1)
        self.reduce, self.expand = nn.Linear(shape[0], inner), nn.Linear(inner, shape[0])
        self.conv = nn.Conv2d(shape[0], 1, 1)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        maps = x * _over(self.expand(self.reduce(_mean(x)).relu()).sigmoid(), x)
        places = x * self.conv(x).sigmoid()  # (B, 1, H, W)
        return maps + places if self.join == "add" else torch.maximum(maps, places)


class Highway(Layer):
    """y = H(x) T(x) + x (1 - T(x)), T = sigmoid(W_T x + b_T): linear on vectors and sequences, convolutions on images.

    Shapes: (F), (T, F), (C, H, W) -> the same. b_T is a learned bias minus `carry`, so that a new layer
    mostly passes x on.
    Source: Srivastava et al. 2015, equation 3 and section 2.2.
    """

    stepwise = True

    def __init__(self, shape: Shape, kernel: int = 3, act: Act = "relu", carry: float = 1.0) -> None:
        super().__init__()
        need_rank(shape, (1, 2, 3), "highway")
        count = channels(shape)
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        if len(shape) == 3:
            self.change: nn.Module = nn.Conv2d(count, count, kernel, padding=kernel // 2)
            self.pass_on: nn.Module = nn.Conv2d(count, count, kernel, padding=kernel // 2)
        else:
            self.change, self.pass_on = nn.Linear(count, count), nn.Linear(count, count)
        self.carry = carry
        self.act = activation(act, 1 if len(shape) == 3 else -1)

    def forward(self, x: Tensor) -> Tensor:
        gate = (self.pass_on(x) - self.carry).sigmoid()
        return self.act(self.change(x)) * gate + x * (1 - gate)


class SelectiveKernel(Layer):
    """Grouped convolutions of growing reach (dilation 1, 2, ...), and for each map a softmax over them. Shapes: (C, H, W) -> (out, H', W').

    Source: Li et al. 2019 (SKNet), equations 1 to 6; the width between is max(ratio * out, least).
    """

    scope = "global"

    def __init__(
        self, shape: Shape, out: int | None = None, kernel: int = 3, stride: int = 1, groups: int = 32, branches: int = 2,
        ratio: float = 0.0625, least: int = 32,
    ) -> None:  # fmt: skip
        super().__init__()
        need_rank(shape, (3,), "sk")
        after = shape[0] if out is None else out
        if min(after, groups, branches, stride) < 1 or shape[0] % groups or after % groups or kernel % 2 == 0:
            found = f"kernel={kernel}, in={shape[0]}, out={after}, groups={groups}"
            raise ValueError(f"sk needs an odd kernel and channels divisible by groups, got {found}")
        inner = max(divisible(after * ratio, 1), least)
        self.paths = nn.ModuleList(self._path(shape[0], after, kernel, stride, groups, i + 1) for i in range(branches))
        self.reduce = nn.Linear(after, inner, bias=False)
        self.norm = nn.BatchNorm1d(inner)
        self.select = nn.ModuleList(nn.Linear(inner, after, bias=False) for _ in range(branches))

    @staticmethod
    def _path(before: int, after: int, kernel: int, stride: int, groups: int, dilation: int) -> nn.Sequential:
        conv = nn.Conv2d(before, after, kernel, stride, kernel // 2 * dilation, dilation, groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.stack([path(x) for path in self.paths], 1)  # (B, M, C, H, W)
        inner = self._normalize(self.reduce(_mean(maps.sum(1)))).relu()  # (B, inner)
        weights = torch.stack([select(inner) for select in self.select], 1).softmax(1)  # (B, M, C)
        return (maps * weights[..., None, None]).sum(1)  # (B, C, H, W)

    def _normalize(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] == 1:  # one sample has no variance
            return F.batch_norm(x, self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias)
        return self.norm(x)


BLOCKS = {
    "se": SqueezeExcite, "eca": EfficientChannel, "cbam": ConvBlockAttention, "scse": ConcurrentExcite, "highway": Highway,
    "sk": SelectiveKernel,
}  # fmt: skip
