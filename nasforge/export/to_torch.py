"""A network as a torch.export program with any batch size (`NAME.pt2`)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from nasforge.blocks.core.shapes import example
from nasforge.networks.build import input_shapes
from nasforge.networks.network import Network
from nasforge.spaces.arch import Arch

TRACED_BATCH = 2  # torch.export takes a batch of 0 or 1 for a constant
NOISE = (  # of torch 2.13 about its own code, and about inputs that share one batch; nothing that a user could act on
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (UserWarning, r"# The axis name: batch will not be used, since it shares the same shape constraints with another axis: batch\."),
)

RUN = """
import torch
model = torch.export.load(file).module()
with torch.no_grad():
    torch.save([model(*xs) for xs in torch.load("inputs.pt")], "outputs.pt")
"""


def write_torch(arch: Arch, network: Network, folder: Path, name: str) -> list[Path]:
    """Write the program file into `folder`."""
    path = folder / f"{name}.pt2"
    with quiet():
        torch.export.save(program(arch, network), path)
    return [path]


def program(arch: Arch, network: Network) -> ExportedProgram:
    """Return the traced network; the first axis of every input is one free batch size >= 1."""
    inputs = tuple(example(shape, TRACED_BATCH) for shape in input_shapes(arch).values())
    return torch.export.export(network, inputs, dynamic_shapes=batches(network))


def batches(network: Network) -> tuple[Any, ...]:
    """Return what torch calls the dynamic shapes of `forward(*xs)`: the first axis of each input is the same number, 1 or more."""
    batch = Dim("batch", min=1)
    return (tuple({0: batch} for _ in network.inputs),)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the known noise of the exporters; every other warning stays."""
    with warnings.catch_warnings():
        for category, message in NOISE:
            warnings.filterwarnings("ignore", message, category)
        yield
