"""A network as a torch.export program with any batch size (`NAME.pt2`)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from nasforge.blocks.core.shapes import example
from nasforge.data.preprocess import FILE
from nasforge.export.describe import FRESH
from nasforge.export.raw import FromRaw
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


def write_torch(
    arch: Arch, network: Network | FromRaw, folder: Path, name: str, about: Mapping[str, Any] | None = None, trained: bool = True
) -> list[Path]:
    """Write the program file into `folder`; `about` is the description that it carries as an extra file."""
    path = folder / f"{name}.pt2"
    extra = {} if about is None else {FILE: json.dumps(about)}
    extra |= {} if trained else {"weights.txt": FRESH}
    with quiet():
        torch.export.save(program(arch, network), path, extra_files=extra)
    return [path]


def program(arch: Arch, network: Network | FromRaw) -> ExportedProgram:
    """Return the traced network; the first axis of every input is one free batch size >= 1."""
    inputs = tuple(example(shape, TRACED_BATCH) for shape in input_shapes(arch).values())
    if isinstance(network, FromRaw):
        described = [network.inputs[name] for name in network.names]
        inputs = tuple(torch.zeros(TRACED_BATCH, *one["shape"], dtype=getattr(torch, one["dtype"])) for one in described)
    return torch.export.export(network, inputs, dynamic_shapes=batches(network))


def batches(network: Network | FromRaw) -> tuple[Any, ...]:
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
