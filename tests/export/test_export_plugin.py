"""Networks with blocks of plugins are taken away as ours: their source is lifted, as far as a file for torch alone can hold it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nasforge.errors import UserError
from nasforge.export import export
from nasforge.plugins import load_plugins

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unplug")]

PLUGIN = '''
import math
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.core.activation import Act, activation
from nasforge.blocks.core.linear import Linear as Full
from nasforge.blocks.core.shapes import Make, Node, Shape, run

GAIN = math.sqrt(2)
UNUSED = np.zeros(3)


def scaled(x: Tensor) -> Tensor:
    return GAIN * x


class Base(Layer):
    def never(self):
        return UNUSED

    def half(self, x: Tensor) -> Tensor:
        return x / 2


class Linear(Base):
    """Has the name of one of ours."""

    def __init__(self, shape: Shape, out: int, act: Act = "relu") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(out, shape[-1]))
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.half(scaled(F.linear(x, self.weight))))


class Wider(Full):
    """Derived from one of ours."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Twice(Combinator):
    """A block, and the same block on what it gives."""

    reads = "all"

    @classmethod
    def build(cls, make: Make, shapes: tuple[Shape, ...], body: Node, times: float = 2.0) -> nn.Module:
        return cls(make(body, shapes[0], "body")[0], times)

    def __init__(self, body: nn.Module, times: float) -> None:
        super().__init__()
        self.body, self.times = body, times

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return self.times * run(self.body, run(self.body, x, context), context)


def pair(out: int) -> list:
    return [{"full": {"out": out}}, {"wider": {"out": out}}]


BLOCKS = {"full": Linear, "wider": Wider, "twice": Twice, "pair": pair}
'''
BODY = [{"pair": {"out": 4}}, {"linear": {"out": 4}}, {"twice": {"body": {"full": {"out": 4, "act": "tanh"}}, "times": 3}}]
ARCH: dict[str, Any] = {"input": [3], "classes": 2, "body": BODY, "head": ["linear"]}


def plugin(folder: Path, text: str) -> None:
    """Load a plugin of such text."""
    path = folder / "my-parts.py"
    path.write_text(text)
    load_plugins(path)


def test_what_a_block_needs_is_lifted_and_nothing_else(tmp_path: Path) -> None:
    plugin(tmp_path, PLUGIN)
    done = export(ARCH, None, "python", tmp_path / "out")
    assert done.largest_difference == 0 and "numpy" not in done.modules
    source = done.path.read_text()
    for kept in ("GAIN = math.sqrt(2)", "def scaled", "class Base(nn.Module):", "class Twice(nn.Module):", "def half"):
        assert kept in source
    for gone in ("never", "UNUSED", "numpy", "def build", "def pair", "my-parts"):
        assert gone not in source
    assert source.count("class Linear") == 2 and ("class Linear_my_parts(Base):" in source or "class Linear_linear(" in source)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_other_exports_take_them_too(to: str, tmp_path: Path) -> None:
    plugin(tmp_path, PLUGIN)
    assert export(ARCH, None, to, tmp_path / "out").largest_difference < 1e-4


HEAD = "import torch\nfrom nasforge.blocks.base import Layer\n"
ODD = """
class Odd(Layer):
    def __init__(self, shape):
        super().__init__()
    def forward(self, x):
        return {expression}
BLOCKS = {{"odd": Odd}}
"""
CASES = {  # imports, what forward gives, what is said
    "another package": ("import numpy as np", "x * float(np.sqrt(4.0))", "modules and names of nasforge.blocks only, got numpy"),
    "another room": ("from nasforge.errors import nearest", "x * len(nearest('a', 'a'))", "got nasforge.errors"),
    "a module of blocks": ("from nasforge.blocks.core import shapes", "x * shapes.divisible(8, 8)", "not a module such as shapes"),
    "a dotted module": ("import nasforge.blocks.core.shapes as s", "x * s.divisible(8, 8)", "not a module such as nasforge."),
    "a guarded name": ("try:\n    N = 2\nexcept ImportError:\n    N = 3", "x * N", "define N by def, class or assignment, or"),
    "a star": ("from math import *", "x * pi", "define pi by def, class or assignment, or import"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_file_for_torch_alone_cannot_hold_is_refused(case: str, tmp_path: Path) -> None:
    imports, expression, said = CASES[case]
    plugin(tmp_path, HEAD + imports + ODD.format(expression=expression))
    arch = {"input": [3], "classes": 2, "body": ["odd"], "head": ["linear"]}
    with pytest.raises(UserError) as caught:
        export(arch, None, "python", tmp_path / "out")
    assert said in str(caught.value) and str(tmp_path / "my-parts.py") in str(caught.value)
    assert str(caught.value).endswith("export to onnx or torch") and not list((tmp_path / "out").iterdir())
    if case == "another package":
        assert export(arch, None, "torch", tmp_path / "out").largest_difference < 1e-4


def test_state_that_was_changed_at_run_time_is_named_as_a_cause(tmp_path: Path) -> None:
    text = "N = 1.0\ndef grow():\n    global N\n    N = 3.0\ngrow()\n"
    plugin(tmp_path, HEAD + text + ODD.format(expression="x * N"))
    with pytest.raises(UserError, match="carries no global or class attribute that was changed at run time: set such values in __init__"):
        export({"input": [3], "classes": 2, "body": ["odd"], "head": ["linear"]}, None, "python", tmp_path / "out")


def test_the_modules_of_a_package_are_lifted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unplug: Callable[[], None]) -> None:
    package, info = tmp_path / "acme_export", tmp_path / "acme_export-1.dist-info"
    for folder in (package, info):
        folder.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helpers.py").write_text("def doubled(x):\n    return 2 * x\n")
    (package / "parts.py").write_text(HEAD + "from .helpers import doubled as twice" + ODD.format(expression="twice(x)"))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-export\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[nasforge.plugins]\nacme = acme_export.parts\n")
    monkeypatch.syspath_prepend(tmp_path)
    load_plugins()
    done = export({"input": [3], "classes": 2, "body": ["odd"], "head": ["linear"]}, None, "python", tmp_path / "out")
    assert done.largest_difference == 0 and "def doubled" in done.path.read_text()
    for name in [name for name in sys.modules if name.startswith("acme_export")]:
        del sys.modules[name]
