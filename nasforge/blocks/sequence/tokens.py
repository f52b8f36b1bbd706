"""Tokens: embeddings, positions, and the ways between images, tokens and vectors.

A grid of tokens is (T, F) with T = H*W, rows first; a layer that needs the grid takes `size: [H, W]`, without it a
square.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, Tokens, channels, need_rank


def grid(length: int, size: list[int] | None) -> tuple[int, int]:
    """Return (H, W) of a grid of `length` tokens. Raise ValueError if they do not fill it."""
    side = math.isqrt(length)
    height, width = (side, side) if size is None else (size + size)[:2]
    if size is not None and len(size) != 2:
        raise ValueError(f"size must be [height, width], got {size}")
    if height * width != length:
        raise ValueError(f"{length} tokens do not fill a grid of {height} x {width}; give `size: [height, width]` with that product")
    return height, width


class Embedding(Layer):
    """A trainable vector for each token: one-hot times matrix, as a lookup. Shapes: Tokens(T, V) -> (T, out).

    `scale`: times sqrt(out). Source: Vaswani et al. 2017, section 3.4.
    """

    free = True
    stepwise = True

    def __init__(self, shape: Shape, out: int, scale: bool = False) -> None:
        super().__init__()
        if not isinstance(shape, Tokens):
            raise ValueError(f"embedding reads tokens, got numbers {tuple(shape)}; write `input: {{tokens: V, length: T}}`")
        self.table = nn.Embedding(shape.vocab, out)
        self.gain = math.sqrt(out) if scale else 1.0
        nn.init.normal_(self.table.weight, std=1 / self.gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x) * self.gain  # (B, T) -> (B, T, out)


class TiedEmbedding(Embedding):
    """An embedding that also gives its vectors, for a layer that weighs with the same. Shapes: Tokens(T, V) -> ((V, out), (T, out)).

    Name them with `as: [table, words]` and give them to `tied_linear`: `from: [last, table]`. Source: Press & Wolf 2017, section 2.
    """

    stepwise = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        table = self.table.weight if torch.is_grad_enabled() else self.table.weight.detach()  # hooks want no view of a parameter
        return table.expand(x.shape[0], -1, -1), super().forward(x)


class TiedLinear(Layer):
    """Scores of all tokens with the vectors of a `tied_embedding` as weights. Shapes: (T, F) or (F), and (V, F) -> (T, V) or (V)."""

    reads = "all"

    def __init__(self, shapes: tuple[Shape, ...], bias: bool = True) -> None:
        super().__init__()
        if len(shapes) != 2 or len(shapes[0]) not in (1, 2) or len(shapes[1]) != 2 or shapes[0][-1] != shapes[1][1]:
            got = [tuple(shape) for shape in shapes]
            raise ValueError(f"tied_linear needs features as wide as the table of a tied_embedding (from: [last, table]), got {got}")
        self.bias = nn.Parameter(torch.zeros(shapes[1][0])) if bias else None

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        if table.stride(0) == 0:  # one table for all samples, as a tied_embedding gives it
            return F.linear(x, table[0], self.bias)
        y = (table @ x.unsqueeze(2)).squeeze(2) if x.ndim == 2 else x @ table.transpose(1, 2)
        return y if self.bias is None else y + self.bias


class Transpose(Layer):
    """Steps as features and features as steps, to mix tokens. Shapes: (T, F) -> (F, T). Source: Tolstikhin et al. 2021, section 2."""

    free = True
    scope = "global"  # what follows mixes all steps

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        need_rank(shape, (2,), "transpose")

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def sinusoid(length: int, width: int, split: bool = False) -> Tensor:
    """Return (length, width) sines and cosines of geometric wavelengths.

    Interleaved: PE(pos, 2i) = sin(pos / 10000^(2i/width)), PE(pos, 2i+1) = cos(same); wavelengths from 2 pi to 10000
    * 2 pi.
    `split`: all sines, then all cosines, with exponents i / (width/2 - 1), as in the tensor2tensor code.
    Source: Vaswani et al. 2017, section 3.5.
    """
    half = (width + 1) // 2
    exponent = torch.arange(half) / max(half - 1, 1) if split else torch.arange(half) * 2 / width
    angle = torch.arange(length)[:, None] / 10000**exponent  # (T, width/2)
    if split:
        return torch.cat([angle.sin(), angle.cos()], 1)[:, :width]
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1)[:, :width]


class Positions(Layer):
    """Adds where a token stands to what it is. Shapes: (T, F) -> (T, F).

    kind: sinusoidal or sinusoidal_split (see `sinusoid`), or learned (Dosovitskiy et al. 2021, equation 1).
    """

    free = True
    stepwise = True

    def __init__(self, shape: Shape, kind: Literal["sinusoidal", "sinusoidal_split", "learned"] = "sinusoidal") -> None:
        super().__init__()
        need_rank(shape, (2,), "positions")
        length, width = shape
        if kind == "learned":
            self.table: Tensor = nn.Parameter(torch.empty(length, width))
            nn.init.trunc_normal_(self.table, std=0.02)
        else:
            self.register_buffer("table", sinusoid(length, width, kind == "sinusoidal_split"), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class Patches(Layer):
    """Patches of an image, flattened and projected. Shapes: (C, H, W) -> (T, out) with T = H/size * W/size.

    `stride` below `size`: patches overlap; `pad`: zeros on every side. Source: Dosovitskiy et al. 2021, equation 1.
    """

    def __init__(self, shape: Shape, size: int, out: int, stride: int | None = None, pad: int = 0, bias: bool = True) -> None:
        super().__init__()
        need_rank(shape, (3,), "patches")
        step = size if stride is None else stride
        rests = [(side + 2 * pad - size) % step for side in shape[1:]]
        if any(side + 2 * pad < size for side in shape[1:]) or (stride is None and any(rests)):
            raise ValueError(f"patches of {size} do not tile {shape[1]} x {shape[2]} (pad {pad}); use a divisor, or give stride")
        self.project = nn.Conv2d(shape[0], out, size, step, pad, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, T, out)


class ClassToken(Layer):
    """One more, trainable token in front, for the head to read.

    Shapes: (T, F) -> (1 + T, F). Source: Devlin et al. 2019.
    """

    free = True

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        need_rank(shape, (2,), "class_token")
        self.token = nn.Parameter(torch.empty(1, 1, shape[1]))
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)


class Take(Layer):
    """One step of a sequence: the first, the last or a number (negative: from the end). Shapes: (T, F) -> (F)."""

    free = True

    def __init__(self, shape: Shape, index: int | Literal["first", "last"] = "first") -> None:
        super().__init__()
        need_rank(shape, (2,), "take")
        self.index = 0 if index == "first" else -1 if index == "last" else int(index)
        if not -shape[0] <= self.index < shape[0]:
            raise ValueError(f"take reads one of {shape[0]} steps, got index {index}")

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.index]


class ToImage(Layer):
    """A grid of tokens as an image.

    Shapes: (H*W, F) -> (F, H, W). `skip`: tokens in front that are dropped (class tokens).
    """

    free = True

    def __init__(self, shape: Shape, size: list[int] | None = None, skip: int = 0) -> None:
        super().__init__()
        need_rank(shape, (2,), "to_image")
        self.skip = skip
        self.size = grid(shape[0] - skip, size)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.skip :].transpose(1, 2).unflatten(2, self.size)


class ToSequence(Layer):
    """Anything as a sequence; `by` says what one step is.

    pixel: (C, H, W) -> (H*W, C); row: -> (H, C*W); column: -> (W, C*H); frame: (C, T, H, W) -> (T, C*H*W); value: (F)
    -> (F, 1).
    """

    free = True

    def __init__(self, shape: Shape, by: Literal["pixel", "row", "column", "frame", "value"] = "pixel") -> None:
        super().__init__()
        need_rank(shape, {"frame": (4,), "value": (1,)}.get(by, (3,)), f"to_sequence by {by}")
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        if self.by == "value":
            return x.unsqueeze(2)
        if self.by == "pixel":
            return x.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)
        steps = {"row": 2, "column": 3, "frame": 2}[self.by]
        return x.movedim(steps, 1).flatten(2)  # (B, C, H, W) -> (B, H, C*W)


class JoinSteps(Layer):
    """Every `count` neighbouring steps as one, their features side by side. Shapes: (T, F) -> (T // count, count*F).

    Source: Chan et al. 2016 (pyramidal recurrent encoder), equation 5.
    """

    free = True

    def __init__(self, shape: Shape, count: int = 2) -> None:
        super().__init__()
        need_rank(shape, (2,), "join_steps")
        if not 1 <= count <= shape[0]:
            raise ValueError(f"join_steps needs count from 1 to the {shape[0]} steps there are, got {count}")
        self.count, self.kept = count, shape[0] // count * count

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.kept].unflatten(1, (-1, self.count)).flatten(2)


class PatchMerging(Layer):
    """2 x 2 neighbouring tokens as one, normalised and projected. Shapes: (H*W, F) -> (ceil(H/2)*ceil(W/2), out), out =
    2*F.

    Source: Liu et al. 2021 (Swin), section 3.1; the projection has no bias in their code.
    """

    def __init__(self, shape: Shape, out: int | None = None, size: list[int] | None = None) -> None:
        super().__init__()
        need_rank(shape, (2,), "patch_merging")
        width = channels(shape)
        self.size = grid(shape[0], size)
        self.norm = nn.LayerNorm(4 * width)
        self.project = nn.Linear(4 * width, 2 * width if out is None else out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.size
        x = F.pad(x.unflatten(1, self.size), (0, 0, 0, width % 2, 0, height % 2))  # (B, H, W, F), both even
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, F)
        return self.project(self.norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)))  # (B, T/4, 4F) -> (B, T/4, out)


BLOCKS = {
    "embedding": Embedding, "tied_embedding": TiedEmbedding, "tied_linear": TiedLinear, "transpose": Transpose,
    "positions": Positions, "patches": Patches, "class_token": ClassToken, "take": Take, "to_image": ToImage,
    "to_sequence": ToSequence, "join_steps": JoinSteps, "patch_merging": PatchMerging,
}  # fmt: skip
