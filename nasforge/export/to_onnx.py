"""A network as an ONNX file with any batch size; inputs and outputs have the names of the architecture's inputs and heads."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from nasforge.export.to_torch import batches, program, quiet
from nasforge.networks.network import Network
from nasforge.spaces.arch import Arch

OPSET = 18

RUN = """
import numpy
import onnxruntime
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
inputs = numpy.load("inputs.npz")
names = [one.name for one in session.get_outputs()]
outputs = {}
for i in sorted({key.partition(".")[0] for key in inputs}):
    feed = {key.partition(".")[2]: inputs[key] for key in inputs if key.startswith(i + ".")}
    outputs |= {i + "." + name: out for name, out in zip(names, session.run(names, feed), strict=True)}
numpy.savez("outputs.npz", **outputs)
"""


def write_onnx(arch: Arch, network: Network, folder: Path, name: str) -> list[Path]:
    """Write the ONNX file into `folder`, with its weights in a file beside it where they do not fit into one (2 GB)."""
    path = folder / f"{name}.onnx"
    with quiet(), _without_torchvision():
        onnx = torch.onnx.export(
            program(arch, network),
            dynamo=True,
            input_names=network.inputs,
            output_names=list(network.heads) or ["output"],
            opset_version=OPSET,
            dynamic_shapes=batches(network),  # for the name of the axis
            verbose=False,
        )
        assert onnx is not None
        onnx.save(path)
    return [path, *folder.glob(f"{name}.onnx.*")]


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Drop the log lines that say that torchvision, which nothing here needs, is not installed."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")

    def wanted(record: logging.LogRecord) -> bool:
        return "torchvision is not installed" not in record.getMessage()

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
