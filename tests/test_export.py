"""Exports: the lifted source, the spelled network, and each kind run in a fresh Python."""

from __future__ import annotations

import importlib.util
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nasforge import export as room
from nasforge.blocks.combine import Chain, Residual
from nasforge.blocks.heads import Linear
from nasforge.blocks.shapes import Tokens
from nasforge.build import build
from nasforge.errors import UserError
from nasforge.export import EXPORTERS, Exported, ExportRefused, export
from nasforge.export.check import packages
from nasforge.export.lift import Lifted, lift
from nasforge.export.spell import literal, spell, within
from nasforge.export.spell import write as spelled_text
from nasforge.export.to_python import write_python
from nasforge.export.wires import straight

CONV: dict[str, Any] = {"conv": {"out": 8}}
BODY: list[Any] = [CONV, {"conv": {"out": 8, "act": "none"}}]
IMAGES: dict[str, Any] = {
    "name": 'a "quoted" name \\ with """ in it',
    "input": [3, 12, 12],
    "classes": 4,
    "stem": [{"conv": {"out": 8}, "as": "stem"}],
    "body": [
        {"stage": {"block": {"residual": {"body": BODY, "act": "relu"}}, "depth": 2}, "as": "c2"},
        {"parallel": {"branches": [[CONV], [{"pool": {"kernel": 3, "stride": 1}}, {"conv": {"out": 4, "act": "gelu"}}]]}, "as": "for loop"},
        {"dense": {"layers": [{"conv": {"out": 3}}, {"conv": {"out": 3, "weight": "standard"}}]}},
        {"concat": {}, "from": ["last", "stem", "c2"]},
        {"se": {"ratio": 0.25}},
    ],
    "head": ["gap_head"],
    "aux": {"for loop": [{"pool": {"kind": "avg"}}, "linear"]},
}
TEXT: dict[str, Any] = {
    "input": {"text": {"tokens": 30, "length": 9}, "signal": [9, 5]},
    "body": [
        {"embedding": {"out": 8}},
        {"attention": {"heads": 2}, "as": "words"},
        {"lstm": {"hidden": 6, "bidirectional": True}, "from": "signal"},
        {"concat": {}, "from": ["last", "words"]},
        {"gru": {"hidden": 7, "output": "last"}},
    ],
    "classes": 3,
    "heads": {"kind": ["linear"], "how much": [{"linear": {"out": 1, "act": "sigmoid"}}]},
}
SMALL: dict[str, Any] = {"input": [6], "classes": 3, "body": [{"linear": {"out": 5, "act": "relu"}}], "head": ["linear"]}


