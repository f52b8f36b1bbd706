"""Evaluators: from a job (an architecture, a recipe, a data set) to a result. The one place where architectures meet data.

A job and a result are plain data, so any runner can carry them. Nothing here knows of strategies or studies.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from nasforge.blocks.core.shapes import Tokens
from nasforge.data import Data, load
from nasforge.errors import UserError
from nasforge.evaluation import zero_cost_scores as proxies
from nasforge.evaluation.tables import Table, read_table
from nasforge.latency import measure
from nasforge.networks.build import build, input_shapes
from nasforge.spaces.arch import Arch
from nasforge.spaces.domains import Scalar
from nasforge.train import OutOfMemory, Recipe, default_recipe, fit, inherit, score

PROXY_BATCH = 64
OnEpoch = Callable[[int, dict[str, float]], bool]


@dataclass(frozen=True)
class DataSpec:
    """How to load a data set; see `nasforge.data.load`."""

    spec: str = "digits"
    limit: int | None = None
    seed: int = 0
    allow_code: bool = False


@dataclass(frozen=True)
class Shipped(DataSpec):
    """A data set that came with a worker, where its files may not be."""

    data: Data | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Job:
    """One thing to evaluate.

    full: the long recipe of finalists instead of the short one of the search. test: score on the test part at the end.
    recipe: what differs from the default recipe. latency_limit_ms: a network measured slower is not trained.
    weights, checkpoint: files to write the weights to, and to resume a killed training from. parent: weights of a relative to begin with.
    choices, table: where the evaluator is a table: the choices of the architecture; file, column selected, column reported.
    """

    arch: Arch
    data: DataSpec
    seed: int = 0
    full: bool = False
    test: bool = False
    recipe: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    latency: bool = False
    latency_limit_ms: float | None = None
    weights: str | None = None
    checkpoint: str | None = None
    parent: str | None = None
    choices: Mapping[str, Scalar] = field(default_factory=dict)
    table: tuple[str, str, str] | None = None


@dataclass
class Result:
    """What came of a job: metrics on val, scores on test where asked for, the curve, and where the time went.

    stopped: None, "pruned" by the driver, "early", "too slow" or "out of memory". lost: its worker died, so that it may be tried again.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    stopped: str | None = None
    error: str | None = None
    lost: bool = False


@lru_cache(maxsize=2)
def data_of(spec: DataSpec) -> Data:
    """The data set, loaded once a process."""
    if isinstance(spec, Shipped) and spec.data is not None:
        return spec.data
    return load(spec.spec, seed=spec.seed, limit=spec.limit, allow_code=spec.allow_code)


def fit_to_data(arch: Mapping[str, Any], data: Data) -> Arch:
    """The architecture or space with the input and the number of classes of the data. Raises UserError where they cannot fit."""
    spec = arch.get("input")
    if isinstance(spec, Mapping) and "tokens" not in spec:
        raise UserError(
            f"input: {list(spec)} are several inputs; data sets of nasforge have one, so such a network can be shown but not trained"
        )
    wanted: Any = list(data.shape) if data.vocab is None else {"tokens": data.vocab, "length": data.shape[0]}
    have = next(iter(input_shapes({"input": spec}).values())) if spec is not None else None
    if have is not None and (
        len(have) != len(data.shape) + isinstance(have, Tokens) or isinstance(have, Tokens) != (data.vocab is not None)
    ):
        raise UserError(f"input: made for {spec}, the data set {data.name} has {wanted}; take another space or other data")
    return {**arch, "input": wanted, "classes": data.classes}


def recipe_of(job: Job, data: Data) -> Recipe:
    """The default recipe for the data with what the architecture and the job change; fewer epochs shorten the warm-up alike."""
    base = {**default_recipe(data, full=job.full).to_dict(), **(job.arch.get("recipe") or {})}
    changes = dict(job.recipe)
    if "epochs" in changes and "warmup_epochs" not in changes:
        before = Recipe.of(base)
        changes["warmup_epochs"] = before.warmup_epochs * min(1.0, Recipe.of({**base, **changes}).epochs / before.epochs)
    return Recipe.of({**base, **changes})


def at_input(data: Data, arch: Arch) -> Data:
    """The data with their images brought to the height and width that the architecture reads, where these differ.

    Averages of the nearest pixels, weighted by distance. Label maps, and inputs that differ in more, stay: building tells what is wrong.
    """
    spec: Any = arch.get("input")
    images = isinstance(spec, list | tuple) and len(spec) == len(data.shape) == 3 and data.train.y.ndim == 1
    if not images or spec[0] != data.shape[0] or tuple(spec) == data.shape:
        return data
    size = (int(spec[1]), int(spec[2]))
    parts = {name: getattr(data, name) for name in ("train", "val", "test")}
    sized = {name: replace(part, x=_resized(part.x, size)) for name, part in parts.items()}
    return replace(data, **sized, shape=(data.shape[0], *size), key=f"{data.key}-{size[0]}x{size[1]}")


