"""Exports: the lifted source, the spelled network, and each kind run in a fresh Python."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nasforge.blocks.core.linear import Linear
from nasforge.errors import UserError
from nasforge.export import EXPORTERS, Exporter, ExportRefused, export
from nasforge.export.check import allowed, apart
from nasforge.export.to_python import write_python
from nasforge.networks.build import build

CONV: dict[str, Any] = {"conv": {"out": 8}}
BODY: list[Any] = [CONV, {"conv": {"out": 8, "act": "none"}}]
IMAGES: dict[str, Any] = {
    "name": 'a "quoted" name \\ with """ in it',
    "input": [3, 12, 12],
    "classes": 4,
    "drop_path": 0.2,
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
    for build_only in ("def build(", "canonical", "(Layer)", "(Combinator)", "free = True", "BLOCKS", "NASNet", "leaky_relu(", "Sign("):
        assert build_only not in text


def test_a_python_file_of_a_network_for_text_and_a_signal_with_two_heads(tmp_path: Path) -> None:
    done = export(TEXT, None, "python", tmp_path)
    assert done.largest_difference <= 1e-5 and "numpy" not in done.modules
    text = done.path.read_text()
    assert "Input: text (B, 9), whole numbers below 30; signal (B, 9, 5). Output: a dict of kind (B, 3), how much (B, 1)." in text
    assert "def forward(self, text: Tensor, signal: Tensor) -> dict[str, Tensor]:" in text
    assert "example = [torch.randint(30, (1, 9)), torch.rand(1, 9, 5)]" in text


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_torch_program_takes_any_batch(tmp_path: Path) -> None:
    done = export(IMAGES, scattered(IMAGES), "torch", tmp_path)
    assert done.files == (tmp_path / "model.pt2",) and done.largest_difference <= 1e-4
    assert "torch" in done.modules and "nasforge" not in done.modules


# ---------------------------------------------------------------- refusals


def corrupted(kind: str, change: Callable[[Path], None]) -> Exporter:
    """The exporter whose files are changed before they are checked."""

    honest = EXPORTERS[kind]

    def write(arch: Any, network: Any, folder: Path, name: str, *rest: Any) -> list[Path]:
        files = honest.write(arch, network, folder, name, *rest)
        change(folder)
        return files

    return replace(honest, write=write)


def refused(monkeypatch: pytest.MonkeyPatch, out: Path, change: Callable[[Path], None], arch: dict[str, Any] = SMALL) -> str:
    exporter = corrupted("python", change)
    monkeypatch.setitem(EXPORTERS, "python", exporter)
    with pytest.raises(ExportRefused) as error:
        export(arch, None, "python", out)
    return str(error.value)


@pytest.mark.slow
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


def cancelling() -> dict[str, Tensor]:
    """Weights by which large numbers cancel, so that rounding in float32 moves the outputs by more than an export may."""
    torch.manual_seed(0)
    state = build(SMALL).state_dict()
    body, head = state["steps.body0.linear.weight"].abs_(), state["steps.head0.linear.weight"].zero_()
    body[1] = body[0] * 1.00003
    state["steps.body0.linear.bias"].zero_()
    head[:, 0], head[:, 1] = 1e4, -1e4
    return state


def in_float64(extra: str = "") -> Exporter:
    """The exporter to Python whose file is run in float64: it is nearer to the truth than the network."""
    honest = EXPORTERS["python"]
    program = honest.program.replace("model(*xs)", f"model.double()(*(x.double() for x in xs)).float(){extra}")
    assert program != honest.program
    return replace(honest, program=program)


@pytest.mark.slow
def test_where_rounding_moves_the_network_itself_the_file_is_judged_by_float64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORTERS, "python", in_float64())
    done = export(SMALL, cancelling(), "python", tmp_path)
    assert done.rounding is not None and done.rounding > 1e-4 and done.largest_difference < 1e-6
    assert export(SMALL, None, "python", tmp_path).rounding is None


@pytest.mark.slow
def test_rounding_excuses_no_more_than_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPORTERS, "python", in_float64(" * 1.05"))
    with pytest.raises(ExportRefused) as error:
        export(SMALL, cancelling(), "python", tmp_path)
    message = str(error.value)
    assert "rounding does not excuse it: from float64 the file is 0.05 away, the network itself" in message
    own = float(message.partition("the network itself ")[2].partition(",")[0])
    assert 1e-4 < own < 0.05 / 4 and not list(tmp_path.iterdir())
    assert [allowed(1e-5, own) for own in (None, 1e-6, 1e-3, 0.5)] == [1e-5, 1e-5, 4e-3, 0.1]


@pytest.mark.slow
def test_a_file_that_needs_more_than_torch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(folder: Path) -> None:
        text = (folder / "model.py").read_text()
        assert text.count("import torch\n") == 1
        (folder / "model.py").write_text(text.replace("import torch\n", "import torch\nimport nasforge\n"))

    message = refused(monkeypatch, tmp_path / "new", change)
    assert "must run in a fresh Python without nasforge, ended with \"ModuleNotFoundError: No module named 'nasforge'\"" in message
    assert not list((tmp_path / "new").iterdir())