def ruff(file: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", *arguments, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def scattered(arch: dict[str, Any]) -> dict[str, Tensor]:
    """Weights and running statistics that no constructor would give, so that a file that forgets to load them is found out."""
    torch.manual_seed(3)
    state = build(arch).state_dict()
    return {k: torch.rand_like(v) * 0.5 + 0.1 if v.is_floating_point() else torch.full_like(v, 7) for k, v in state.items()}


# ---------------------------------------------------------------- the kinds, in a fresh Python


def test_a_python_file_of_an_image_network_needs_torch_alone(tmp_path: Path) -> None:
    done = export(IMAGES, scattered(IMAGES), "python", tmp_path, name="tiny-net")
    assert [f.name for f in done.files] == ["tiny_net.py", "tiny_net.safetensors"]
    assert done.path == tmp_path / "tiny_net.py" and all(f.exists() for f in done.files)
    assert done.largest_difference <= 1e-5 and done.seconds > 0
    assert "torch" in done.modules
    assert not {"nasforge", "safetensors", "numpy", "yaml", "optuna"} & done.modules
    text = done.path.read_text()
    assert "nasforge" not in text.replace("those of nasforge without the leading `steps.`", "")
    assert "Left out, since only training reads them: the auxiliary heads for loop." in text
    for build_only in ("def of(", "simplify", "free = True", "LAYERS", "NASNet", "leaky_relu(", "Sign("):
        assert build_only not in text


def test_a_python_file_of_a_network_for_text_and_a_signal_with_two_heads(tmp_path: Path) -> None:
    done = export(TEXT, None, "python", tmp_path)
    assert done.largest_difference <= 1e-5 and "numpy" not in done.modules
    text = done.path.read_text()
    assert "Input: text (B, 9), whole numbers below 30; signal (B, 9, 5). Output: a dict of kind (B, 3), how much (B, 1)." in text
    assert "def forward(self, text: Tensor, signal: Tensor) -> dict[str, Tensor]:" in text
    assert "example = [torch.randint(30, (1, 9)), torch.rand(1, 9, 5)]" in text


def test_an_onnx_file_runs_without_torch_under_the_names_of_inputs_and_heads(tmp_path: Path) -> None:
    import onnx

    done = export(TEXT, None, "onnx", tmp_path)
    assert done.largest_difference <= 1e-4
    assert {"onnxruntime", "numpy"} <= done.modules and not {"nasforge", "torch"} & done.modules
    model = onnx.load(done.path)
    assert [i.name for i in model.graph.input] == ["text", "signal"]
    assert [o.name for o in model.graph.output] == ["kind", "how much"]
    assert all(i.type.tensor_type.shape.dim[0].dim_param == "batch" for i in (*model.graph.input, *model.graph.output))
    assert [o.version for o in model.opset_import if o.domain == ""] == [18]


def test_a_torch_program_takes_any_batch(tmp_path: Path) -> None:
    done = export(IMAGES, scattered(IMAGES), "torch", tmp_path)
    assert done.files == (tmp_path / "model.pt2",) and done.largest_difference <= 1e-4
    assert "torch" in done.modules and "nasforge" not in done.modules


# ---------------------------------------------------------------- refusals


def corrupted(kind: str, change: Callable[[Path], None]) -> room.Exporter:
    """The exporter whose files are changed before they are checked."""

    honest = EXPORTERS[kind]

    def write(arch: Any, network: Any, folder: Path, name: str) -> list[Path]:
        files = honest.write(arch, network, folder, name)
        change(folder)
        return files

    return replace(honest, write=write)


def refused(monkeypatch: pytest.MonkeyPatch, out: Path, change: Callable[[Path], None], arch: dict[str, Any] = SMALL) -> str:
    exporter = corrupted("python", change)
    monkeypatch.setitem(EXPORTERS, "python", exporter)
    with pytest.raises(ExportRefused) as error:
        export(arch, None, "python", out)
    return str(error.value)


def test_other_weights_are_refused_with_the_difference_and_an_older_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.py").write_text("older")

    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        weights["head0.linear.bias"] += torch.linalg.vector_norm(weights["head0.linear.weight"])
        save_file(weights, folder / "model.safetensors")

    message = refused(monkeypatch, tmp_path, change)
    assert "model.py: must compute what the network computes up to 1e-05 of its largest output, differs by" in message
    assert float(message.partition("differs by ")[2].partition(";")[0]) > 0.1
    assert [f.name for f in tmp_path.iterdir()] == ["model.py"] and (tmp_path / "model.py").read_text() == "older"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("return x\n\n\n#", "return x / 0\n\n\n#", "must be finite, the file gives NaN or infinity in 'output'"),
        ("return x\n\n\n#", "return x[:, :2]\n\n\n#", "for a batch of 1 the outputs must be {'output': (1, 3)}, got {'output': (1, 2)}"),
        ("import torch\n", "import torch\nimport nasforge\n", "ended with \"ModuleNotFoundError: No module named 'nasforge'\""),
    ],
    ids=["not finite", "other shape", "imports nasforge"],
)
def test_a_file_that_fails_is_refused(before: str, after: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(folder: Path) -> None:
        text = (folder / "model.py").read_text()
        assert text.count(before) == 1
        (folder / "model.py").write_text(text.replace(before, after))

    assert words in refused(monkeypatch, tmp_path / "new", change)
    assert not list((tmp_path / "new").iterdir())


def test_what_torch_cannot_trace_is_refused_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: Linear, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else x

    monkeypatch.setattr(Linear, "forward", forward)
    with pytest.raises(ExportRefused, match="to: torch cannot express this network .*; try another kind"):
        export(SMALL, None, "torch", tmp_path)
    assert not list(tmp_path.iterdir())


def test_mistakes_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="to: there is no export 'onx'; did you mean 'onnx'\\? valid: onnx, python, torch"):
        export(SMALL, None, "onx", tmp_path)
    with pytest.raises(UserError, match="name: must be a plain file name without an ending, got '../model'"):
        export(SMALL, None, "onnx", tmp_path, name="../model")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="out: must be a folder that can be written, got .*file/out"):
        export(SMALL, None, "python", tmp_path / "file" / "out")


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    state = build(SMALL).state_dict()
    with pytest.raises(UserError, match=r"1 are missing \(steps.head0.linear.bias\) and 1 belong to another \(bias\)"):
        export(SMALL, {("bias" if k == "steps.head0.linear.bias" else k): v for k, v in state.items()}, "python", tmp_path)
    with pytest.raises(UserError, match=r"must have the shapes of the architecture; .*steps.head0.linear.bias.*\[7\].*\[3\]"):
        export(SMALL, {**state, "steps.head0.linear.bias": torch.zeros(7)}, "python", tmp_path)