def _resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, *size)"""
    return torch.nn.functional.interpolate(x, size=size, mode="bilinear", antialias=True)


@contextlib.contextmanager
def failures_in(result: Result) -> Iterator[None]:
    """What goes wrong inside is written into the result: a mistake or a failure is a result too."""
    try:
        yield
    except OutOfMemory as error:
        result.error, result.stopped = str(error), "out of memory"
    except UserError as error:
        result.error = str(error)
    except (RuntimeError, ValueError, TypeError, IndexError, MemoryError, OSError) as error:
        result.error = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else error!r}"


def train(job: Job, on_epoch: OnEpoch) -> Result:
    """The result of training and scoring; mistakes and failures are results too."""
    result = Result()
    with failures_in(result):
        given = data_of(job.data)
        data = at_input(given, job.arch)
        torch.manual_seed(job.seed)
        model = build(job.arch)
        if job.latency and not _fast_enough(job, model, result):
            return result
        if job.parent and Path(job.parent).exists():
            result.metrics["inherited"] = inherit(model, load_file(job.parent))
        fitted = fit(
            model, data, recipe_of(job, given), seed=job.seed, device=job.device,
            on_epoch=lambda epoch, row: on_epoch(epoch, {**row, **result.metrics}),
            checkpoint=Path(job.checkpoint) if job.checkpoint else None,
        )  # fmt: skip
        result.metrics |= fitted.metrics
        result.curve, result.stopped = fitted.curve, fitted.stopped
        result.seconds["training"] = fitted.seconds
        if job.test:
            result.test = score(model, data.test, device=job.device)
        if job.weights:
            Path(job.weights).parent.mkdir(parents=True, exist_ok=True)
            save_file({k: v.contiguous() for k, v in model.cpu().state_dict().items()}, job.weights)
    return result


def proxy(job: Job, on_epoch: OnEpoch) -> Result:
    """The zero-cost scores of a network on one batch of the training part; finalists (`full`) are trained all the same."""
    if job.full:
        return train(job, on_epoch)
    result = Result()
    with failures_in(result):
        data = at_input(data_of(job.data), job.arch)
        began = time.perf_counter()
        torch.manual_seed(job.seed)
        model = build(job.arch).to(job.device)
        if job.latency and not _fast_enough(job, model, result):
            return result
        result.metrics |= _scores(model, data, job.seed, job.device, tuple(proxies.PROXIES))
        result.seconds["measuring"] = result.seconds.get("measuring", 0.0) + time.perf_counter() - began
    return result


def zero_cost(arch: Arch, spec: DataSpec, seed: int, names: Sequence[str]) -> dict[str, float]:
    """The named zero-cost scores of a network; minus infinity where one is no finite number, none at all where it cannot be built.

    The random numbers of this process go on as if it had not been asked.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        result = Result()
        with failures_in(result):
            found = _scores(build(arch), at_input(data_of(spec), arch), seed, "cpu", names)
            return {name: value if value > proxies.NONE else -math.inf for name, value in found.items()}
    return {}


def _scores(model: torch.nn.Module, data: Data, seed: int, device: str, names: Sequence[str]) -> dict[str, float]:
    """Zero-cost scores on one batch of the training part."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))[:PROXY_BATCH]
    return proxies.score(model, data.train.x[order].to(device), data.train.y[order].to(device), names)


def _fast_enough(job: Job, model: torch.nn.Module, result: Result) -> bool:
    began = time.perf_counter()
    shape = next(iter(input_shapes(job.arch).values()))
    result.metrics["latency_ms"] = measure(model, shape, device=job.device).median_ms
    result.seconds["measuring"] = time.perf_counter() - began
    if job.latency_limit_ms is not None and result.metrics["latency_ms"] > job.latency_limit_ms:
        result.stopped = "too slow"
        return False
    return True


def look_up(job: Job, on_epoch: OnEpoch) -> Result:
    """What a tabular benchmark says of the network of `job.choices`; percents become shares."""
    if job.table is None:
        return Result(error="--evaluator table: needs a table; give --table FILE")
    try:
        file, select, report = job.table
        of = _table(file)
        values = [of.evaluate(dict(job.choices), column) for column in (select, report)]
    except UserError as error:
        return Result(error=str(error))
    if math.isnan(values[0]):
        return Result(error=f"{file}: does not hold this network")
    val, test = (v / (100 if of.best(c) > 1.5 else 1) for v, c in zip(values, (select, report), strict=True))
    return Result({"accuracy": val}, test={"accuracy": test} if job.test else {})


@lru_cache(maxsize=1)
def _table(file: str) -> Table:
    return read_table(Path(file))


EVALUATORS: dict[str, Callable[[Job, OnEpoch], Result]] = {"train": train, "proxy": proxy, "table": look_up}
TOLD = {
    "train": {"accuracy", "loss", "miou"},
    "proxy": set(proxies.PROXIES),
    "table": {"accuracy"},
}  # the metrics that each finds out besides costs and latency
