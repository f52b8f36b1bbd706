"""How long a network takes on this machine: measured, and predicted from a profile fitted to measured networks."""

from __future__ import annotations

import gc
import json
import logging
import platform
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasforge.arch import Arch, Node, chain, split
from nasforge.blocks import BLOCKS
from nasforge.blocks.shapes import Shape, Tokens, example
from nasforge.build import build, input_shapes, output, steps
from nasforge.cost import Row, layer_table
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


# ---------------------------------------------------------------- a profile: what blocks take on one machine

FEATURES = ("network", "layers", "dense_macs", "grouped_macs", "bytes")
PENALTIES = (0.01, 0.1, 1.0, 10.0, float("inf"))


@dataclass(frozen=True)
class Profile:
    """Milliseconds of blocks on one machine.

    rates: ms of one unit of each of FEATURES, for blocks never seen. table: ms of the blocks of the measured networks, by
    their text, input shapes and classes. error: relative error of the prediction of each measured network by a profile
    fitted without it (median, worst), and the rank correlation of these predictions with the measurements.
    """

    runtime: str
    device: str
    threads: int
    batch: int
    processor: str
    networks: int
    rates: dict[str, float]
    table: dict[str, float]
    error: dict[str, float]


def calibrate(
    archs: Sequence[Arch], *, runtime: str = "eager", device: str = "cpu", threads: int = 1, batch: int = 1, repeats: int = 30,
    timer: Callable[..., list[Latency]] = measure_many,
) -> Profile:  # fmt: skip
    """The profile fitted to measured networks: non-negative rates by least squares, then a correction for each block by ridge.

    Both minimise relative errors; the strength of the ridge is the one with the smallest leave-one-out error.
    Raises UserError for fewer than 4 networks.
    """
    if len(archs) < 4:
        raise UserError(f"calibrate: needs at least 4 networks to fit and check a profile, got {len(archs)}")
    measured = timer(archs, runtime=runtime, device=device, threads=threads, batch=batch, repeats=repeats)
    times = np.array([one.median_ms for one in measured])
    counts = [Counter(_units(arch)) for arch in archs]
    penalty, held_out = min(((p, _leave_one_out(counts, times, p)) for p in PENALTIES), key=lambda pair: float(np.mean(_apart(pair[1], times))))
    rates, table = _fit(counts, times, penalty)
    apart = _apart(held_out, times)
    error = {"median": float(np.median(apart)), "worst": float(apart.max()), "rank_correlation": _rank_correlation(held_out, times)}
    processor = platform.processor() or platform.machine()
    return Profile(runtime, device, threads, batch, processor, len(archs), rates, table, error)


def predict(
    profile: Profile, arch: Arch, *, runtime: str | None = None, device: str | None = None, threads: int | None = None, batch: int | None = None
) -> float:
    """The predicted milliseconds of an architecture. Raises UserError where the profile was made for other conditions than those asked."""
    for name, asked in (("runtime", runtime), ("device", device), ("threads", threads), ("batch", batch)):
        if asked is not None and asked != getattr(profile, name):
            raise UserError(f"profile: is for {name} {getattr(profile, name)!r}, asked for {asked!r}; calibrate again with {name} {asked!r}")
    return _predict(Counter(_units(arch)), profile.rates, profile.table)


def write_profile(profile: Profile, path: str | Path) -> Path:
    """The path of the JSON file written."""
    path = Path(path)
    path.write_text(json.dumps(asdict(profile), indent=1), encoding="utf-8")
    return path


