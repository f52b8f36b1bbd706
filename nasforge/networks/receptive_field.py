"""The receptive field of every tensor of a forward pass on meta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nasforge.networks.watch import uncompiled

EVERYWHERE = float("inf")
TINY = 1e-6  # steps of a third may add up to a little less than a whole
_REDUCE = ("mean", "sum", "amax", "amin")
_GLOBAL = ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d", "bmm", "baddbmm")


class Axis(NamedTuple):
    """How many input positions of an axis one value sees, and the step between neighbours; on maps that were enlarged:

    `enlarged`: (step, extent) of each coarser map below: its values, spread over the finer one, are looked at through a window of
    1 + extent input positions. Of a window as wide as the step the next coarse value is seen as well.
    """

    seen: float
    jump: float
    enlarged: tuple[tuple[float, float], ...] = ()

    @property
    def size(self) -> float:
        """The input positions that one value sees at most."""
        wider = 0.0
        for step, extent in reversed(self.enlarged):
            wider = (wider + extent + TINY) // step * step
        return self.seen + wider

    def filtered(self, span: float, stride: float) -> Axis:
        """Return the axis after a filter that reaches over `span` more positions."""
        more, jump = span * self.jump, self.jump * stride
        if not self.enlarged:
            return Axis(self.seen + more, jump)
        *coarser, (step, extent) = self.enlarged
        return Axis(self.seen, jump, (*coarser, (step, extent + more)))

    def spread(self, factor: float, taps: float) -> Axis:
        """Return the axis after values were set `factor` apart, or one in 1 / factor was taken, and blended by a filter of so many taps."""
        if factor < 1:
            return self.filtered(taps * factor - 1, 1 / factor)
        jump = self.jump / factor
        return Axis(self.seen, jump, (*self.enlarged, (self.jump, (taps - 1) * jump)))


@uncompiled
class ReceptiveField(TorchDispatchMode):
    """Marks every tensor with the `Axis` of its last two axes: how many input positions it sees, and the step between neighbours.

    Source of the rule: r += (k - 1) * jump, jump *= stride at each filter; the largest over branches. Enlarging is a transposed filter
    of k taps: 1 + (k - 1) // factor values of the smaller map are seen at each place.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        marks = [t._field for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and hasattr(t, "_field")]
        if marks:
            widest = [max((m[i] for m in marks), key=lambda axis: axis.size) for i in range(2)]
            widest = [axis._replace(jump=max(m[i].jump for m in marks)) for i, axis in enumerate(widest)]
            _mark(out, _after(func.overloadpacket.__name__, args, widest, out))
        return out


def _after(name: str, args: Any, field: list[Axis], out: Any) -> list[Axis]:
    if name == "convolution":
        spans, strides = [d * (k - 1) for k, d in zip(args[1].shape[2:], args[5], strict=True)], args[3]
        if args[6]:  # transposed
            return _each(field, lambda axis, i: axis.spread(_pick(strides, i), spans[i] + 1), len(spans))
        return _each(field, lambda axis, i: axis.filtered(spans[i], _pick(strides, i)), len(spans))
    if "pool" in name and name not in _GLOBAL:
        sides, strides = args[1], args[2] if len(args) > 2 and args[2] else args[1]
        return _each(field, lambda axis, i: axis.filtered(sides[i] - 1, _pick(strides, i)), len(sides))
    if "upsample" in name:
        factors = [after / before for before, after in zip(args[0].shape[2:], out.shape[2:], strict=True)]
        return _each(field, lambda axis, i: axis.spread(factors[i], _taps(factors[i], "linear" in name)), len(factors))
    if name == "pixel_shuffle":
        return _each(field, lambda axis, _: axis.spread(args[1], args[1]), 2)
    if name == "pixel_unshuffle":
        return _each(field, lambda axis, _: axis.filtered(args[1] - 1, args[1]), 2)
    everywhere = name in _GLOBAL or "attention" in name or (name in _REDUCE and _over_positions(args))
    return [Axis(EVERYWHERE, axis.jump) for axis in field] if everywhere or _flattened(name, args, out) else field


def _each(field: list[Axis], change: Callable[[Axis, int], Axis], axes: int) -> list[Axis]:
    """Return the field after a filter with so many axes, of which the last two count: of video the time is left out."""
    return [change(axis, i) if i >= -axes else axis for i, axis in zip((-2, -1), field, strict=True)]


def _pick(values: Any, i: int) -> int:
    return values[i if len(values) > 1 else 0]


def _taps(factor: float, linear: bool) -> float:
    """Return the taps of an interpolation: each value stands over `factor` places, or fades over twice as many to both sides."""
    if not linear:
        return max(factor, 1 / factor)
    return 2 * factor - (factor % 2 == 1) if factor > 1 else 2 / factor


def _over_positions(args: Any) -> bool:
    """Return whether a reduction joins positions: (B, C, H, W) over any of its last axes, (B, C, N) over N, (B, T, F) over T.

    Over the last of three axes with the axis kept, it is taken for a mean of features, as in RMS norm.
    """
    rank, keep = args[0].ndim, len(args) > 2 and args[2]
    axes = args[1] if len(args) > 1 and args[1] else list(range(rank))
    axes = {axis % rank for axis in ([axes] if isinstance(axes, int) else axes)}
    if rank == 3:
        return 1 in axes or (2 in axes and not keep)
    return rank > 3 and max(axes) >= 2


def _flattened(name: str, args: Any, out: Any) -> bool:
    """Return whether positions become features: (B, C, H, W) -> (B, C*H*W) or (B, T, F) -> (B, T*F)."""
    if name not in ("view", "_unsafe_view", "reshape") or out.ndim != 2 or args[0].ndim < 3 or out.shape[0] != args[0].shape[0]:
        return False
    return bool(args[0][0].numel() > max(args[0].shape[1:]))


def _mark(value: Any, field: list[Axis]) -> None:
    for tensor in tree_leaves(value):
        if isinstance(tensor, Tensor):
            tensor._field = field  # type: ignore[attr-defined]


def mark_input(x: Tensor) -> Tensor:
    """Mark a tensor as an input of the network, and return it."""
    _mark(x, [Axis(1.0, 1.0), Axis(1.0, 1.0)])
    return x


def mark_everywhere(x: Any) -> None:
    """Mark the tensors of `x` as seeing the whole input."""
    _mark(x, [Axis(EVERYWHERE, 1.0), Axis(EVERYWHERE, 1.0)])


def mark_spread(x: Tensor, factor: float, taps: float) -> None:
    """Mark a map, marked like the smaller one whose values it holds `factor` apart, each somewhere in so many places."""
    if hasattr(x, "_field"):
        _mark(x, [axis.spread(factor, taps) for axis in x._field])


def field_of(x: Any) -> float | None:
    """Return the receptive field of a marked tensor along its larger axis; infinite where it sees everything, None for unmarked ones."""
    tensor = next((t for t in tree_leaves(x) if isinstance(t, Tensor)), None)
    field = getattr(tensor, "_field", None)
    return None if field is None else max(axis.size for axis in field)
