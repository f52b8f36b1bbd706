"""Recurrent layers: simple, gated and long short-term memory; their stacks; layers applied to each step.

The usual cells run in torch's fused kernels; those of `recurrent_steps.py` run step by step.
"""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.core.shapes import Make, Node, Shape, need_rank, run
from nasforge.blocks.sequence.conv_lstm import ConvLSTM
from nasforge.blocks.sequence.recurrent_stack import Fused, Levels, fused_levels, step_levels
from nasforge.blocks.sequence.recurrent_steps import GruResetBefore, LstmSteps

Bias = Literal["single", "double"]
Cell = Literal["rnn", "gru", "lstm"]
Merge = Literal["concat", "add"]
Output = Literal["sequence", "last"]


def _simpler(name: str, args: dict[str, Any]) -> list[Any]:
    """Return the layer without what has no effect: merge in one direction, dropout between levels where there is one level."""
    dead = {"merge"} if not args.get("bidirectional") else set()
    dead |= {"dropout"} if args.get("layers", 1) == 1 else set()
    return [{name: {k: v for k, v in args.items() if k not in dead}}]


def _check(shape: Shape, hidden: int, layers: int, dropout: float, what: str) -> int:
    """Return the features of the input. Raise ValueError if the layer cannot be."""
    need_rank(shape, (2,), what)
    if hidden < 1 or layers < 1 or not 0 <= dropout < 1:
        raise ValueError(f"{what} needs hidden >= 1, layers >= 1, dropout from 0 to below 1, got {hidden}, {layers}, {dropout}")
    return shape[1]


class Rnn(Layer):
    """h_t = act(U x_t + V h_{t-1} + b), h_0 = 0. Shapes: (T, K) -> (T, N), output last: (N); 2*N both ways with merge
    concat.

    `dropout` is between levels. Parameters of a level: K*N + N*N + N. Source: Elman 1990; both ways Schuster & Paliwal
    1997.
    """

    scope = "global"

    def __init__(
        self,
        shape: Shape,
        hidden: int,
        layers: int = 1,
        bidirectional: bool = False,
        merge: Merge = "concat",
        dropout: float = 0.0,
        output: Output = "sequence",
        act: Literal["tanh", "relu"] = "tanh",
        bias: Bias = "single",
    ) -> None:
        super().__init__()
        before = _check(shape, hidden, layers, dropout, "rnn")
        levels = fused_levels(f"rnn_{act}", before, hidden, layers, bidirectional, merge, dropout, bias)
        self.levels = Levels(levels, hidden, bidirectional, merge, dropout, output)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any]:
        return _simpler("rnn", args)

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)


class Gru(Layer):
    """Gated recurrent unit. Shapes as of rnn; parameters of a level: 3*(K*N + N*N + N).

    reset after: candidate tanh(W x + b + r*(U h)), torch's fused form; before: tanh(W x + b + U (r*h)), as first
    published, run step by step. h_t = z h_{t-1} + (1 - z) candidate; papers also write 1 - z for z, which is the same
    function. `bias` double is for reset after. Source: Cho et al. 2014, equations 5 to 8.
    """

    scope = "global"

    def __init__(
        self,
        shape: Shape,
        hidden: int,
        layers: int = 1,
        bidirectional: bool = False,
        merge: Merge = "concat",
        dropout: float = 0.0,
        output: Output = "sequence",
        reset: Literal["after", "before"] = "after",
        bias: Bias = "single",
    ) -> None:
        super().__init__()
        before = _check(shape, hidden, layers, dropout, "gru")
        if reset == "before" and bias == "double":
            raise ValueError("reset: before has one bias; use bias: single, or reset: after")
        if reset == "before":
            levels = step_levels(lambda n: GruResetBefore(n, hidden), before, hidden, layers, bidirectional, merge)
        else:
            levels = fused_levels("gru", before, hidden, layers, bidirectional, merge, dropout, bias)
        self.levels = Levels(levels, hidden, bidirectional, merge, dropout, output)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any]:
        return _simpler("gru", args)

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)


class Lstm(Layer):
    """Long short-term memory: c_t = f c_{t-1} + i tanh(..), h_t = o tanh(c_t).

    Shapes as of rnn; parameters of a level: 4*(K*N + N*N + N).
    cell: standard (fused); peephole (gates see the cell state, 3*N parameters more) and no_forget (f = 1, 3 gates'
    parameters) run step by step. `bias` double is for standard.
    Sources: Hochreiter & Schmidhuber 1997 (no_forget); Gers et al. 2000 (standard); Gers & Schmidhuber 2000
    (peephole).
    """

    scope = "global"

    def __init__(
        self,
        shape: Shape,
        hidden: int,
        layers: int = 1,
        bidirectional: bool = False,
        merge: Merge = "concat",
        dropout: float = 0.0,
        output: Output = "sequence",
        cell: Literal["standard", "peephole", "no_forget"] = "standard",
        bias: Bias = "single",
    ) -> None:
        super().__init__()
        before = _check(shape, hidden, layers, dropout, "lstm")
        if cell != "standard" and bias == "double":
            raise ValueError(f"cell: {cell} has one bias; use bias: single, or cell: standard")
        if cell == "standard":
            levels = fused_levels("lstm", before, hidden, layers, bidirectional, merge, dropout, bias)
        else:
            forget, peephole = cell != "no_forget", cell == "peephole"
            levels = step_levels(lambda n: LstmSteps(n, hidden, forget, peephole), before, hidden, layers, bidirectional, merge)
        self.levels = Levels(levels, hidden, bidirectional, merge, dropout, output)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any]:
        return _simpler("lstm", args)

    def forward(self, x: Tensor) -> Tensor:
        return self.levels(x)


