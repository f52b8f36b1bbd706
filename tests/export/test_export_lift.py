"""What the Python export is made of: straight lines, spelled calls, lifted source."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from nasforge.blocks.compose.combine import Chain, Residual
from nasforge.blocks.core.shapes import Tokens
from nasforge.errors import UserError
from nasforge.export.check import packages
from nasforge.export.lift import Lifted, lift
from nasforge.export.spell import literal, spell, within, write
from nasforge.export.wires import straight
from nasforge.networks.build import build

# ---------------------------------------------------------------- wires


def lines(body: list[Any], **more: Any) -> list[str]:
    arch = {"input": [6], "classes": 3, "body": body, **more}
    found = straight(arch, build(arch))
    return [",".join(found.inputs.values()), *(f"{','.join(line.writes)}={line.name}({','.join(line.reads)})" for line in found.lines)]


def test_only_names_that_are_read_later_become_variables() -> None:
    a = {"linear": {"out": 6}}
    assert lines([{**a, "as": "p"}, a]) == ["x", "x=body0(x)", "x=body1(x)"]
    assert lines([{**a, "as": "p"}, a, {"add": {}, "from": ["last", "p"]}]) == ["x", "p=body0(x)", "x=body1(p)", "x=body2(x,p)"]


def test_a_name_given_twice_means_the_newer_output() -> None:
    a = {"linear": {"out": 6}}
    rows = [{**a, "as": "p"}, {**a, "as": "p"}, {"add": {}, "from": ["last", "p"]}]
    assert lines(rows) == ["x", "p=body0(x)", "p=body1(p)", "x=body2(p,p)"]


def test_an_input_read_again_and_names_of_python_keep_apart() -> None:
    a = {"linear": {"out": 6}}
    rows = [{**a, "as": "self"}, {**a, "as": "x"}, {"add": {}, "from": ["self", "x", "input"]}]
    assert lines(rows) == ["input_", "self_=body0(input_)", "x_=body1(self_)", "x=body2(self_,x_,input_)"]
    rows = [{**a, "as": "1 st"}, {**a, "as": "1-st"}, {"add": {}, "from": ["1 st", "1-st"]}]
    assert lines(rows)[1:3] == ["wire_1_st=body0(x)", "wire_1_st_=body1(wire_1_st)"]


def test_several_outputs_are_unpacked() -> None:
    maps = {"a": [4, 8, 8], "b": [4, 4, 4], "c": [4, 2, 2]}
    names = list(maps)
    rows = [{"fpn": {"out": 4}, "from": names, "as": ["p", "q"]}, {"resize_to": {}, "from": ["last", "p"]}]
    assert lines(rows, input=maps) == ["a,b,c", "p,_,x=body0(a,b,c)", "x=body1(x,p)"]


def test_a_block_that_reads_one_input_gets_the_first_wire() -> None:
    rows = [{"linear": {"out": 6}, "as": "p"}, {"linear": {"out": 6}, "from": ["p", "input"]}]
    assert lines(rows) == ["x", "p=body0(x)", "x=body1(p)"]


# ---------------------------------------------------------------- spelling


def test_calls_name_what_differs_from_the_defaults() -> None:
    network = build(
        {"input": [3, 8, 8], "classes": 2, "body": [{"residual": {"body": [{"conv": {"out": 8}}], "shortcut": "none", "drop_path": 0.1}}]}
    )
    found = spell(network.steps["body0"], "body0")
    names = {p.opening: p.opening.__name__ for p in within(found) if isinstance(p.opening, type)}
    assert write(found, names, indent=0) == "Residual(Conv((3, 8, 8), out=8), shortcut=None, drop_path=0.1)"


def test_values_become_text_that_evaluates_to_them() -> None:
    for value in ('say "x"\n', True, None, 3, -0.5, 1e-9, float("inf")):
        assert eval(literal(value)) == value
    embedding = build({"input": {"tokens": 9, "length": 4}, "body": [{"embedding": {"out": 3}}]}).steps["body0"]
    found = spell(embedding, "body0")
    assert write(found, {type(embedding): "E", Tokens: "Tokens"}, indent=0) == "E(Tokens(length=4, vocab=9), out=3)"


def test_a_module_that_does_not_tell_how_it_was_made_is_named() -> None:
    with pytest.raises(UserError, match=r"body3\.body: to be written as Python, Linear must keep its constructor arguments as attributes"):
        spell(Residual(nn.Linear(2, 2), Chain([])), "body3")


# ---------------------------------------------------------------- lifting

FIRST = '''
from __future__ import annotations
import math
from typing import Literal
from torch import Tensor, nn

Kind = Literal["used", "unused"]
LOW, HIGH = 1, 2
TABLE = {"kept": 1}

# twice as much
def _helper(x: int) -> int:
    """Not the word unused."""
    return x * HIGH

def lonely() -> float:
    return math.pi

class Base(nn.Module):
    free = True
    flag = 3

    # a comment above
    def never(self) -> int:
        return lonely()

    def shared(self, kind: Kind) -> int:
        table = {
            "unused": lambda: lonely(),
            "used": lambda: _helper(1),
            "other": lambda: 3,
        }
        short = {"used": 1, "other": 2}
        return table[kind]() + short[kind] + self.flag + len(TABLE)
'''
SECOND = '''
from __future__ import annotations
import math as m
from nasforge.blocks.first import Base, _helper as helped

def _helper(x: float) -> float:
    return m.sqrt(x)

class Top(Base):
    """Reads flag of its base."""

    def __init__(self, x: int) -> None:
        super().__init__()
        math = {"x": x}
        self.note = f"{_helper(x):.1f} and {helped(x)}"
        self.values = [self.shared(kind) for kind in ("used",)]
        self.sum = math["x"]

    def forward(self, x):
        return x
'''


@pytest.fixture
def lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lifted:
    """The class Top of two block files."""
    for name, text in (("first", FIRST), ("second", SECOND)):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(f"nasforge.blocks.{name}", path)
        assert spec and spec.loader
        module: ModuleType = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    return lift([sys.modules["nasforge.blocks.second"].Top], set(), {"Model"})


def test_lifting_keeps_what_is_reached_and_nothing_else(lifted: Lifted) -> None:
    code = lifted.code
    for kept in ("# twice as much\ndef _helper", "LOW, HIGH = 1, 2", 'TABLE = {"kept": 1}', "flag = 3", "class Base(nn.Module):"):
        assert kept in code
    for gone in ("lonely", "free = True", "never", "a comment above", '"unused": lambda', '"other"'):
        assert gone not in code
    assert code.index("class Base") < code.index("class Top")
    assert lifted.imports == {("typing", "Literal", "Literal"), ("torch", "nn", "nn"), ("math", None, "m")}


def test_lifted_helpers_of_one_name_keep_apart(lifted: Lifted) -> None:
    names: dict[str, Any] = {}
    exec(f"from __future__ import annotations\nimport math as m\nfrom typing import Literal\nfrom torch import nn\n{lifted.code}", names)
    top = names[lifted.names[next(iter(lifted.names))]](9)
    assert top.note == "3.0 and 18"  # sqrt(9) of the second file, 9 * 2 of the first
    assert top.values == [1 * 2 + 1 + 3 + 1]


def test_packages_of_torch_are_its_own_and_what_it_requires() -> None:
    found = packages(["torch"])
    assert {"torch", "sympy", "mpmath", "jinja2"} <= found  # mpmath is required by sympy
    assert not {"numpy", "safetensors", "optuna", "yaml"} & found