# ---------------------------------------------------------------- the python file


@pytest.fixture(scope="module", params=[IMAGES, TEXT], ids=["images", "text"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], nn.Module, Path]:
    arch = request.param
    network = build(arch).eval()
    network.load_state_dict(scattered(arch))
    return arch, network, write_python(arch, network, tmp_path_factory.mktemp("out"), "net")[0]


def test_the_file_has_no_unused_names_sorted_imports_and_short_lines(written: tuple[Any, Any, Path]) -> None:
    ruff(written[2], "check", "--isolated", "--select", "E,F,I,B", "--line-length", "140")


def test_the_network_in_the_file_is_as_a_formatter_would_write_it(written: tuple[Any, Any, Path], tmp_path: Path) -> None:
    text = written[2].read_text()
    part = tmp_path / "part.py"
    part.write_text(text[text.index("class Model") : text.index("\n\n\n# ---")] + "\n")
    ruff(part, "format", "--isolated", "--check", "--line-length", "120")


def test_names_of_weights_are_ours_without_steps(written: tuple[Any, nn.Module, Path]) -> None:
    _, network, file = written
    ours = {k.removeprefix("steps.") for k in network.state_dict() if not k.startswith("aux.")}
    assert set(load_file(file.with_suffix(".safetensors"))) == ours
    loaded = runpy.run_path(str(file))["load"]()
    theirs = loaded.state_dict()
    assert set(theirs) == ours and not loaded.training
    assert all(torch.equal(v, theirs[k.removeprefix("steps.")]) for k, v in network.state_dict().items() if not k.startswith("aux."))


def test_it_trains_like_ours(written: tuple[dict[str, Any], nn.Module, Path]) -> None:
    """Without what is drawn at random, the same step of training gives the same gradients."""
    arch, network, file = written
    if arch is TEXT:
        xs = [torch.randint(30, (4, 9)), torch.rand(4, 9, 5)]
    else:
        xs = [torch.rand(4, 3, 12, 12)]
    theirs = runpy.run_path(str(file))["load"]().train()
    ours = network.train()
    out = ours(*xs)
    out = out[0] if isinstance(out, tuple) else out  # (main, auxiliary)
    for y in (out, theirs(*xs)):
        sum(part.square().sum() for part in (y.values() if isinstance(y, dict) else [y])).backward()
    for name, parameter in theirs.named_parameters():
        mine = ours.get_parameter(name if name.startswith("heads.") else f"steps.{name}")
        torch.testing.assert_close(parameter.grad, mine.grad)
    network.zero_grad()
    network.eval()


