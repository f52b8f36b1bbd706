"""A network as an ONNX file with any batch size; inputs and outputs have the names of the architecture's inputs and heads."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nasforge.data.preprocess import labels_of
from nasforge.export.describe import FRESH, in_words, out_words
from nasforge.export.raw import FromRaw
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


def write_onnx(
    arch: Arch, network: Network | FromRaw, folder: Path, name: str, about: Mapping[str, Any] | None = None, trained: bool = True
) -> list[Path]:
    """Write the ONNX file into `folder`, with its weights in a file beside it where they do not fit into one (2 GB).

    `about` is the description that it carries among its properties, the names of the classes with it.
    """
    path = folder / f"{name}.onnx"
    inner = network.network if isinstance(network, FromRaw) else network
    assert isinstance(inner, Network)
    with quiet(), _without_torchvision():
        onnx = torch.onnx.export(
            program(arch, network),
            dynamo=True,
            input_names=inner.inputs,
            output_names=list(inner.heads) or ["output"],
            opset_version=OPSET,
            dynamic_shapes=batches(network),  # for the name of the axis
            verbose=False,
        )
        assert onnx is not None
        if about is not None:
            onnx.model.metadata_props.update(properties(about))
        if not trained:
            onnx.model.metadata_props["weights"] = FRESH
        onnx.save(path)
    return [path, *folder.glob(f"{name}.onnx.*")]


def properties(about: Mapping[str, Any]) -> dict[str, str]:
    """Return what an ONNX file says of itself, for programs (preprocess, labels: JSON) and for readers (input, output)."""
    return {
        "preprocess": json.dumps(about),
        "labels": json.dumps(labels_of(about), ensure_ascii=False),
        "input": "; ".join(f"{name}: {in_words(one, about['inside'])}" for name, one in about["inputs"].items()),
        "output": "; ".join(f"{name}: {out_words(one, about['inside'])}" for name, one in about["targets"].items()),
    }


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
