"""Training of any `nn.Module` on a data set by a recipe, and its result."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from nasforge.augment import Augment, Mix, make_augment
from nasforge.checkpoint import read_checkpoint, write_checkpoint
from nasforge.data import Data, Part
from nasforge.errors import UserError
from nasforge.initialise import initialise
from nasforge.optimise import Average, lr_factor, make_optimizer
from nasforge.precision import Setting, choose
from nasforge.recipe import Recipe
from nasforge.scoring import check_logits, score, training_loss
from nasforge.splits import stratified_order

CHUNK_NUMBERS = 2**22  # numbers augmented at once, 16 MiB: one call for many batches, yet little memory
CHECK_EVERY_STEPS = 64
CHECKPOINT_EVERY_S = 10.0
SCORE_BATCH = 512

OnEpoch = Callable[[int, dict[str, float]], bool | None]


class TrainingFailed(UserError):
    """The training cannot go on: its loss is no number any more."""


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


@dataclass
class Training:
    """The state of a training between two epochs."""

    model: nn.Module
    recipe: Recipe
    train: Part
    val: Part
    setting: Setting
    optimizer: Optimizer
    average: Average | None
    augment: Augment | None
    generator: Generator
    device: torch.device
    curve: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Any] | None = None  # the row of the best epoch and its weights, with early stopping
    seconds: float = 0.0
    stopped: str | None = None

    @property
    def sizes(self) -> list[int]:
        """Batch sizes of an epoch; a last batch of one sample goes, as batch norm cannot learn from one."""
        full, rest = divmod(len(self.train), self.recipe.batch_size)
        drop = rest == 1 and full > 0 and has_batch_norm(self.model)
        return [self.recipe.batch_size] * full + ([rest] if rest and not drop else [])


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
        checkpoint: file to resume from, where it exists, and to write to after an epoch and at the end.
        checkpoint_every_s: shortest time between two writes.

    Raises:
        TrainingFailed: the loss became NaN or infinite.
        OutOfMemory: the device has too little memory.
        UserError: the model does not fit the data, or the checkpoint belongs to another training.
    """
    device = _checked_device(device)
    with _own_randomness(device, seed), _memory_errors_named(recipe):
        training = _start(model, data, recipe, seed, device)
        identity = {"recipe": recipe.to_dict(), "seed": seed, "data": data.key, "weights": _shapes(model)}
        if checkpoint is not None:
            _resume(training, read_checkpoint(checkpoint, identity, device))
        return _run(training, on_epoch, checkpoint, checkpoint_every_s, identity)


def _start(model: nn.Module, data: Data, recipe: Recipe, seed: int, device: torch.device) -> Training:
    model.to(device)
    train, val = _share(data.train, recipe.data_fraction, device), Part(data.val.x.to(device), data.val.y.to(device))
    initialise(model, recipe.init, train.x[:256], seed)
    x, y = train.x[: recipe.batch_size], train.y[: recipe.batch_size]
    _check_fit(model, x, y, data.classes)

    def loss(output: Any, y: Tensor) -> Tensor:
        return training_loss(output, y, None, recipe.label_smoothing, recipe.aux_weight)

    steps = recipe.epochs * math.ceil(len(train) / recipe.batch_size)
    setting = choose(model, x, y, recipe, loss, steps)
    if setting.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe)
    average = None if recipe.ema is None else Average(model, recipe.ema)
    augment = make_augment(recipe.augment, train.x, train.y)
    generator = Generator().manual_seed(seed)
    return Training(model, recipe, train, val, setting, optimizer, average, augment, generator, device)


def _run(
    t: Training, on_epoch: OnEpoch | None, checkpoint: Path | None, every_s: float, identity: dict[str, Any]
) -> Fitted:
    began, before, written = time.perf_counter(), t.seconds, time.monotonic()
    while len(t.curve) < t.recipe.epochs and t.stopped is None:
        row = _epoch(t)
        t.seconds = row["seconds"] = before + time.perf_counter() - began
        t.curve.append(row)
        if on_epoch is not None and on_epoch(len(t.curve), dict(row)):
            t.stopped = "pruned"
        elif t.recipe.early_stopping is not None and _is_stuck(t, t.recipe.early_stopping):
            t.stopped = "early"
        last = t.stopped is not None or len(t.curve) == t.recipe.epochs
        if checkpoint is not None and (last or time.monotonic() - written >= every_s):
            write_checkpoint(checkpoint, {"identity": identity, **_state(t)})
            written = time.monotonic()
    return _finish(t)