Y = torch.tensor([[1.0, -4.0]])


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        ({"a": Y}, {"a": Y[:, :1]}, r"for a batch of 1 the outputs must be \{'a': \(1, 2\)\}, got \{'a': \(1, 1\)\}"),
        ({"a": Y}, {"b": Y}, r"the outputs must be \{'a': \(1, 2\)\}, got \{'b': \(1, 2\)\}"),
        ({"a": Y}, {"a": Y / 0}, "must be finite, the file gives NaN or infinity in 'a'"),
        ({"a": Y * float("nan")}, {"a": Y}, "must be finite, the network itself gives NaN or infinity in 'a'"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(expected: Any, got: Any, words: str) -> None:
    with pytest.raises(ExportRefused, match=words):
        apart("net.onnx", 1, expected, got)


def test_differences_count_relative_to_the_largest_value_of_an_output() -> None:
    assert max(apart("net", 1, {"a": Y}, {"a": Y + torch.tensor([0.0, 0.5])}).values()) == 0.5 / 4
    assert max(apart("net", 1, {"a": Y, "b": 100 * Y}, {"a": Y, "b": 100 * Y + 1}).values()) == 1 / 400
    assert max(apart("net", 1, {"a": 0 * Y}, {"a": 0 * Y}).values()) == 0


def test_what_torch_cannot_trace_is_refused_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: Linear, x: Tensor) -> Tensor:
        return self.linear(x) if x.sum() > 0 else x

    build(SMALL)  # its shapes are known before the layer is spoilt
    monkeypatch.setattr(Linear, "forward", forward)
    with pytest.raises(ExportRefused, match=r"to: torch cannot express this network .*; try another kind"):
        export(SMALL, None, "torch", tmp_path)
    assert not list(tmp_path.iterdir())


def test_mistakes_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"to: there is no export 'onx'; did you mean 'onnx'\? valid: onnx, python, torch"):
        export(SMALL, None, "onx", tmp_path)
    with pytest.raises(UserError, match=r"name: must be a plain file name without an ending, got '\.\./model'"):
        export(SMALL, None, "onnx", tmp_path, name="../model")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"out: must be a folder that can be written, got .*file/out"):
        export(SMALL, None, "python", tmp_path / "file" / "out")


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    state = build(SMALL).state_dict()
    with pytest.raises(UserError, match=r"1 are missing \(steps.head0.linear.bias\) and 1 belong to another \(bias\)"):
        export(SMALL, {("bias" if k == "steps.head0.linear.bias" else k): v for k, v in state.items()}, "python", tmp_path)
    with pytest.raises(UserError, match=r"must have the shapes of the architecture; .*steps.head0.linear.bias.*\[7\].*\[3\]"):
        export(SMALL, {**state, "steps.head0.linear.bias": torch.zeros(7)}, "python", tmp_path)


# ---------------------------------------------------------------- the python file


@pytest.fixture(params=[IMAGES, TEXT], ids=["images", "text"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], nn.Module, Path]:
    arch = request.param
    network = build(arch).eval()
    network.load_state_dict(scattered(arch))
    return arch, network, write_python(arch, network, tmp_path, "net")[0]


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
    """One step of training gives the same gradients, branches that are dropped at random included."""
    arch, ours, file = written
    assert arch is TEXT or "drop_path=0.2" in file.read_text()
    torch.manual_seed(0)
    xs = [torch.randint(30, (4, 9)), torch.rand(4, 9, 5)] if arch is TEXT else [torch.rand(4, 3, 12, 12)]
    theirs = runpy.run_path(str(file))["load"]()
    for model in (ours, theirs):
        torch.manual_seed(1)
        out = model.train()(*xs)
        out = out[0] if isinstance(out, tuple) else out  # (main, auxiliary)
        sum(part.square().sum() for part in (out.values() if isinstance(out, dict) else [out])).backward()
    for name, parameter in theirs.named_parameters():
        mine = ours.get_parameter(name if name.startswith("heads.") else f"steps.{name}")
        torch.testing.assert_close(parameter.grad, mine.grad)


def test_the_reader_in_the_file_agrees_with_the_library(tmp_path: Path) -> None:
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


def test_squeeze_excite_attention_and_lstm_in_one_python_file(tmp_path: Path) -> None:
    arch = {
        "input": [3, 16, 16],
        "classes": 5,
        "body": [
            {"conv": {"out": 8, "stride": 2}},
            {"se": {"ratio": 0.25}},
            {"mbconv": {"out": 8, "expand": 2, "se": 0.25, "stride": 2}},
            {"to_sequence": {"by": "pixel"}},
            {"encoder_layer": {"heads": 2, "expand": 2}},
            {"lstm": {"hidden": 6, "output": "last"}},
        ],
        "head": ["linear"],
    }
    done = export(arch, scattered(arch), "python", tmp_path, name="mixed")
    assert done.largest_difference <= 1e-5
    assert not done.modules & {"nasforge", "numpy", "safetensors"}
