"""Convolution, pooling and interpolation of sequences that end early: beyond the end they find what they find around a full sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasforge.blocks.core.conv import Conv, Deconv
from nasforge.blocks.core.padding import Padded, cleared, within
from nasforge.blocks.core.pooling import TINY, Pool
from nasforge.blocks.core.rearrange import Upsample
from nasforge.blocks.padded.norm import normalized


def shifting(args: dict[str, Any]) -> str | None:
    """Return why `pad: tf` at a stride is refused."""
    stride = args.get("stride", args.get("kernel") or 1)
    if args.get("pad") == "tf" and (max(stride) if isinstance(stride, list) else stride) > 1:
        return "pad: tf at a stride moves the windows by the length, which differs between the samples of a batch; use pad: same"
    return None


class PaddedConv(Conv):
    """Convolution of sequences that end early, zeros behind them."""

    padded = True

    @staticmethod
    def refuses(args: dict[str, Any]) -> str | None:
        return shifting({"stride": 1, **args})

    def forward(self, x: Padded) -> Padded:
        if self.preact:
            x = x._replace(values=self.acted(normalized(self.norm, x)))
        y = self.convolve(cleared(x).transpose(1, 2)).transpose(1, 2)  # (B, T, F) -> (B, T', out)
        after = Padded(y, self.ends(x.lengths))
        return after if self.preact else after._replace(values=self.acted(normalized(self.norm, after)))

    def ends(self, lengths: Tensor) -> Tensor:
        """Return the lengths of the output."""
        around = sum(self.padding[0]) - self.dilation[0] * (self.kernel[0] - 1) - 1
        return ((lengths + around) // self.stride[0] + 1).clamp_min(1)

    def acted(self, values: Tensor) -> Tensor:
        """Return the activation of values (B, T, C)."""
        return self.act(values.transpose(1, 2)).transpose(1, 2)


class PaddedDeconv(Deconv):
    """Transposed convolution of sequences that end early, zeros behind them."""

    padded = True

    def forward(self, x: Padded) -> Padded:
        y = self.conv(cleared(x).transpose(1, 2)).transpose(1, 2)  # (B, T, F) -> (B, T', out)
        lengths = (x.lengths - 1) * self.stride[0] - 2 * self.conv.padding[0] + self.kernel[0] + self.conv.output_padding[0]
        after = Padded(y, lengths.clamp_min(1))
        return after._replace(values=self.act(normalized(self.norm, after).transpose(1, 2)).transpose(1, 2))


class PaddedPool(Pool):
    """Pooling of the steps that are there."""

    padded = True

    @staticmethod
    def refuses(args: dict[str, Any]) -> str | None:
        return shifting(args)

    def forward(self, x: Padded) -> Any:
        y = self.pooled(x)
        if not self.kernel:
            return y
        after = Padded(y.transpose(1, 2), self.ends(x.lengths))
        return after._replace(values=cleared(after))  # windows of nothing hold the least number there is

    def ends(self, lengths: Tensor) -> Tensor:
        """Return the lengths of the output, by torch's rule: with `ceil` a last window starts inside or in the padding before."""
        (kernel,), (stride,), (pad,) = self.kernel, self.stride, self.padding
        count = (lengths + 2 * pad - kernel + (stride - 1 if self.ceil else 0)) // stride + 1
        if self.ceil:
            count = torch.where((count - 1) * stride < lengths + pad, count, count - 1)
        return count.clamp_min(1)

    def pooled(self, x: Padded) -> Tensor:
        """Return the pooled values, channels first: (B, F, T'), or (B, F) of everything."""
        values, there = cleared(x).transpose(1, 2), within(x)[:, None].to(x.values.dtype)  # (B, F, T), (B, 1, T)
        if self.kind == "avg":
            return self.average(values, there)
        if self.kind == "max":
            return self.largest(x)
        if self.kind == "min":
            return -self.largest(x._replace(values=-x.values))
        if self.mix is not None:
            share = self.mix.sigmoid()
            return share * self.largest(x) + (1 - share) * self.average(values, there)
        return self._reduce(values)  # sums, in which zeros do not count

    def largest(self, x: Padded) -> Tensor:
        """Return the maximum of the steps that are there."""
        return self._largest(cleared(x, torch.finfo(x.values.dtype).min).transpose(1, 2))

    def average(self, values: Tensor, there: Tensor) -> Tensor:
        """Return the mean of the steps that are there."""
        return self._average(values) / self._average(there).clamp_min(TINY)


class PaddedUpsample(Upsample):
    """Each sequence interpolated to `scale` times its own length, or to `size`."""

    padded = True

    def forward(self, x: Padded) -> Padded:
        after = torch.full_like(x.lengths, self.size[0]) if self.scale is None else x.lengths * self.scale
        ratio = (x.lengths / after)[:, None]  # (B, 1)
        steps, last = torch.arange(self.size[0], device=ratio.device), x.lengths[:, None] - 1
        if self.mode == "nearest":
            return Padded(taken(x.values, (steps * ratio).long().minimum(last)), after)
        place = ((steps + 0.5) * ratio - 0.5).clamp_min(0)
        low = place.long().minimum(last)
        share = (place - low)[:, :, None].to(x.values.dtype)
        return Padded((1 - share) * taken(x.values, low) + share * taken(x.values, (low + 1).minimum(last)), after)


def taken(values: Tensor, index: Tensor) -> Tensor:
    """Return the steps of these numbers: (B, T, F), (B, T') -> (B, T', F)."""
    return values.gather(1, index[:, :, None].expand(-1, -1, values.shape[2]))
