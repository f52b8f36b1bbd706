"""Gates between stages and between the two paths of a residual: BAM, and the competition of residual and identity."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.core.shapes import Make, Node, Shape, divisible, need_rank, run


class BottleneckAttention(Layer):
    """x (1 + sigmoid(M_c(x) M_s(x))): a gate over maps times one over positions. Shapes: (C, H, W) -> the same.

    M_c is a perceptron on the mean of each map, M_s a 1x1, two dilated 3x3 and a 1x1 convolution, all narrow (`ratio` of the channels).
    Source: Park et al. 2018 (BAM), section 3; norm and bias as in the authors' code.
    """

    scope = "global"

    def __init__(self, shape: Shape, ratio: float = 0.0625, dilation: int = 4) -> None:
        super().__init__()
        need_rank(shape, (3,), "bam")
        if not ratio > 0 or dilation < 1:
            raise ValueError(f"bam needs ratio > 0 and dilation >= 1, got ratio={ratio}, dilation={dilation}")
        count, inner = shape[0], divisible(shape[0] * ratio, 1)
        self.reduce, self.reduce_norm = nn.Linear(count, inner), nn.BatchNorm1d(inner)
        self.expand = nn.Linear(inner, count)
        self.convs = nn.ModuleList([nn.Conv2d(count, inner, 1)])
        self.convs.extend(nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(inner) for _ in range(3))
        self.score = nn.Conv2d(inner, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.expand(normalized(self.reduce_norm, self.reduce(x.flatten(2).mean(-1))).relu())  # (B, C)
        places = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            places = norm(conv(places)).relu()
        scores = maps[:, :, None, None] * self.score(places)  # (B, C, 1, 1) * (B, 1, H, W)
        return x * (1 + scores.sigmoid())


def normalized(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Return the batch norm of vectors (B, F); a training batch of one, which has no variance, takes the running one."""
    if x.shape[0] == 1:
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    return norm(x)


class CompetitiveResidual(Combinator):
    """y = s(x) + f(x) g, where the gate g reads the means of the maps of both, f(x) and s(x): inner imaging.

    The 2C means are one image of 2 `fold` rows and C / `fold` columns; a convolution with `ratio` C filters and a norm, the mean over the
    filters, and two full layers give the C factors. `before` is read by the body, and by the projection where the shape changes.
    Source: Hu et al. 2018 (CMPE-SE), section 3.3 and the authors' code (3x3 folded view).
    """

    reads = "all"
    scope = "global"

    def __init__(
        self, before: nn.Module, body: nn.Module, shortcut: nn.Module | None, width: int, ratio: float, kernel: int, fold: int
    ) -> None:
        super().__init__()
        self.before, self.body, self.shortcut = before, body, shortcut
        self.width, self.ratio, self.kernel, self.fold = width, ratio, kernel, fold
        inner = divisible(width * ratio, 1)
        cells = (2 * fold - kernel + 1) * (width // fold - kernel + 1)
        self.view = nn.Conv2d(1, inner, kernel, bias=False)
        self.norm = nn.BatchNorm2d(inner)
        self.reduce = nn.Linear(cells, inner, bias=False)
        self.expand = nn.Linear(inner, width, bias=False)

    @classmethod
    def build(
        cls, make: Make, shapes: tuple[Shape, ...], body: Node, before: Node = None, ratio: float = 0.0625, kernel: int = 3, fold: int = 10
    ) -> CompetitiveResidual:
        shape = shapes[0]
        need_rank(shape, (3,), "cmpe")
        first, middle = make(before, shape, "before")
        inner, after = make(body, middle, "body")
        width, stride = after[0], [-(-a // b) for a, b in zip(middle[1:], after[1:], strict=True)]
        project = {"conv": {"out": width, "kernel": 1, "stride": stride, "norm": "none", "act": "none", "bias": False}}
        skip = None if tuple(after) == tuple(shape) else make(project, middle, "shortcut")[0]
        if fold < 1 or kernel < 1 or width % fold or min(2 * fold, width // fold) < kernel:
            raise ValueError(f"cmpe needs channels divisible by fold and an image of at least the kernel, got {width}, {fold}, {kernel}")
        return cls(first, inner, skip, width, ratio, kernel, fold)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [{"cmpe": {**args, **{name: canon(args[name]) for name in ("body", "before") if name in args}}}]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        read = run(self.before, x, context)
        kept = x if self.shortcut is None else self.shortcut(read)
        new = run(self.body, read, context)
        return kept + new * self.gate(new, kept)[:, :, None, None]

    def gate(self, new: Tensor, kept: Tensor) -> Tensor:
        """Return the factors (B, C) of the residual maps."""
        means = torch.stack([part.flatten(2).mean(-1) for part in (new, kept)], -1)  # (B, C, 2)
        image = means.unflatten(1, (self.fold, -1)).transpose(2, 3).flatten(1, 2)  # (B, 2 fold, C / fold)
        view = self.norm(self.view(image.unsqueeze(1))).mean(1).flatten(1)
        return self.expand(self.reduce(view).relu()).sigmoid()


def cmpe_wide(out: int | None = None, stride: int = 1, ratio: float = 0.0625, fold: int = 10) -> list:
    """The pre-activated wide block whose maps are weighed by the competition of residual and identity.

    Source: Hu et al. 2018 (CMPE-SE), section 4.1.
    """
    bare = {"norm": "none", "act": "none", "bias": False}
    body = [{"conv": {"out": out, "stride": stride}}, {"conv": {"out": out, **bare}}]
    return [{"cmpe": {"before": ["norm", "relu"], "body": body, "ratio": ratio, "fold": fold}}]


BLOCKS = {"bam": BottleneckAttention, "cmpe": CompetitiveResidual, "cmpe_wide": cmpe_wide}
