"""Training of any `nn.Module` on a data set by a recipe, and its result."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn

from nasforge.data import Batch, Dataset
from nasforge.errors import UserError, is_out_of_memory, nearest
from nasforge.objectives.objective import validation
from nasforge.tasks import Task, forward, task_of
from nasforge.train.augment import make_augment
from nasforge.train.checkpoint import read_checkpoint, write_checkpoint
from nasforge.train.init import PATCHES_OF, initialize, whiten, zero_residuals
from nasforge.train.loop import OnStep, OutOfMemory, Stop, Training, at_share, has_batch_norm, is_stuck, resume, run_epoch, state_of
from nasforge.train.optim import Average, make_optimizer
from nasforge.train.precision import Setting, choose
from nasforge.train.recipe import Recipe

CHECKPOINT_EVERY_S = 10.0
KEPT_EVERY_S = 1.0  # in memory, for an interruption
GROWING = ("data_fraction", "resolution")  # may differ from a checkpoint's: a training may go on with more

OnEpoch = Callable[[int, dict[str, float]], Stop | None]


@dataclass(frozen=True)
class Fitted:
    """What a training gave.

    Attributes:
        metrics: on `val`, those of the task, of the weights that the model now has.
        curve: one row an epoch: `epoch`, `loss` (training), `val_loss`, the other metrics of the task on val, `lr`, `seconds`
            since the start.
        seconds: in all, those before a resumed checkpoint included.
        epochs: that were run.
        stopped: why it ended before the last epoch, None where all were run.
    """

    metrics: dict[str, float]
    curve: list[dict[str, float]]
    seconds: float
    epochs: int
    stopped: Stop | None


def fit(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    *,
    task: Task | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
    checkpoint: Path | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    scored_after: float = 0.0,
    on_step: OnStep | None = None,
) -> Fitted:
    """Train `model` in place on the training part and score it on val; the test part is not touched.

    In train mode the model may return `(main, [auxiliary, ...])`. With the same seed, recipe, number of threads
    and version of torch, results on a CPU are bit-identical, also over a kill and resume.

    Args:
        task: what is learned; by default what the data are for.
        seed: of initial weights (where the recipe names an `init`), order of samples, augmentation and dropout. The
            caller's random state is left as it was.
        on_epoch: called after each epoch, counted from 1, with its row of the curve; a `Stop` ends the training.
            The epochs before a resumed checkpoint are reported again, and the answers to these do not count.
        checkpoint: file to resume from, where it exists, and to write to after an epoch and at the end.
        checkpoint_every_s: shortest time between two writes.
        on_step: called after each step and each batch of a validation, to show how far the training is.
        scored_after: how many times a validation takes what still must fit into the minutes of the recipe afterwards.

    Raises:
        TrainingFailed: the loss became NaN or infinite.
        OutOfMemory: the device has too little memory.
        UserError: the model does not fit the data, or the checkpoint belongs to another training.
    """
    device, began = checked_device(device), time.perf_counter()
    with _own_randomness(device, seed), _memory_errors_named(recipe):
        told = {k: v for k, v in recipe.to_dict().items() if k not in GROWING}
        identity = {"recipe": told, "seed": seed, "data": data.key, "weights": _shapes(model)}
        state = None if checkpoint is None else read_checkpoint(checkpoint, identity, device, {"recipe": Recipe().to_dict()})
        setting = None if state is None else Setting(*state["setting"])
        training = _start(model, data, task or task_of(data.spec, data.name), recipe, seed, device, setting)
        training.scorings, training.on_step = 1 + scored_after, on_step
        if state is not None:
            resume(training, state)
            for row in training.curve if on_epoch is not None else ():
                on_epoch(int(row["epoch"]), dict(row))
        training.began = began - training.seconds
        return _run(training, on_epoch, checkpoint, checkpoint_every_s, identity)


def _start(
    model: nn.Module, data: Dataset, task: Task, recipe: Recipe, seed: int, device: torch.device, setting: Setting | None
) -> Training:
    """Return a training before its first epoch; `setting` is that of a checkpoint, else it is chosen here."""
    monitor = next((m for m in task.metrics if m.name == recipe.monitor), None) if recipe.monitor else task.main
    if monitor is None:
        raise UserError(f"recipe.monitor: must be a metric of the task {task.name}, got {recipe.monitor!r}; "
                        f"valid: {', '.join(m.name for m in task.metrics)}")  # fmt: skip
    if recipe.sampling == "balanced" and data.spec.target.kind != "label":
        raise UserError(f"recipe.sampling: balanced needs one class a sample, the task {task.name} has none; leave it out")
    if recipe.class_weights is not None and not data.spec.target.counts:
        raise UserError(f"recipe.class_weights: the task {task.name} has no classes; leave them out")
    if wrong := sorted(set(recipe.head_weights) - set(data.spec.targets)):
        raise UserError(f"recipe.head_weights.{wrong[0]}: the data have no such target; {nearest(wrong[0], data.spec.targets)}")
    if recipe.views != "one" or recipe.first_resolution < 1:
        _check_images(data, recipe)
    model.to(device)
    data = _shrunk(data.subset(recipe.data_fraction).to(device), recipe.resolution)
    if recipe.init == "lsuv":
        initialize(model, recipe.init, next(data.batches("train", 256)), seed)
    else:
        initialize(model, recipe.init, None, seed)
    if recipe.whiten:
        whiten(model, next(data.batches("train", PATCHES_OF)))
    if recipe.zero_residual:
        zero_residuals(model)
    _check_fit(model, data, task, recipe.batch_size, recipe.first_resolution)
    batch = next(data.batches("train", recipe.batch_size))
    steps = recipe.epochs * math.ceil(data.size("train") / recipe.batch_size)
    setting = setting or choose(model, batch, recipe, lambda output, batch: task.loss(output, batch, recipe), steps)
    if setting.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe)
    decay = recipe.ema if recipe.soup is None else 1.0
    average = None if decay is None else Average(model, decay)
    augment = make_augment(recipe.augment, data, task)
    generator = Generator().manual_seed(seed)
    return Training(model, task, recipe, data, monitor, setting, optimizer, average, augment, generator, device)


def _run(t: Training, on_epoch: OnEpoch | None, checkpoint: Path | None, every_s: float, identity: dict[str, Any]) -> Fitted:
    """Train until the end; where the training is interrupted, what no checkpoint has yet of its whole epochs is written."""
    unwritten: list[dict[str, Any]] = []
    try:
        _run_epochs(t, on_epoch, checkpoint, every_s, identity, unwritten)
    except KeyboardInterrupt:
        if checkpoint is not None and unwritten:
            write_checkpoint(checkpoint, unwritten[-1])
        raise
    row = t.curve[-1]
    if t.best is not None and t.stopped not in (Stop.PRUNED, Stop.PAUSED):  # with early stopping the best weights count
        t.model.load_state_dict(t.best["weights"])
        row = t.best["row"]
    elif t.average is not None:
        t.average.store()
    if t.recipe.freeze_stem is not None:
        t.stem.requires_grad_(True)
    if t.setting.channels_last:
        t.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    t.model.eval()
    return Fitted(validation(row), t.curve, t.seconds, len(t.curve), t.stopped)


def _run_epochs(
    t: Training, on_epoch: OnEpoch | None, checkpoint: Path | None, every_s: float, identity: dict[str, Any],
    unwritten: list[dict[str, Any]],
) -> None:  # fmt: skip
    """unwritten: gets the state after one of the last whole epochs, while no checkpoint has it."""
    over, written = bool(t.curve) and t.over, time.monotonic()
    kept = written
    while not over and t.stopped is None:
        row = run_epoch(t)
        t.seconds = row["seconds"] = time.perf_counter() - t.began
        t.curve.append(row)
        stuck = t.recipe.early_stopping is not None and is_stuck(t, t.recipe.early_stopping)
        asked = on_epoch(len(t.curve), dict(row)) if on_epoch is not None else None
        t.stopped = asked or (Stop.EARLY if stuck else None)
        over = t.over
        if checkpoint is None:
            continue
        now = time.monotonic()
        if over or t.stopped is not None or now - written >= every_s:
            write_checkpoint(checkpoint, {"identity": identity, **state_of(t)})
            unwritten[:], written, kept = [], now, now
        elif now - kept >= KEPT_EVERY_S:
            state = state_of(t)
            never_changed = {"identity": identity, "curve": list(state.pop("curve")), "best": state.pop("best")}
            unwritten[:], kept = [{**copy.deepcopy(state), **never_changed}], now


def _shrunk(data: Dataset, resolution: float) -> Dataset:
    """The images with their sides multiplied; pixels are averaged. Raises UserError for data that are no classified images."""
    if resolution == 1:
        return data
    if not data.spec.is_image or data.spec.target.kind == "mask":
        raise UserError(f"recipe.resolution: is for images without label maps, got samples of shape {data.spec.input}; leave it at 1")
    sides = [max(1, round(side * resolution)) for side in data.spec.input[1:]]
    change = lambda x: nn.functional.interpolate(x, size=sides, mode="area")  # noqa: E731
    return data.map(lambda batch: batch.with_inputs(change), f"{sides[0]}x{sides[1]}")


def _check_fit(model: nn.Module, data: Dataset, task: Task, batch_size: int, first_resolution: float) -> None:
    """Raise UserError where the output of the model does not fit the targets, before an hour of training does."""
    batch = min(batch_size, data.size("train"))
    if batch < 1 or (batch < 2 and has_batch_norm(model)):
        raise UserError(f"training: batch norm needs at least 2 samples a batch, got {batch}; raise batch_size or add data")
    training = model.training
    model.eval()
    with torch.no_grad():
        some = next(data.batches("train", 2))
        task.check(forward(model, some), some)
        if first_resolution < 1:
            _check_smaller(model, some, task, first_resolution)
    model.train(training)


def _check_smaller(model: nn.Module, batch: Batch, task: Task, share: float) -> None:
    small = batch.with_inputs(lambda x: at_share(x, share))
    try:
        task.check(forward(model, small), small)
    except (RuntimeError, ValueError, TypeError, UserError) as error:
        sides = "x".join(str(n) for n in small.x.shape[-2:])
        text = f"recipe.first_resolution: this network cannot read images of {sides} pixels; raise it, or leave it at 1"
        raise UserError(text) from error


def _check_images(data: Dataset, recipe: Recipe) -> None:
    if not data.spec.is_image or len(data.spec.targets) > 1 or data.spec.target.kind == "mask":
        word = f"views: {recipe.views}" if recipe.views != "one" else f"first_resolution: {recipe.first_resolution:g}"
        raise UserError(f"recipe.{word}: is for images with one target and no label maps, the data are {data.spec.input}; leave it out")


def _shapes(model: nn.Module) -> str:
    """A short hash of the names and shapes of the weights."""
    shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    return hashlib.blake2b(repr(shapes).encode(), digest_size=6).hexdigest()


def checked_device(device: str | torch.device, here: bool = True) -> torch.device:
    """Return a device. Raise UserError for a word that is none, and, where the training is to be here, for one that is not here."""
    try:
        made = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device: must be cpu, cuda, cuda:N or mps, got {device!r}") from error
    if made.type == "meta":
        raise UserError(f"device: must be cpu, cuda, cuda:N or mps, got {device!r}, on which nothing is computed")
    if here and made.type == "cuda" and (made.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device: no {made} here, {torch.cuda.device_count()} CUDA devices are visible; use cpu")
    if here and made.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device: no {made} here; use cpu")
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
        if not is_out_of_memory(error):
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
