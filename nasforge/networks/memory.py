"""Watchers of the memory of a forward pass on meta: bytes alive at once, bytes kept for the backward pass."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nasforge.networks.watch import uncompiled


@uncompiled
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
        super().__init__(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.seen:
            self.seen[storage._cdata] = storage
            self.total += storage.nbytes()
        return tensor
