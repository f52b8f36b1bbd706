"""What runs a network while it is timed: each runtime turns a module and its inputs into a call without arguments.

A runtime is a context manager (module, inputs, threads) -> call. Models are exported on the fly where a runtime wants a file.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasforge.errors import UserError

Call = Callable[[], Any]
Inputs = tuple[Tensor, ...]
PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino"}  # what a runtime needs beside torch
OPSET = 18


@contextmanager
def _eager(module: nn.Module, inputs: Inputs, threads: int) -> Iterator[Call]:
    def call() -> Any:
        with torch.inference_mode():
            return module(*inputs)

    yield call


@contextmanager
def _compiled(module: nn.Module, inputs: Inputs, threads: int) -> Iterator[Call]:
    """torch.compile of the exported graph: compiled code is kept by function, and a graph of its own is a function of its own."""
    with _quiet():
        compiled = torch.compile(torch.export.export(module, inputs).module(check_guards=False), dynamic=False)

        def call() -> Any:
            with torch.no_grad():
                return compiled(*inputs)

        call()
    yield call


@contextmanager
def _onnxruntime(module: nn.Module, inputs: Inputs, threads: int) -> Iterator[Call]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = write_onnx(module, inputs, Path(folder) / "network.onnx")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {one.name: x.numpy() for one, x in zip(session.get_inputs(), inputs, strict=True)}
    yield lambda: session.run(None, feed)


@contextmanager
def _openvino(module: nn.Module, inputs: Inputs, threads: int) -> Iterator[Call]:
    import openvino

    precision = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}[_dtype(module)]
    settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    with tempfile.TemporaryDirectory() as folder:
        path = write_onnx(module.float(), tuple(_floats(x, torch.float32) for x in inputs), Path(folder) / "network.onnx")
        request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    feed = [_floats(x, torch.float32).numpy() for x in inputs]
    yield lambda: request.infer(feed)


RUNTIMES: dict[str, Callable[[nn.Module, Inputs, int], AbstractContextManager[Call]]] = {
    "eager": _eager, "compile": _compiled, "onnxruntime": _onnxruntime, "openvino": _openvino,
}  # fmt: skip
TORCH_OWN = ("eager", "compile")  # these run wherever torch does; the others on the processor
ONE_THREAD = ("eager", "compile", "onnxruntime")  # on one thread these compute in the thread that calls


@contextmanager
def running(runtime: str, module: nn.Module, inputs: Inputs, threads: int) -> Iterator[Call]:
    """The call of a runtime. Raises UserError where its package is absent, or where it cannot run the network."""
    package = PACKAGES.get(runtime)
    if package and importlib.util.find_spec(package) is None:
        raise UserError(f"runtime: {runtime} needs the package {package}, which is not installed; pip install 'nasforge[{package}]'")
    manager = RUNTIMES[runtime](module, inputs, threads)
    try:
        call = manager.__enter__()
        call()
    except UserError:
        raise
    except Exception as error:  # compilers and runtimes raise classes of their own
        text = str(error).strip()
        raise UserError(
            f"runtime: {runtime} cannot run this network in {_dtype(module)} here "
            f"({type(error).__name__}: {text.splitlines()[0] if text else ''}); take another runtime or precision"
        ) from None
    try:
        yield call
    finally:
        manager.__exit__(None, None, None)


def write_onnx(module: nn.Module, inputs: Inputs, path: Path) -> Path:
    """Return the path of an ONNX file of the module for inputs of exactly these shapes."""
    with _quiet():
        torch.onnx.export(module, inputs, str(path), dynamo=True, opset_version=OPSET, verbose=False)
    return path


def _dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def _floats(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks (that torchvision is absent, say)."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