def test_dtypes_of_the_own_reader(tmp_path: Path) -> None:
    """The lifted reader against the safetensors library, on every type that torch and the format share."""
    file = write_python(SMALL, build(SMALL), tmp_path, "net")[0]
    names = runpy.run_path(str(file))
    tensors = {"a": torch.randn(3, 2), "b": torch.arange(4), "c": torch.tensor(5.0)}
    names["DTYPES"]["I64"] = torch.int64
    save_file(tensors, tmp_path / "some.safetensors", metadata={"format": "pt"})
    found = names["read_weights"](tmp_path / "some.safetensors")
    assert set(found) == set(tensors) and all(torch.equal(found[k], v) for k, v in tensors.items())


@pytest.mark.parametrize(("name", "file"), [("json", "json_"), ("torch", "torch_"), ("class", "class_"), ("resnet-18.b", "resnet_18_b")])
def test_a_file_hides_no_module(name: str, file: str, tmp_path: Path) -> None:
    assert write_python(SMALL, build(SMALL), tmp_path, name)[0].stem == file


def test_steps_that_no_output_depends_on_are_left_out(tmp_path: Path) -> None:
    arch = {
        "input": [6], "classes": 3,
        "body": [{"linear": {"out": 4}, "as": "a"}, {"linear": {"out": 5}, "as": "b"}, {"linear": {"out": 6}, "from": "a"}],
        "aux": {"b": ["linear"]},
    }  # fmt: skip
    network = build(arch).eval()
    file = write_python(arch, network, tmp_path, "net")[0]
    text = file.read_text()
    assert "Left out, since no output depends on them: body1." in text and f"{6 * 4 + 4 + 4 * 6 + 6} parameters." in text
    x = torch.rand(2, 6)
    assert torch.equal(runpy.run_path(str(file))["load"]()(x), network(x))


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
    assert lines(rows) == ["x", "p=body0(x)", "x=body1(p)"] or lines(rows) == ["x", "x=body0(x)", "x=body1(x)"]


# ---------------------------------------------------------------- spelling


def test_calls_name_what_differs_from_the_defaults() -> None:
    network = build({"input": [3, 8, 8], "classes": 2, "body": [{"residual": {"body": [CONV], "shortcut": "none", "drop_path": 0.1}}]})
    found = spell(network.steps["body0"], "body0")
    names = {p.opening: p.opening.__name__ for p in within(found) if isinstance(p.opening, type)}
    assert spelled_text(found, names, indent=0) == "Residual(Conv((3, 8, 8), out=8), shortcut=None, drop_path=0.1)"


def test_values_become_text_that_evaluates_to_them() -> None:
    for value in ('say "x"\n', True, None, 3, -0.5, 1e-9, float("inf")):
        assert eval(literal(value)) == value
    embedding = build({"input": {"tokens": 9, "length": 4}, "body": [{"embedding": {"out": 3}}]}).steps["body0"]
    found = spell(embedding, "body0")
    assert spelled_text(found, {type(embedding): "E", Tokens: "Tokens"}, indent=0) == "E(Tokens(length=4, vocab=9), out=3)"


def test_a_module_that_does_not_tell_how_it_was_made_is_named() -> None:
    with pytest.raises(UserError, match=r"body3\.body: to be written as Python, Linear must keep .* it has no in_features|body3\.body: .*Linear"):
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
    found = lift([sys.modules["nasforge.blocks.second"].Top], set(), {"Model"})
    room.lift.parse.cache_clear() if hasattr(room, "lift") else None
    return found


def test_lifting_keeps_what_is_reached_and_nothing_else(lifted: Lifted) -> None:
    code = lifted.code
    for kept in ("# twice as much\ndef _helper", "LOW, HIGH = 1, 2", 'TABLE = {"kept": 1}', "flag = 3", "class Base(nn.Module):", "def shared"):
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


def test_the_result_is_data(tmp_path: Path) -> None:
    done = Exported(tmp_path, (tmp_path,), 0.0, 1.0, frozenset())
    assert replace(done, seconds=2.0).seconds == 2.0
