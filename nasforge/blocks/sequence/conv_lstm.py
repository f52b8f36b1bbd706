"""Convolutional long short-term memory for videos."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, need_rank
from nasforge.blocks.sequence.recurrent_steps import lstm_step, uniform


class ConvLSTM(Layer):
    """LSTM whose matrix products are `kernel` x `kernel` convolutions. Shapes: (C, T, H, W) -> (N, T, H, W), output
    last: (N, H, W).

    Parameters 4*(k*k*(C*N + N*N) + N), and 3*N*H*W where the gates see the cell state (`peephole`, an elementwise
    product).
    Source: Shi et al. 2015, equation 3.
    """

    scope = "global"

    def __init__(
        self,
        shape: Shape,
        hidden: int,
        kernel: int = 3,
        peephole: bool = True,
        output: Literal["sequence", "last"] = "sequence",
    ) -> None:
        super().__init__()
        need_rank(shape, (4,), "conv_lstm")
        if kernel % 2 == 0 or hidden < 1:
            raise ValueError(f"conv_lstm needs an odd kernel and hidden >= 1, got {kernel} and {hidden}")
        before, self.steps, height, width = shape
        self.hidden, self.output, self.pad = hidden, output, kernel // 2
        self.read = nn.Conv2d(before, 4 * hidden, kernel, padding=self.pad)
        self.recur = uniform(hidden * kernel * kernel, 4 * hidden, hidden, kernel, kernel)
        self.peep = uniform(hidden, 3, hidden, height, width) if peephole else None

    def forward(self, x: Tensor) -> Tensor:
        frames = self.read(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, self.steps))  # (B, T, 4N, H, W)
        h = c = frames.new_zeros(x.shape[0], self.hidden, *x.shape[3:])
        steps = []
        for frame in frames.unbind(1):
            h, c = lstm_step((frame + F.conv2d(h, self.recur, padding=self.pad)).chunk(4, 1), c, self.peep)
            steps.append(h)
        return h if self.output == "last" else torch.stack(steps, 2)