class ReNet(Layer):
    """Recurrent layers that sweep an image down and up, then right and left. Shapes: (C, H, W) -> (2*hidden, H/patch,
    W/patch).

    Source: Visin et al. 2015, section 2.
    """

    scope = "global"

    def __init__(self, shape: Shape, hidden: int, patch: int = 1, cell: Cell = "gru") -> None:
        super().__init__()
        need_rank(shape, (3,), "renet")
        if any(side % patch for side in shape[1:]):
            raise ValueError(f"renet needs sides divisible by patch, got {shape[1]} x {shape[2]} and {patch}")
        kind = "rnn_tanh" if cell == "rnn" else cell
        self.patch = patch
        self.down = Fused(kind, shape[0] * patch * patch, hidden, 1, True, "single", 0.0)
        self.across = Fused(kind, 2 * hidden, hidden, 1, True, "single", 0.0)
        self.size = (shape[1] // patch, shape[2] // patch)

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.size
        x = F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x
        x = self.down(x.permute(0, 3, 2, 1).flatten(0, 1))  # (B, C, H, W) -> (B*W, H, 2N)
        x = x.unflatten(0, (-1, width)).transpose(1, 2).flatten(0, 1)  # (B*H, W, 2N)
        return self.across(x).unflatten(0, (-1, height)).permute(0, 3, 1, 2)  # (B, 2N, H, W)


class TimeDistributed(Combinator):
    """One block, with the same weights, applied to each step: vectors of (T, F), images of (C, T, H, W)."""

    free = True

    def __init__(self, block: nn.Module, steps: int) -> None:
        super().__init__()
        self.block, self.steps = block, steps

    @classmethod
    def build(cls, make: Make, shapes: tuple[Shape, ...], block: Node) -> TimeDistributed:
        shape = shapes[0]
        need_rank(shape, (2, 4), "time_distributed")
        module, out = make(block, shape[1:] if len(shape) == 2 else (shape[0], *shape[2:]), "block")
        if len(out) not in (1, 3):
            raise ValueError(f"the block of time_distributed must give a vector or an image for each step, got {tuple(out)}")
        return cls(module, shape[0] if len(shape) == 2 else shape[1])

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        block = canon(args.get("block"))
        return [{"time_distributed": {"block": block}}] if block else []

    def forward(self, x: Tensor) -> Tensor:
        steps = x if x.ndim == 3 else x.transpose(1, 2)  # (B, T, ..)
        y = run(self.block, steps.flatten(0, 1), ()).unflatten(0, (-1, self.steps))
        return y if y.ndim == 3 else y.transpose(1, 2)  # (B, T, F) or (B, C, T, H, W)


# ---------------------------------------------------------------- stacks


def stacked(cell: Cell, widths: list[int], bidirectional: bool = False, dropout: float = 0.0, output: Output = "sequence") -> list:
    """Recurrent layers of these widths, dropout between them, the output of the last."""
    layers: list = []
    for i, width in enumerate(widths):
        final = i == len(widths) - 1
        layers.append({cell: {"hidden": width, "bidirectional": bidirectional, "output": output if final else "sequence"}})
        layers += [{"dropout": {"p": dropout}}] if dropout and not final else []
    return layers


def residual_recurrent(
    cell: Cell, hidden: int, layers: int = 2, bidirectional: bool = False, merge: Merge = "concat", dropout: float = 0.0
) -> list:
    """Recurrent layers, each with a skip around it where the width stays.

    Source: Wu et al. 2016 (GNMT), section 3.1.
    """
    layer: list = [{cell: {"hidden": hidden, "bidirectional": bidirectional, "merge": merge}}]
    layer += [{"dropout": {"p": dropout}}] if dropout else []
    return [{"residual": {"shortcut": "match", "body": layer}}] * layers


def pyramidal(cell: Cell, hidden: int, layers: int = 3, factor: int = 2, bidirectional: bool = True) -> list:
    """Recurrent layers; each above the first reads `factor` neighbouring steps of the one below as one.

    Source: Chan et al. 2016 (Listen, attend and spell), equation 5.
    """
    layer = {cell: {"hidden": hidden, "bidirectional": bidirectional}}
    return [layer, *[block for _ in range(layers - 1) for block in ({"join_steps": {"count": factor}}, layer)]]


def tcn_block(
    out: int,
    kernel: int = 3,
    dilation: int = 1,
    convs: int = 2,
    dropout: float = 0.0,
    weight: Literal["plain", "norm"] = "norm",
) -> dict:
    """Dilated causal convolutions with a skip, 1x1 where the width changes. Source: Bai et al. 2018, figure 1b."""
    conv = {"conv": {"out": out, "kernel": kernel, "dilation": dilation, "pad": "causal", "norm": "none", "weight": weight}}
    layer: list = [conv, {"dropout": {"p": dropout, "channels": True}}] if dropout else [conv]
    return {"residual": {"body": layer * convs, "act": "relu"}}


def tcn(out: int, levels: int = 3, kernel: int = 3, convs: int = 2, dropout: float = 0.0) -> list:
    """Temporal convolutions with dilations 1, 2, 4, ...: each step sees 1 + convs*(kernel - 1)*(2^levels - 1) steps.

    Source: Bai et al. 2018, section 3.
    """
    return [tcn_block(out, kernel, 2**level, convs, dropout) for level in range(levels)]


BLOCKS = {
    "rnn": Rnn, "gru": Gru, "lstm": Lstm, "conv_lstm": ConvLSTM, "renet": ReNet, "time_distributed": TimeDistributed, "stacked": stacked,
    "residual_recurrent": residual_recurrent, "pyramidal": pyramidal, "tcn_block": tcn_block, "tcn": tcn,
}  # fmt: skip
