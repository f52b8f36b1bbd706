"""Dispatch modes that watch a forward pass on meta: bytes alive, receptive field."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
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

    def _watch(self, storage: Any, known: set[int]) -> None:
        handle = storage._cdata
        if handle in self.seen or handle in known:  # a view, an operation in place, or a parameter passed through
            return
        size = storage.nbytes()
        self.now += size
        self.peak_bytes = max(self.peak_bytes, self.now)
        self.seen[handle] = weakref.ref(storage, lambda _: self._forget(handle, size))

    def _forget(self, handle: int, size: int) -> None:
        self.now -= size
        self.seen.pop(handle, None)


EVERYWHERE = float("inf")
_GLOBAL = ("mean", "amax", "amin", "sum", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "bmm", "baddbmm")


class ReceptiveField(TorchDispatchMode):
    """Marks every tensor with (size, jump): how many input positions along one axis it sees, and the step between neighbours.

    Source of the rule: r += (k - 1) * jump, jump *= stride at each filter; the largest over branches.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        marks = [t._field for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and hasattr(t, "_field")]
        if marks:
            field = self._after(func.overloadpacket.__name__, args, (max(m[0] for m in marks), max(m[1] for m in marks)), out)
            for tensor in tree_leaves(out):
                if isinstance(tensor, Tensor):
                    tensor._field = field  # type: ignore[attr-defined]
        return out

    def _after(self, name: str, args: Any, field: tuple[float, float], out: Any) -> tuple[float, float]:
        size, jump = field
        if name == "convolution":
            weight, stride, dilation, transposed = args[1], args[3], args[5], args[6]
            span = max(d * (k - 1) for k, d in zip(weight.shape[2:], dilation, strict=True))
            if transposed:
                return size + span * jump / max(stride), jump / max(stride)
            return size + span * jump, jump * max(stride)
        if "pool" in name and "adaptive" not in name:
            kernel, stride = args[1], args[2] if len(args) > 2 and args[2] else args[1]
            return size + (max(kernel) - 1) * jump, jump * max(stride)
        flattened = name in ("view", "_unsafe_view", "reshape") and args[0].ndim > 3 and out.ndim == 2 and args[0][0, 0].numel() > 1
        mixed = name in _GLOBAL or "attention" in name
        return (EVERYWHERE, jump) if flattened or mixed else field


def mark_input(x: Tensor) -> Tensor:
    """The tensor, marked as an input of the network."""
    x._field = (1.0, 1.0)  # type: ignore[attr-defined]
    return x


def field_of(x: Any) -> float | None:
    """The receptive field of a marked tensor along one axis; infinite where it sees everything."""
    tensor = next((t for t in tree_leaves(x) if isinstance(t, torch.Tensor)), None)
    return getattr(tensor, "_field", (None,))[0]
