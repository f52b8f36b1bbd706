"""Every documented network, one by one: built in time, every parameter with a gradient, taken away as ONNX and as one Python file."""

from __future__ import annotations

import os
import runpy
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from nasforge import files, zoo
from nasforge.arch import SECTIONS, chain, split
from nasforge.blocks.network import Network
from nasforge.blocks.shapes import example
from nasforge.build import _probe, build, input_shapes, steps
from nasforge.cost import count, layer_table
from nasforge.errors import UserError
from nasforge.export.check import compare
from nasforge.export.to_onnx import write_onnx
from nasforge.export.to_python import write_python
from nasforge.scaling import scale

pytestmark = pytest.mark.slow
MOST_PARAMS = 40_000_000  # of a network whose weights are drawn and written here
MOST_LAYERS = 60
FOLDER = Path(zoo.__file__).parent
every_entry = pytest.mark.parametrize("name", zoo.names())


def handy(name: str) -> dict[str, Any]:
    """The small form of a network of one image or video, any other as it is."""
    arch = zoo.load(name)
    shape = next(iter(input_shapes(arch).values()))
    return zoo.load(f"small_{name}") if len(input_shapes(arch)) == 1 and len(shape) >= 3 else arch


@lru_cache(maxsize=8)
def narrow(name: str) -> dict[str, Any]:
    """The same with fewer repeats, so that rounding does not add up over hundreds of layers, and narrower as long as it is large."""
    arch = handy(name)
    if len(layer_table(arch)) > MOST_LAYERS:
        arch = thinned(arch)
    rows = len(layer_table(arch))
    if rows > MOST_LAYERS:
        arch = scale(arch, 1.0, depth=MOST_LAYERS / rows, width=1.0, resolution=1.0)
    for _ in range(3):
        if count(arch).params <= MOST_PARAMS:
            break
        narrower = scale(arch, 1.0, depth=1.0, width=0.25, resolution=1.0)
        if not builds(narrower):  # groups that the maps no longer fill
            break
        arch = narrower
    return arch


def thinned(arch: dict[str, Any]) -> dict[str, Any]:
    """The first of the lines that keep the shape and differ in nothing but fractions: a scale, a rate."""
    found, seen, out = {step.where: step for step in steps(arch)}, set(), dict(arch)
    for section in [name for name in SECTIONS if name in arch]:
        out[section] = []
        for i, node in enumerate(chain(arch[section])):
            step = found.get(f"{section}.{i}")
            if isinstance(node, dict) and step is not None and step.node == node and step.shapes == step.probe.shapes:
                name, args, _ = split(node)
                kind = repr((name, [pair for pair in args.items() if not isinstance(pair[1], float)], step.shapes))
                if kind in seen:
                    continue
                seen.add(kind)
            out[section].append(node)
    return out


def builds(arch: dict[str, Any]) -> bool:
    with suppress(UserError):
        return count(arch).params > 0
    return False


def representatives() -> list[str]:
    """The smallest network of each file, or with NASFORGE_ALL=1 all: an ONNX export takes a quarter of a minute."""
    if os.environ.get("NASFORGE_ALL"):
        return zoo.names()
    rows = {row["name"]: row["params"] for row in zoo.entries()}
    return sorted(
        min(files.read(path).get("members", {"": None}), key=lambda name: rows.get(name, 0)) for path in sorted(FOLDER.glob("*.yaml"))
    )


def inputs(arch: dict[str, Any], batch: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return [torch.randn(batch, *shape, generator=generator) for shape in input_shapes(arch).values()]


def lively(arch: dict[str, Any]) -> Network:
    """The network with weights by which its output depends on its input."""
    torch.manual_seed(0)
    network = build(arch)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the plain mean over all batches
    contrasts = torch.tensor([0.5, 1.0, 1.5, 2.0])  # else the means of samples, which some gates normalise, are nearly the same
    with torch.no_grad():
        network.train()(*(x * contrasts.view(4, *[1] * (x.ndim - 1)) for x in inputs(arch, 4)))
    return network.eval()


@every_entry
def test_it_builds_on_meta_in_two_seconds(name: str) -> None:
    arch = zoo.load(name)
    spent = []
    while not spent or (min(spent) >= 2 and len(spent) < 3):  # seconds of the processor; a busy machine gets another try
        _probe.cache_clear()
        began = time.process_time()
        network = build(arch, "meta")
        spent.append(time.process_time() - began)
    assert min(spent) < 2
    total = sum(p.numel() for key, p in network.named_parameters() if not key.startswith("aux."))
    assert total == count(arch).params


@every_entry
def test_every_parameter_gets_a_gradient(name: str) -> None:
    """On meta: every parameter is on the way from the input to an output or an auxiliary one."""
    arch = handy(name)
    network = build(arch, "meta").train()
    out = network(*(example(shape, 2, "meta") for shape in input_shapes(arch).values()))
    main, aux = out if network.aux else (out, [])
    sum(y.sum() for y in [main, *aux]).backward()
    assert not [key for key, parameter in network.named_parameters() if parameter.grad is None]


@every_entry
def test_its_weights_learn(name: str) -> None:
    """With real numbers: the gradients are finite, and those of nearly all weights are not 0 (a unit that no image moves may be)."""
    arch = narrow(name)
    network = lively(arch).train()
    y = network(*inputs(arch, 4))
    main, aux = y if network.aux else (y, [])
    sum((part * part.detach().sign()).sum() for part in [main, *aux]).backward()
    weights = [p.grad for p in network.parameters() if p.ndim > 1]
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert sum(bool(g.any()) for g in weights) >= 0.9 * len(weights)


@every_entry
def test_it_leaves_as_one_python_file(name: str, tmp_path: Path) -> None:
    arch = narrow(name)
    network = lively(arch)
    file = write_python(arch, network, tmp_path, "net")[0]
    model = runpy.run_path(str(file))["load"]()
    xs = inputs(arch, 3)
    with torch.no_grad():
        assert compare(name, 3, {"y": network(*xs)}, {"y": model(*xs)}) <= 1e-5


@pytest.mark.parametrize("name", [name for name in representatives() if name])
def test_it_leaves_as_onnx(name: str, tmp_path: Path) -> None:
    arch = narrow(name)
    network = lively(arch)
    file = write_onnx(arch, network, tmp_path, "net")[0]
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    xs = inputs(arch, 3)
    with torch.no_grad():
        y = network(*xs)
    (found,) = session.run(None, {key: x.numpy() for key, x in zip(network.inputs, xs, strict=True)})
    assert compare(name, 3, {"y": y}, {"y": torch.from_numpy(found)}) <= 1e-4
