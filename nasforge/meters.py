"""Watchers of a forward pass on meta: bytes alive, bytes kept for backward, receptive field."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LivePeak(TorchDispatchMode):
    """`peak_bytes`: the most bytes of tensors made inside that were alive at one moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak_bytes = 0
        self.seen: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage(), known)
        return out

    def reach(self, size: int) -> None:
        """Note that `size` bytes more than now are alive at one moment."""
        self.peak_bytes = max(self.peak_bytes, self.now + size)

    def _watch(self, storage: Any, known: set[int]) -> None:
        handle = storage._cdata
        if handle in self.seen or handle in known:  # a view, an operation in place, or a parameter passed through
            return
        size = storage.nbytes()
        self.reach(size)
        self.now += size
        self.seen[handle] = weakref.ref(storage, lambda _: self._forget(handle, size))

    def _forget(self, handle: int, size: int) -> None:
        self.now -= size
        self.seen.pop(handle, None)


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """`total`: bytes of the distinct storages that autograd keeps for the backward pass, without those of `module` itself."""

    def __init__(self, module: nn.Module) -> None:
        own = [*module.parameters(), *module.buffers()]
        self.seen = {t.untyped_storage()._cdata: t.untyped_storage() for t in own}  # held, so that no handle is used twice
        self.total = 0
        super().__init__(self._keep, _same)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.seen:
            self.seen[storage._cdata] = storage
            self.total += storage.nbytes()
        return tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor


# ---------------------------------------------------------------- receptive field

EVERYWHERE = float("inf")
_REDUCE = ("mean", "sum", "amax", "amin")
_GLOBAL = ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d", "bmm", "baddbmm")
Axis = tuple[float, float]  # (size, jump)


class ReceptiveField(TorchDispatchMode):
    """Marks every tensor with (size, jump) for its last two axes: how many input positions it sees, and the step between neighbours.

    Source of the rule: r += (k - 1) * jump, jump *= stride at each filter; the largest over branches.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        marks = [t._field for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and hasattr(t, "_field")]
        if marks:
            widest = [(max(m[i][0] for m in marks), max(m[i][1] for m in marks)) for i in range(2)]
            _mark(out, _after(func.overloadpacket.__name__, args, widest, out))
        return out


def _after(name: str, args: Any, field: list[Axis], out: Any) -> list[Axis]:
    if name == "convolution":
        spans = [d * (k - 1) for k, d in zip(args[1].shape[2:], args[5], strict=True)]
        return _filtered(field, spans, args[3], transposed=args[6])
    if "pool" in name and name not in _GLOBAL:
        return _filtered(field, [k - 1 for k in args[1]], args[2] if len(args) > 2 and args[2] else args[1])
    everywhere = name in _GLOBAL or "attention" in name or (name in _REDUCE and _over_positions(args))
    return [(EVERYWHERE, jump) for _, jump in field] if everywhere or _flattened(name, args, out) else field


def _filtered(field: list[Axis], spans: list[int], strides: list[int], transposed: bool = False) -> list[Axis]:
    """The field after a filter that reaches over `spans` more positions; of a video filter the time axis is left out."""
    out = list(field)
    for i in range(-min(len(spans), 2), 0):
        (size, jump), stride = field[i], strides[i if len(strides) > 1 else 0]
        step = jump / stride if transposed else jump
        out[i] = (size + spans[i] * step, step if transposed else jump * stride)
    return out


def _over_positions(args: Any) -> bool:
    """Whether a reduction joins positions: (B, C, H, W) over any of its last axes, (B, C, N) over N, (B, T, F) over T.

    Over the last of three axes with the axis kept, it is taken for a mean of features, as in RMS norm.
    """
    rank, keep = args[0].ndim, len(args) > 2 and args[2]
    axes = args[1] if len(args) > 1 and args[1] else list(range(rank))
    axes = {axis % rank for axis in ([axes] if isinstance(axes, int) else axes)}
    if rank == 3:
        return 1 in axes or (2 in axes and not keep)
    return rank > 3 and max(axes) >= 2


def _flattened(name: str, args: Any, out: Any) -> bool:
    """Whether positions become features: (B, C, H, W) -> (B, C*H*W) or (B, T, F) -> (B, T*F)."""
    if name not in ("view", "_unsafe_view", "reshape") or out.ndim != 2 or args[0].ndim < 3 or out.shape[0] != args[0].shape[0]:
        return False
    return bool(args[0][0].numel() > max(args[0].shape[1:]))


def _mark(value: Any, field: list[Axis]) -> None:
    for tensor in tree_leaves(value):
        if isinstance(tensor, Tensor):
            tensor._field = field  # type: ignore[attr-defined]


def mark_input(x: Tensor) -> Tensor:
    """The tensor, marked as an input of the network."""
    _mark(x, [(1.0, 1.0), (1.0, 1.0)])
    return x


def mark_everywhere(x: Any) -> None:
    """Mark the tensors of `x` as seeing the whole input."""
    _mark(x, [(EVERYWHERE, 1.0), (EVERYWHERE, 1.0)])


def field_of(x: Any) -> float | None:
    """The receptive field of a marked tensor along its larger axis; infinite where it sees everything, None for unmarked ones."""
    tensor = next((t for t in tree_leaves(x) if isinstance(t, Tensor)), None)
    field = getattr(tensor, "_field", None)
    return None if field is None else max(size for size, _ in field)
