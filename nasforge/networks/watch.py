"""Watchers of the operations that torch runs, and operations on meta, without the import of its compiler."""

from __future__ import annotations

from types import FunctionType
from typing import Any, TypeVar

from torch._decomp import global_decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import _FlopCounterMode

Mode = TypeVar("Mode", bound=type[TorchDispatchMode])


def uncompiled(mode: Mode) -> Mode:
    """A decorator for a watcher: its dispatch is called as it is.

    torch guards some of its functions against being compiled. The guard imports torch._dynamo at the first call, which takes more
    than a second; architectures are counted in each process, and nothing in them is compiled. Other versions of torch may keep the
    guarded function elsewhere: all works there too, after that second.
    """
    _unguard(mode.__torch_dispatch__)
    return mode


def _unguard(*functions: Any) -> None:
    """Let the guards in these functions, and in what they call by a closure, call what they guard."""
    seen, open_ones = set[int](), list(functions)
    while open_ones:
        function = open_ones.pop()
        if isinstance(function, FunctionType) and id(function) not in seen:
            seen.add(id(function))
            setattr(function, "__dynamo_disable", function)  # where a guard looks for what to call
            open_ones += [cell.cell_contents for cell in function.__closure__ or ()]


uncompiled(_FlopCounterMode)
_unguard(*(function for table in global_decomposition_table.values() for function in table.values()))  # what runs on meta
