"""How long a network takes on this machine, measured."""

from __future__ import annotations

import gc
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor, nn

from nasforge.arch import Arch
from nasforge.blocks.shapes import Shape, example
from nasforge.build import build, input_shapes
from nasforge.errors import UserError, nearest

NOISY = 0.15  # quartiles further apart than this share of the median
WARMUP = 3  # rounds that are run and not timed


@dataclass(frozen=True)
class Latency:
    """Median time of one forward pass of a batch; spread is the distance of the quartiles as a share of the median."""

    median_ms: float
    spread: float
    noisy: bool
    runtime: str
    device: str
    threads: int
    batch: int


# ---------------------------------------------------------------- measuring


def measure(
    model: Arch | nn.Module, shape: Shape | None = None, *, runtime: str = "eager", device: str = "cpu", threads: int = 1, batch: int = 1,
    repeats: int = 30,
) -> Latency:  # fmt: skip
    """The latency of an architecture or of a module (which needs the shape of its input, without the batch)."""
    return measure_many([model], shape, runtime=runtime, device=device, threads=threads, batch=batch, repeats=repeats)[0]


def measure_many(
    models: Sequence[Arch | nn.Module], shape: Shape | None = None, *, runtime: str = "eager", device: str = "cpu", threads: int = 1,
    batch: int = 1, repeats: int = 30,
) -> list[Latency]:  # fmt: skip
    """The latency of each model; they take turns, so that a slow moment of the machine falls on all of them.

    runtime: eager (torch) or onnxruntime (exported on the fly, processor only). Modules are measured in evaluation mode and given
    back as they were. Raises UserError for an unknown runtime or device, or numbers below 1.
    """
    if runtime not in RUNTIMES:
        raise UserError(f"runtime: there is no runtime {runtime!r}; {nearest(runtime, RUNTIMES)}")
    for name, value in (("threads", threads), ("batch", batch), ("repeats", repeats)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name}: must be a whole number >= 1, got {value!r}")
    place = _device(device, runtime)
    with ExitStack() as stack:
        stack.enter_context(_threads(threads))
        calls = []
        for model in models:
            module, inputs = _prepared(model, shape, place, batch)
            stack.enter_context(_evaluating(module, place))
            calls.append(stack.enter_context(RUNTIMES[runtime](module, inputs, threads)))
        times = _take_turns(calls, repeats, place)
    return [_latency(one, runtime, device, threads, batch) for one in times]


def _latency(times_ms: list[float], runtime: str, device: str, threads: int, batch: int) -> Latency:
    middle = median(times_ms)
    low, _, high = quantiles(times_ms, n=4) if len(times_ms) > 1 else (middle, middle, middle)
    spread = (high - low) / middle
    return Latency(middle, spread, spread > NOISY, runtime, device, threads, batch)


def _take_turns(calls: list[Callable[[], Any]], repeats: int, device: torch.device) -> list[list[float]]:
    """Milliseconds of each call in each timed round."""
    times: list[list[float]] = [[] for _ in calls]
    wait = torch.cuda.synchronize if device.type == "cuda" else _nothing
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of a pass is not the network's
    try:
        for turn in range(WARMUP + repeats):
            for call, taken in zip(calls, times, strict=True):
                began = time.perf_counter()
                call()
                wait()
                if turn >= WARMUP:
                    taken.append(1000 * (time.perf_counter() - began))
    finally:
        if collecting:
            gc.enable()
    return times


def _nothing() -> None:
    pass


def _device(name: str, runtime: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device: {name!r} cannot be used here ({str(error).splitlines()[0]}); use cpu") from None
    if device.type == "meta" or (runtime == "onnxruntime" and device.type != "cpu"):
        raise UserError(f"device: {runtime} cannot be timed on {name}; use cpu")
    return device


def _prepared(model: Arch | nn.Module, shape: Shape | None, device: torch.device, batch: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    if isinstance(model, nn.Module):
        if shape is None:
            raise UserError("shape: a module needs the shape of its input, for example (3, 32, 32)")
        return model, (example(shape, batch, device),)
    return build(model, device), tuple(example(one, batch, device) for one in input_shapes(model).values())


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _evaluating(module: nn.Module, device: torch.device) -> Iterator[None]:
    training, home = module.training, next((p.device for p in module.parameters()), device)
    module.eval().to(device)
    try:
        yield
    finally:
        module.train(training).to(home)


# ---------------------------------------------------------------- runtimes: (module, inputs, threads) -> a call


@contextmanager
def _eager(module: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Iterator[Callable[[], Any]]:
    def call() -> Any:
        with torch.inference_mode():
            return module(*inputs)

    yield call


@contextmanager
def _onnxruntime(module: nn.Module, inputs: tuple[Tensor, ...], threads: int) -> Iterator[Callable[[], Any]]:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        logger = logging.getLogger("torch.onnx._internal.exporter._registration")  # tells that torchvision is absent
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(module, inputs, str(path), dynamo=True, opset_version=18, verbose=False)
        finally:
            logger.setLevel(level)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {one.name: x.numpy() for one, x in zip(session.get_inputs(), inputs, strict=True)}
        yield lambda: session.run(None, feed)


RUNTIMES: dict[str, Callable[..., Any]] = {"eager": _eager, "onnxruntime": _onnxruntime}
