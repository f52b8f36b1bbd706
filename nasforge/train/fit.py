"""Training of any `nn.Module` on a data set by a recipe, and its result."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from nasforge.data import Data, Part
from nasforge.data.splits import stratified_order
from nasforge.errors import UserError
from nasforge.train.augment import make_augment
from nasforge.train.checkpoint import read_checkpoint, write_checkpoint
from nasforge.train.init import initialize
from nasforge.train.loop import Training, TrainingFailed, has_batch_norm, is_stuck, resume, run_epoch, state_of
from nasforge.train.optim import Average, make_optimizer
from nasforge.train.precision import Setting, choose
from nasforge.train.recipe import Recipe
from nasforge.train.scoring import check_logits, training_loss

CHECKPOINT_EVERY_S = 10.0
GROWING = ("data_fraction", "resolution")  # may differ from a checkpoint's: a training may go on with more

OnEpoch = Callable[[int, dict[str, float]], bool | None]


class OutOfMemory(TrainingFailed):
    """The training needs more memory than the device has."""


@dataclass(frozen=True)
class Fitted:
    """What a training gave.

    Attributes:
        metrics: `accuracy` and `loss` on `val` (`miou` for label maps) of the weights that the model now has.
        curve: one row an epoch: `epoch`, `loss`, `val_loss`, `accuracy`, `lr`, `seconds` since the start.
        seconds: in all, those before a resumed checkpoint included.
        epochs: that were run.
        stopped: None where all epochs were run, `pruned` by `on_epoch`, or `early` for want of progress.
    """

    metrics: dict[str, float]
    curve: list[dict[str, float]]
    seconds: float
    epochs: int
    stopped: str | None


def fit(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
    checkpoint: Path | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> Fitted:
    """Trains `model` in place on `data.train` and scores it on `data.val`; `data.test` is not touched.

    In train mode the model may return `(logits, [auxiliary logits, ...])`. With the same seed, recipe, number of threads
    and version of torch, results on a CPU are bit-identical, also over a kill and resume.

    Args:
        seed: of initial weights (where the recipe names an `init`), order of samples, augmentation and dropout. The
            caller's random state is left as it was.
        on_epoch: called after each epoch, counted from 1, with its row of the curve; true stops the training.
            The epochs before a resumed checkpoint are told again, and the answers to these do not count.
        checkpoint: file to resume from, where it exists, and to write to after an epoch and at the end.
        checkpoint_every_s: shortest time between two writes.

    Raises:
        TrainingFailed: the loss became NaN or infinite.
        OutOfMemory: the device has too little memory.
        UserError: the model does not fit the data, or the checkpoint belongs to another training.
    """
    device = _checked_device(device)
    with _own_randomness(device, seed), _memory_errors_named(recipe):
        told = {k: v for k, v in recipe.to_dict().items() if k not in GROWING}
        identity = {"recipe": told, "seed": seed, "data": data.key, "weights": _shapes(model)}
        state = None if checkpoint is None else read_checkpoint(checkpoint, identity, device)
        training = _start(model, data, recipe, seed, device, None if state is None else Setting(*state["setting"]))
        if state is not None:
            resume(training, state)
            for row in training.curve if on_epoch is not None else ():
                on_epoch(int(row["epoch"]), dict(row))
        return _run(training, on_epoch, checkpoint, checkpoint_every_s, identity)


def _start(model: nn.Module, data: Data, recipe: Recipe, seed: int, device: torch.device, setting: Setting | None) -> Training:
    """A training before its first epoch; `setting` is that of a checkpoint, else it is chosen here."""
    model.to(device)
    parts = _share(data.train, recipe.data_fraction, device), _share(data.val, 1.0, device)
    train, val = (_shrink(part, recipe.resolution) for part in parts)
    initialize(model, recipe.init, train.x[:256], seed)
    _check_fit(model, train, recipe.batch_size, data.classes)
    x, y = train.x[: recipe.batch_size], train.y[: recipe.batch_size]

    def loss(output: Any, y: Tensor) -> Tensor:
        return training_loss(output, y, None, recipe.label_smoothing, recipe.aux_weight)

    steps = recipe.epochs * math.ceil(len(train) / recipe.batch_size)
    setting = setting or choose(model, x, y, recipe, loss, steps)
    if setting.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe)
    average = None if recipe.ema is None else Average(model, recipe.ema)
    augment = make_augment(recipe.augment, train.x, train.y)
    generator = Generator().manual_seed(seed)
    return Training(model, recipe, train, val, setting, optimizer, average, augment, generator, device)


def _run(t: Training, on_epoch: OnEpoch | None, checkpoint: Path | None, every_s: float, identity: dict[str, Any]) -> Fitted:
    began, before, written = time.perf_counter(), t.seconds, time.monotonic()
    while len(t.curve) < t.recipe.epochs and t.stopped is None:
        row = run_epoch(t)
        t.seconds = row["seconds"] = before + time.perf_counter() - began
        t.curve.append(row)
        stuck = t.recipe.early_stopping is not None and is_stuck(t, t.recipe.early_stopping)
        if on_epoch is not None and on_epoch(len(t.curve), dict(row)):
            t.stopped = "pruned"
        elif stuck:
            t.stopped = "early"
        last = t.stopped is not None or len(t.curve) == t.recipe.epochs
        if checkpoint is not None and (last or time.monotonic() - written >= every_s):
            write_checkpoint(checkpoint, {"identity": identity, **state_of(t)})
            written = time.monotonic()
    return _finish(t)


def _finish(t: Training) -> Fitted:
    """Puts the weights that count into the model: the best with early stopping, else the average, else the last."""
    row = t.curve[-1]
    if t.best is not None and t.stopped != "pruned":
        t.model.load_state_dict(t.best["weights"])
        row = t.best["row"]
    elif t.average is not None:
        t.average.store()
    if t.setting.channels_last:
        t.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    t.model.eval()
    metrics = {"loss" if k == "val_loss" else k: row[k] for k in ("accuracy", "val_loss", "miou") if k in row}
    return Fitted(metrics, t.curve, t.seconds, len(t.curve), t.stopped)


def _share(part: Part, fraction: float, device: torch.device) -> Part:
    """A stratified share of the training samples, the same in every training."""
    if fraction < 1:
        count = max(2, round(fraction * len(part)))
        chosen = torch.arange(count)
        if part.y.ndim == 1:
            chosen = torch.from_numpy(stratified_order(part.y.numpy(), np.random.default_rng(0))[:count])
        part = Part(part.x[chosen], part.y[chosen])
    return Part(part.x.to(device), part.y.to(device))


def _shrink(part: Part, resolution: float) -> Part:
    """The images with their sides multiplied; pixels are averaged. Raises UserError for data that are no images."""
    if resolution == 1:
        return part
    if part.x.ndim != 4 or part.y.ndim == 3:
        raise UserError(f"recipe.resolution: is for classified images, got samples of shape {tuple(part.x.shape[1:])}; leave it at 1")
    sides = [max(1, round(side * resolution)) for side in part.x.shape[2:]]
    return Part(nn.functional.interpolate(part.x, size=sides, mode="area"), part.y)


def _check_fit(model: nn.Module, part: Part, batch_size: int, classes: int) -> None:
    """Raises UserError where the output of the model does not fit the targets, before an hour of training does."""
    batch = min(batch_size, len(part))
    if batch < 1 or (batch < 2 and has_batch_norm(model)):
        raise UserError(f"training: batch norm needs at least 2 samples a batch, got {batch}; raise batch_size or add data")
    training = model.training
    model.eval()
    with torch.no_grad():
        check_logits(model(part.x[:2]), part.y[:2], classes)
    model.train(training)


def _shapes(model: nn.Module) -> str:
    """A short hash of the names and shapes of the weights."""
    shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    return hashlib.blake2b(repr(shapes).encode(), digest_size=6).hexdigest()


def _checked_device(device: str | torch.device) -> torch.device:
    try:
        made = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device: must be cpu, cuda, cuda:N or mps, got {device!r}") from error
    if made.type == "cuda" and (made.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device: no {made} here, {torch.cuda.device_count()} CUDA devices are visible; use cpu")
    return made


@contextlib.contextmanager
def _own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers from `seed`, and the caller's random state as it was at the end."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _memory_errors_named(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not known and not any(words in str(error) for words in ("not enough memory", "can't allocate memory")):
            raise
        raise OutOfMemory(
            f"training: the device must hold the model and a batch, got out of memory with batch_size "
            f"{recipe.batch_size}; halve batch_size, use a smaller model or a device with more memory"
        ) from error


def use_threads(count: int | None = None, *, workers: int = 1) -> int:
    """Sets how many threads torch uses in this process, and returns it.

    Args:
        count: of threads; None is one where `workers` processes run side by side, which would else fight for the
            cores, and every core this process may use where it is alone.
        workers: processes that run side by side.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = count if count is not None else 1 if workers > 1 else cores
    if chosen < 1:
        raise UserError(f"threads: must be at least 1, got {chosen}")
    torch.set_num_threads(chosen)
    with contextlib.suppress(RuntimeError):  # fixed once torch has run anything in parallel
        torch.set_num_interop_threads(chosen)
    return chosen
