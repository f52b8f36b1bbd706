"""Every example of every block, and a small network of each file of the zoo, taken through the exports."""

from __future__ import annotations

import importlib.util
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor

from benchmarks.exports import example_inputs, lively, spread
from nasforge import zoo
from nasforge.blocks.core.shapes import Tokens
from nasforge.export import EXPORTERS, Exporter, export
from nasforge.export.check import allowed, apart, run_fresh
from nasforge.export.to_onnx import write_onnx
from nasforge.export.to_python import write_python
from nasforge.networks.build import build
from nasforge.networks.network import Network
from nasforge.spaces import files

pytestmark = pytest.mark.thorough
RUN_ALL = """
import pathlib, runpy
for one in sorted(pathlib.Path(file).glob("*.py")):
    runpy.run_path(str(one), run_name="__main__")
"""
ROOT = Path(__file__).resolve().parents[2]
MOST_MACS = 2e9
EXAMPLES = ROOT / "tests" / "blocks"


def examples() -> dict[str, dict[str, Any]]:
    """A network of one block for each example of the block contracts."""
    out = {}
    for path in sorted(EXAMPLES.glob("examples_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, cases in module.EXAMPLES.items():
            for i, (given, args) in enumerate(cases):
                out[f"{name}_{i}"] = network_of(name, args, given if isinstance(given[0], tuple) else (given,))
    return out


def network_of(name: str, args: dict[str, Any], shapes: tuple[Any, ...]) -> dict[str, Any]:
    inputs = {f"x{i}": {"tokens": s.vocab, "length": s.length} if isinstance(s, Tokens) else list(s) for i, s in enumerate(shapes)}
    return {"input": inputs, "classes": 5, "body": [{name: args, "from": list(inputs)}]}


CASES = examples()
every_example = pytest.mark.parametrize("case", CASES)


def inputs(arch: dict[str, Any], batch: int) -> list[Tensor]:
    """Random inputs: the first around 0, further ones from 0 to 1, for some blocks read them as positions."""
    generator = torch.Generator().manual_seed(batch)
    out = []
    for i, spec in enumerate(arch["input"].values()):
        if isinstance(spec, dict):
            out.append(torch.randint(spec["tokens"], (batch, spec["length"]), generator=generator))
        else:
            out.append((torch.rand if i else torch.randn)(batch, *spec, generator=generator))
    return out


def built(case: str) -> Network:
    torch.manual_seed(0)
    return build(CASES[case]).eval()


# ---------------------------------------------------------------- python


@every_example
def test_the_python_file_of_every_block_gives_the_same(case: str, tmp_path: Path) -> None:
    network, arch = built(case), CASES[case]
    file = write_python(arch, network, tmp_path, "net")[0]
    model = runpy.run_path(str(file))["load"]()
    for batch in (1, 5):
        xs = inputs(arch, batch)
        with torch.no_grad():
            assert max(apart(case, batch, {"y": network(*xs)}, {"y": model(*xs)}).values()) <= 1e-6


def test_the_python_files_of_all_blocks_run_with_torch_alone_and_have_no_unused_names(tmp_path: Path) -> None:
    for case, arch in CASES.items():
        write_python(arch, built(case), tmp_path, f"net_{case}")
    modules = run_fresh(Exporter(write_python, RUN_ALL, ("torch",), 1e-5), tmp_path, tmp_path)
    assert "torch" in modules and not {"nasforge", "numpy", "safetensors"} & modules
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F,I", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


# ---------------------------------------------------------------- onnx


@every_example
def test_the_onnx_file_of_every_block_gives_the_same(case: str, tmp_path: Path) -> None:
    network, arch = built(case), CASES[case]
    file = write_onnx(arch, network, tmp_path, "net")[0]
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    read = {one.name for one in session.get_inputs()}
    for batch in (1, 5):
        xs = inputs(arch, batch)
        with torch.no_grad():
            y = network(*xs)
        (found,) = session.run(None, {name: x.numpy() for name, x in zip(network.inputs, xs, strict=True) if name in read})
        assert max(apart(case, batch, {"y": y}, {"y": torch.from_numpy(found)}).values()) <= 1e-4


# ---------------------------------------------------------------- documented networks


def smallest() -> list[str]:
    """Of each file of the zoo the network with the fewest multiply-adds, if these are few; `benchmarks/exports.py` takes all away."""
    macs = {row["name"]: row["macs"] for row in zoo.entries()}
    members = [files.read(path).get("members", {}) for path in sorted(Path(zoo.__file__).parent.glob("*.yaml"))]
    return [name for name in (min(names, key=macs.__getitem__) for names in members if names) if macs[name] < MOST_MACS]


@pytest.mark.parametrize("to", EXPORTERS)
@pytest.mark.parametrize("name", smallest())
def test_documented_networks_as_they_are(name: str, to: str, tmp_path: Path) -> None:
    arch = zoo.load(name)
    network = lively(arch)
    done = export(arch, network.state_dict(), to, tmp_path)
    print(f"{name} {to}: {done.largest_difference:.2g}, {done.seconds:.1f} s")
    most = allowed(EXPORTERS[to].tolerance, done.rounding)
    assert done.largest_difference <= most
    assert spread(network, example_inputs(arch, 8)) > 10 * most, (
        "the outputs must depend on the input, or the check of an export sees nothing"
    )


def test_the_benchmark_of_all_exports_goes_on_and_tries_failures_again(tmp_path: Path) -> None:
    out = tmp_path / "exports.jsonl"
    command = [sys.executable, str(ROOT / "benchmarks" / "exports.py"), "--out", str(out), "--kinds", "python", "lenet1", "mcp_neuron"]

    def rows() -> list[dict[str, Any]]:
        return [json.loads(line) for line in out.read_text().splitlines()]

    first = subprocess.run([*command[:-1]], capture_output=True, text=True, check=True)
    assert "python: 1 of 1 passed, 0 failed, 0 not tried" in first.stdout
    subprocess.run(command, capture_output=True, check=True)
    assert [(row["name"], row["difference"], row["error"]) for row in rows()] == [("lenet1", 0, None), ("mcp_neuron", 0, None)]
    out.write_text("".join(json.dumps({**row, "error": "a fault" if row["name"] == "lenet1" else None}) + "\n" for row in rows()))
    subprocess.run(command, capture_output=True, check=True)
    assert [row["name"] for row in rows()] == ["lenet1", "mcp_neuron", "lenet1"] and rows()[-1]["error"] is None
