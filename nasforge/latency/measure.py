"""How long a network takes on this machine, measured.

On one thread the clock is the processor time of the thread that computes: what a pass takes on a quiet machine, waiting for the
processor left out. (Seen on 2 cores with 10 processes waiting: medians of two halves of a measurement 2 % apart by this clock, 5 % by the
wall clock, which itself showed four times the time.) With several threads it is the wall clock, on a GPU the device's events.
"""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor, nn

from nasforge.blocks.core.shapes import Shape, example
from nasforge.errors import UserError, nearest
from nasforge.latency.runtimes import ONE_THREAD, RUNTIMES, TORCH_OWN, Call, running
from nasforge.networks.build import build, input_shapes
from nasforge.spaces.arch import Arch

NOISY = 0.05  # share of the median by which it may be wrong: twice its standard error
AGAIN = 3  # times that rounds are repeated while a measurement is noisy
BUSY = 0.2  # share of the wall time spent waiting for a processor
WARMUP = 3  # rounds that are run and not timed
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Times = tuple[list[float], list[float]]  # milliseconds by the clock, and by the wall clock
Timed = Callable[[Call], tuple[float, float]]


@dataclass(frozen=True)
class Latency:
    """Median time of one forward pass of a batch.

    spread: distance of the quartiles, error: what the median may be wrong by, both as shares of the median; noisy: the error is more
    than 5 %. wall_ms, waiting: median by the wall clock, and the share of it that the thread waited for a processor.
    """

    median_ms: float
    spread: float
    noisy: bool
    runtime: str
    device: str
    threads: int
    batch: int
    precision: str = "float32"
    error: float = 0.0
    wall_ms: float = 0.0
    waiting: float = 0.0
    repeats: int = 0

    @property
    def busy(self) -> bool:
        """Whether other programs took much of the processor meanwhile."""
        return self.waiting > BUSY


# ---------------------------------------------------------------- measuring


def measure(
    model: Arch | nn.Module, shape: Shape | None = None, *, runtime: str = "eager", device: str = "cpu", threads: int = 1, batch: int = 1,
    repeats: int = 30, precision: str = "float32",
) -> Latency:  # fmt: skip
    """Return the latency of an architecture or of a module (which needs the shape of its input, without the batch)."""
    (found,) = measure_many(
        [model], shape, runtime=runtime, device=device, threads=threads, batch=batch, repeats=repeats, precision=precision
    )
    return found


def measure_many(
    models: Sequence[Arch | nn.Module], shape: Shape | None = None, *, runtime: str = "eager", device: str = "cpu", threads: int = 1,
    batch: int = 1, repeats: int = 30, precision: str = "float32",
) -> list[Latency]:  # fmt: skip
    """Return the latency of each model; they take turns, so that a slow moment of the machine falls on all of them.

    runtime: eager, compile (torch.compile), onnxruntime or openvino (both exported on the fly, processor only). While a median is
    uncertain by more than 5 %, all rounds are repeated, 3 times at most. Modules are measured in evaluation mode and given back as they
    were. Raises UserError for an unknown runtime, device or precision, or numbers below 1.
    """
    _check(runtime, precision, threads=threads, batch=batch, repeats=repeats)
    place = _device(device, runtime)
    with ExitStack() as stack:
        stack.enter_context(_threads(threads))
        calls = []
        for model in models:
            module, inputs = _prepared(model, shape, place, batch, PRECISIONS[precision])
            stack.enter_context(_evaluating(module, place))
            calls.append(stack.enter_context(running(runtime, module, inputs, threads)))
        times: list[Times] = [([], []) for _ in calls]
        if place.type == "cuda":
            timed = _by_events
        elif threads > 1:
            timed = _by_wall
        else:
            timed = _by_thread if runtime in ONE_THREAD else _by_process
        for turn in range(1 + AGAIN):
            _take_turns(calls, times, repeats, timed, WARMUP if turn == 0 else 0)
            found = [_latency(one, runtime, device, threads, batch, precision) for one in times]
            if not any(one.noisy for one in found):
                break
    return found