def _epoch(t: Training) -> dict[str, float]:
    """One pass over the training samples: the row of the curve."""
    t.model.train()
    epoch, sizes, recipe = len(t.curve), t.sizes, t.recipe
    params = [p for p in t.model.parameters() if p.requires_grad]
    total, lr = torch.zeros((), device=t.device), 0.0
    for step, (x, y, mix) in enumerate(_batches(t, sizes)):
        lr = recipe.lr * lr_factor(recipe, epoch * len(sizes) + step, len(sizes))
        for group in t.optimizer.param_groups:
            group["lr"] = lr
        with t.setting.cast(t.device):
            loss = training_loss(t.model(x), y, mix, recipe.label_smoothing, recipe.aux_weight)
        t.optimizer.zero_grad()
        loss.backward()
        if recipe.grad_clip is not None:
            nn.utils.clip_grad_norm_(params, recipe.grad_clip)
        t.optimizer.step()
        if t.average is not None:
            t.average.update()
        total += loss.detach() * len(y)
        if step % CHECK_EVERY_STEPS == 0:
            _check_finite(float(total), epoch + 1, "training", recipe)
    mean = float(total) / sum(sizes)
    _check_finite(mean, epoch + 1, "training", recipe)
    scores = _validate(t)
    val_loss = scores.pop("loss")
    _check_finite(val_loss, epoch + 1, "validation", recipe)
    return {"epoch": float(epoch + 1), "loss": mean, "val_loss": val_loss, **scores, "lr": lr}


def _batches(t: Training, sizes: list[int]) -> Iterator[tuple[Tensor, Tensor, Mix | None]]:
    """The epoch's batches in a new order, augmented many at a time."""
    order = torch.randperm(len(t.train), generator=t.generator).to(t.device)
    per_batch = max(1, t.recipe.batch_size * t.train.x[0].numel())
    step = max(1, CHUNK_NUMBERS // per_batch) * t.recipe.batch_size
    order = order[: sum(sizes)]
    for chosen in order.split(step):
        x, y, mix = t.train.x[chosen], t.train.y[chosen], None
        if t.augment is not None:
            x, y, mix = t.augment(x, y, t.generator)
        x = t.setting.arrange(x)
        for i in range(0, len(x), t.recipe.batch_size):
            part = slice(i, i + t.recipe.batch_size)
            yield x[part], y[part], None if mix is None else Mix(mix.y[part], mix.weight[part])


def _validate(t: Training) -> dict[str, float]:
    with t.average.in_place() if t.average is not None else contextlib.nullcontext():
        return score(t.model, t.val, batch_size=max(SCORE_BATCH, t.recipe.batch_size), device=t.device)


def _is_stuck(t: Training, patience: int) -> bool:
    """Whether the best epoch is `patience` epochs past; keeps the weights of a new best one."""
    row = t.curve[-1]
    if t.best is None or _rank(row) > _rank(t.best["row"]):
        with t.average.in_place() if t.average is not None else contextlib.nullcontext():
            t.best = {"row": row, "weights": {k: v.clone() for k, v in t.model.state_dict().items()}}
    return row["epoch"] - t.best["row"]["epoch"] >= patience


def _rank(row: dict[str, float]) -> tuple[float, float]:
    return row.get("miou", row["accuracy"]), -row["val_loss"]


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


def _state(t: Training) -> dict[str, Any]:
    return {
        "model": t.model.state_dict(),
        "optimizer": t.optimizer.state_dict(),
        "average": None if t.average is None else t.average.state(),
        "generator": t.generator.get_state(),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(t.device) if t.device.type == "cuda" else None,
        "setting": [t.setting.bf16, t.setting.channels_last],
        "curve": t.curve,
        "best": t.best,
        "seconds": t.seconds,
        "stopped": t.stopped,
    }


def _resume(t: Training, state: dict[str, Any] | None) -> None:
    """Takes over a written state; the number format stays the one that was chosen then."""
    if state is None:
        return
    t.setting = Setting(*state["setting"])
    layout = torch.channels_last if t.setting.channels_last else torch.contiguous_format
    t.model.to(memory_format=layout)  # type: ignore[call-overload]
    t.model.load_state_dict(state["model"])
    t.optimizer.load_state_dict(state["optimizer"])
    if t.average is not None:
        t.average.load(state["average"])
    t.generator.set_state(state["generator"].cpu())
    torch.set_rng_state(state["torch_rng"].cpu())
    if state["cuda_rng"] is not None and t.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"].cpu(), t.device)
    t.curve, t.best, t.seconds, t.stopped = state["curve"], state["best"], state["seconds"], state["stopped"]


def _share(part: Part, fraction: float, device: torch.device) -> Part:
    """A stratified share of the training samples, the same in every training."""
    if fraction < 1:
        count = max(2, round(fraction * len(part)))
        chosen = torch.arange(count)
        if part.y.ndim == 1:
            chosen = torch.from_numpy(stratified_order(part.y.numpy(), _fixed_order())[:count])
        part = Part(part.x[chosen], part.y[chosen])
    return Part(part.x.to(device), part.y.to(device))