def read_profile(path: str | Path) -> Profile:
    """The profile in a JSON file. Raises UserError where the file is none."""
    try:
        return Profile(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is no latency profile ({error}); make one with calibrate") from None


# ---------------------------------------------------------------- fitting

Units = Counter[str]  # block texts and how often they stand in a network


def _fit(counts: list[Units], times: np.ndarray, penalty: float) -> tuple[dict[str, float], dict[str, float]]:
    """(rates, table). A block takes its features times the rates, times one plus a correction that ridge keeps small."""
    rates = dict(zip(FEATURES, _non_negative(np.array([_features(units) for units in counts]) / times[:, None]), strict=True))
    blocks = sorted(set().union(*counts))
    guess = np.array([_guess(block, rates) for block in blocks])
    if penalty == float("inf"):
        return rates, dict(zip(blocks, guess.tolist(), strict=True))
    shares = np.array([[units[block] for block in blocks] for units in counts]) * guess / times[:, None]
    missing = 1 - shares.sum(1) - rates["network"] / times
    weights = np.linalg.solve(shares @ shares.T + penalty * np.mean(np.sum(shares**2, 1)) * np.eye(len(times)), missing)
    return rates, dict(zip(blocks, (guess * np.maximum(0, 1 + shares.T @ weights)).tolist(), strict=True))


def _non_negative(rows: np.ndarray) -> np.ndarray:
    """The w >= 0 for which rows @ w is nearest to ones: the best of the least-squares fits of every subset of columns."""
    best, least = np.zeros(rows.shape[1]), float("inf")
    scale = np.maximum(rows.max(0), 1e-30)
    for size in range(1, rows.shape[1] + 1):
        for columns in map(list, combinations(range(rows.shape[1]), size)):
            found = np.linalg.lstsq(rows[:, columns] / scale[columns], np.ones(len(rows)), rcond=None)[0] / scale[columns]
            distance = float(np.sum((rows[:, columns] @ found - 1) ** 2))
            if (found >= 0).all() and distance < least * (1 - 1e-9):
                best, least = np.zeros(rows.shape[1]), distance
                best[columns] = found
    return best


def _leave_one_out(counts: list[Units], times: np.ndarray, penalty: float) -> np.ndarray:
    """The prediction of each network by a fit to the others."""
    out = []
    for i in range(len(times)):
        rest = np.arange(len(times)) != i
        out.append(_predict(counts[i], *_fit([c for c, kept in zip(counts, rest, strict=True) if kept], times[rest], penalty)))
    return np.array(out)


def _predict(units: Units, rates: dict[str, float], table: dict[str, float]) -> float:
    return rates["network"] + sum(n * table.get(block, _guess(block, rates)) for block, n in units.items())


def _guess(block: str, rates: dict[str, float]) -> float:
    return sum(rates[name] * amount for name, amount in zip(FEATURES[1:], _block_features(block), strict=True))


def _features(units: Units) -> list[float]:
    amounts = [[n * amount for amount in _block_features(block)] for block, n in units.items()]
    return [1.0, *(float(sum(column)) for column in zip(*amounts, strict=True))]


def _apart(predicted: np.ndarray, times: np.ndarray) -> np.ndarray:
    return np.abs(predicted - times) / times


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's coefficient; 0 where one of them is constant."""
    ranks = [np.argsort(np.argsort(one)).astype(float) for one in (a, b)]
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(ranks[0], ranks[1])[0, 1])


# ---------------------------------------------------------------- the blocks of a network


def _units(arch: Arch) -> Iterator[str]:
    """The text of every block with its input shapes and the classes; chains and stages are taken apart."""
    classes = int(arch.get("classes", 0))
    for step in steps(arch):
        if not step.where.startswith("aux."):
            yield from _open(step.node, step.shapes, classes)


def _open(node: Node, shapes: tuple[Shape, ...], classes: int) -> Iterator[str]:
    if node is None or isinstance(node, list | tuple):
        for part in chain(node):
            yield from _open(part, shapes, classes)
            shapes = (output(part, shapes, classes)[-1], *shapes[1:])
        return
    name, args, _ = split(node)
    if name == "stage":
        yield from _open(BLOCKS["stage"].make(**args), shapes, classes)
    else:
        yield json.dumps([node, [_spec(shape) for shape in shapes], classes])


def _spec(shape: Shape) -> Any:
    """A shape as an architecture file writes it."""
    return {"tokens": shape.vocab, "length": shape.length} if isinstance(shape, Tokens) else list(shape)


@lru_cache(maxsize=100_000)
def _block_features(block: str) -> tuple[float, float, float, float]:
    """Layers, multiply-adds in dense and in grouped convolutions, bytes read and written by one block."""
    node, specs, classes = json.loads(block)
    name, args, _ = split(node)
    inputs = {f"x{i}": spec for i, spec in enumerate(specs)}
    rows = layer_table({"input": inputs, "classes": max(classes, 1), "body": [{name: args, "from": list(inputs)}]})
    grouped = sum(row.macs for row in rows if _is_grouped(row))
    return (
        float(len(rows)),
        float(sum(row.macs for row in rows) - grouped),
        float(grouped),
        float(sum(row.input_bytes + row.output_bytes + row.parameter_bytes for row in rows)),
    )


def _is_grouped(row: Row) -> bool:
    return row.args.get("groups", 1) != 1