def _check(runtime: str, precision: str, **numbers: int) -> None:
    if runtime not in RUNTIMES:
        raise UserError(f"runtime: there is no runtime {runtime!r}; {nearest(runtime, RUNTIMES)}")
    if precision not in PRECISIONS:
        raise UserError(f"precision: there is no precision {precision!r}; {nearest(precision, PRECISIONS)}")
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name}: must be a whole number >= 1, got {value!r}")


def _latency(times: Times, runtime: str, device: str, threads: int, batch: int, precision: str = "float32") -> Latency:
    clock, wall = times
    middle, wall_ms = median(clock), median(wall)
    low, _, high = quantiles(clock, n=4) if len(clock) > 1 else (middle, middle, middle)
    spread = (high - low) / middle
    error = 2 * 0.93 * spread / len(clock) ** 0.5  # of a median; quartiles of a normal distribution are 1.35 sigma apart
    waiting = max(0.0, 1 - sum(clock) / sum(wall))
    return Latency(middle, spread, error > NOISY, runtime, device, threads, batch, precision, error, wall_ms, waiting, len(clock))


def _take_turns(calls: Sequence[Call], times: Sequence[Times], repeats: int, timed: Timed, warmup: int) -> None:
    """Add the milliseconds of each call in each round.

    Before a pass is timed the same runs untimed: it finds its weights in the cache, as it will where it runs alone.
    """
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of a pass is not the network's
    try:
        for turn in range(warmup + repeats):
            for call, (clock, wall) in zip(calls, times, strict=True):
                call()
                one = timed(call)
                if turn >= warmup:
                    clock.append(one[0])
                    wall.append(one[1])
    finally:
        if collecting:
            gc.enable()


# How a call is timed: milliseconds by its clock, and by the wall clock


def _by_thread(call: Call) -> tuple[float, float]:
    wall, own = time.perf_counter(), time.thread_time()
    call()
    own = time.thread_time() - own
    return 1000 * own, 1000 * (time.perf_counter() - wall)


def _by_process(call: Call) -> tuple[float, float]:
    """For runtimes that compute in a thread of their own while the caller sleeps."""
    wall, own = time.perf_counter(), time.process_time()
    call()
    own = time.process_time() - own
    return 1000 * own, 1000 * (time.perf_counter() - wall)


def _by_wall(call: Call) -> tuple[float, float]:
    wall = time.perf_counter()
    call()
    ms = 1000 * (time.perf_counter() - wall)
    return ms, ms


def _by_events(call: Call) -> tuple[float, float]:
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    first.record()
    call()
    last.record()
    torch.cuda.synchronize()
    ms = first.elapsed_time(last)
    return ms, ms


def _device(name: str, runtime: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device: {name!r} cannot be used here ({str(error).splitlines()[0]}); use cpu") from None
    if device.type == "meta" or (runtime not in TORCH_OWN and device.type != "cpu"):
        raise UserError(f"device: {runtime} cannot be timed on {name}; use cpu")
    return device


# ---------------------------------------------------------------- models


def _prepared(
    model: Arch | nn.Module, shape: Shape | None, device: torch.device, batch: int, dtype: torch.dtype
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The module and its inputs in a precision; a module of the caller's is copied before its weights are rounded."""
    if isinstance(model, nn.Module):
        if shape is None:
            raise UserError("shape: a module needs the shape of its input, for example (3, 32, 32)")
        module = model if dtype == torch.float32 else copy.deepcopy(model).to(dtype)
        inputs: tuple[Tensor, ...] = (example(shape, batch, device),)
    else:
        module = build(model, device).to(dtype)
        inputs = tuple(example(one, batch, device) for one in input_shapes(model).values())
    return module, tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)


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


def conditions(found: Latency) -> dict[str, Any]:
    """Return the conditions of a measurement, as a profile keeps them."""
    return {name: getattr(found, name) for name in ("runtime", "device", "threads", "batch", "precision")}
