"""The loop of a training: its state, one epoch, and how the state is saved and taken up again."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from nasforge.data import Batch, Dataset, Part
from nasforge.errors import UserError
from nasforge.objectives.metrics import Metric
from nasforge.objectives.objective import validation
from nasforge.tasks.base import Examples, Task, forward, split_output
from nasforge.train.augment import Augment
from nasforge.train.optim import Average, lr_factor
from nasforge.train.precision import Setting
from nasforge.train.recipe import Recipe

CHUNK_NUMBERS = 2**22  # numbers augmented or scored at once, 16 MiB: one call for many batches, yet little memory
CHECK_EVERY_STEPS = 64
GROWN_AT = 0.6  # of the training: from here on images that began smaller are whole

OnStep = Callable[[int, str, int, int], None]  # epoch from 1, "training" or "validation", samples seen in it, and how many there are


class TrainingFailed(UserError):
    """Raised when the loss becomes NaN or infinite."""


class OutOfMemory(TrainingFailed):
    """Raised when a training needs more memory than the device has."""


class Stop(StrEnum):
    """Why a training, or a whole evaluation, ended before its last epoch."""

    PRUNED = "pruned"  # stopped for good by whoever watches it
    PAUSED = "paused"  # stopped for now; it may be continued from its checkpoint
    EARLY = "early"  # no progress on val
    TOO_SLOW = "too slow"  # its latency breaks a limit
    OUT_OF_MEMORY = "out of memory"
    DISK_FULL = "disk full"
    OTHER_DATA = "other data"  # the worker has not the data of the run
    LOST = "lost"  # its worker died; it may be tried again


@dataclass
class Training:
    """The state of a training between two epochs.

    monitor: the metric on val that tells the best epoch. began: when it did, by `time.perf_counter`, as if it had never been interrupted.
    """

    model: nn.Module
    task: Task
    recipe: Recipe
    data: Dataset
    monitor: Metric
    setting: Setting
    optimizer: Optimizer
    average: Average | None
    augment: Augment | None
    generator: Generator
    device: torch.device
    curve: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Any] | None = None  # the row of the best epoch and its weights, with early stopping
    seconds: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    scoring_s: float = 0.0  # of the latest validation
    scorings: float = 1.0  # so many of these must fit into the time that is left
    stopped: Stop | None = None
    on_step: OnStep | None = None

    def step(self, step: int, steps: int) -> float:
        """Return which step the schedule is at, at a step of the running epoch: with `minutes`, further on where these run out first."""
        at = len(self.curve) * steps + step
        if self.recipe.minutes is None:
            return at
        share = (time.perf_counter() - self.began + self.scorings * self.scoring_s) / (60 * self.recipe.minutes)
        return max(at, share * self.recipe.epochs * steps)

    @property
    def side_share(self) -> float:
        """The share of the sides of images at this point of the training."""
        first, done = self.recipe.first_resolution, self.step(0, 1) / self.recipe.epochs
        return min(1.0, first + (1 - first) * done / GROWN_AT)

    @property
    def stem(self) -> nn.Module:
        """The first layer with weights of its own, and all that stands in it."""
        return next(m for m in self.model.modules() if next(m.parameters(recurse=False), None) is not None)

    @property
    def over(self) -> bool:
        """Whether the last epoch has been run, or no time is left for another."""
        return self.step(0, 1) >= self.recipe.epochs

    def averaged(self) -> AbstractContextManager[None]:
        """Return a context in which the model has the averaged weights, where there are such."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    @property
    def sizes(self) -> list[int]:
        """Batch sizes of an epoch; a last batch of one sample is left out, as batch norm cannot learn from one."""
        full, rest = divmod(self.data.size("train"), self.recipe.batch_size)
        drop = rest == 1 and full > 0 and has_batch_norm(self.model)
        return [self.recipe.batch_size] * full + ([rest] if rest and not drop else [])


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a module of the model learns from the statistics of a batch."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def run_epoch(t: Training) -> dict[str, float]:
    """Make one pass over the training samples and return the row of the curve."""
    t.model.train()
    epoch, sizes, recipe = len(t.curve), t.sizes, t.recipe
    whole = sum(sizes)
    if recipe.freeze_stem is not None and t.step(0, 1) >= recipe.freeze_stem * recipe.epochs:
        t.stem.requires_grad_(False)
    params = [p for p in t.model.parameters() if p.requires_grad]
    total, seen, lr = torch.zeros((), device=t.device), 0, 0.0
    if t.on_step is not None:
        t.on_step(epoch + 1, "training", 0, whole)
    for step, batch in enumerate(_batches(t, whole)):
        at = t.step(step, len(sizes))
        if at >= recipe.epochs * len(sizes) and seen:
            break
        lr = recipe.lr * lr_factor(recipe, at, len(sizes))
        for group in t.optimizer.param_groups:
            group["lr"] = lr
        t.optimizer.zero_grad()
        loss = _backward(t, batch)
        if recipe.sam is not None:
            with _uphill(params, recipe.sam), _statistics_kept(t.model):
                t.optimizer.zero_grad()
                _backward(t, batch)
        if recipe.grad_clip is not None:
            nn.utils.clip_grad_norm_(params, recipe.grad_clip)
        t.optimizer.step()
        if t.average is not None:
            t.average.update()
            if recipe.soup is not None and at < (1 - recipe.soup) * recipe.epochs * len(sizes):
                t.average.updates = 0  # its time has not come: the next weights are the first
        total += loss * len(batch)
        seen += len(batch)
        if t.on_step is not None:
            t.on_step(epoch + 1, "training", seen, whole)
        if step % CHECK_EVERY_STEPS == 0:
            _check_finite(float(total), epoch + 1, "training", recipe)
    mean, scoring = float(total) / seen, time.perf_counter()
    _check_finite(mean, epoch + 1, "training", recipe)
    on_step, of = t.on_step, t.data.size("val")
    on_batch = None if on_step is None else lambda seen: on_step(epoch + 1, "validation", seen, of)
    with t.averaged():
        scores = score(t.model, t.data, "val", t.task, views=recipe.views, on_batch=on_batch)
    t.scoring_s = time.perf_counter() - scoring
    val_loss = scores.pop("loss")
    _check_finite(val_loss, epoch + 1, "validation", recipe)
    return {"epoch": epoch + 1, "loss": mean, "val_loss": val_loss, **scores, "lr": lr}


def _backward(t: Training, batch: Batch) -> Tensor:
    """Add the gradients of a batch to the weights; return its loss."""
    with t.setting.cast(t.device):
        loss = t.task.loss(forward(t.model, batch), batch, t.recipe)
    loss.backward()
    return loss.detach()


@contextlib.contextmanager
def _uphill(params: list[nn.Parameter], distance: float) -> Iterator[None]:
    """A context in which the weights are moved by `distance` along their gradient. Source: Foret et al. 2021 (SAM), equation 2."""
    pairs = [(p, p.grad) for p in params if p.grad is not None]
    length = nn.utils.get_total_norm([grad for _, grad in pairs])
    steps = [(p, grad * (distance / (length + 1e-12))) for p, grad in pairs]
    with torch.no_grad():
        for p, step in steps:
            p.add_(step)
    yield
    with torch.no_grad():
        for p, step in steps:
            p.sub_(step)


@contextlib.contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """A context in which batch norms do not take in the statistics of a batch."""
    norms = [(m, m.momentum) for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm, _ in norms:
        norm.momentum = 0.0
    yield
    for norm, momentum in norms:
        norm.momentum = momentum


def _batches(t: Training, samples: int) -> Iterator[Batch]:
    """Yield the epoch's batches in a new order, augmented many at a time."""
    size = t.recipe.batch_size
    balanced = t.data.spec.target.kind == "label" and t.recipe.sampling == "balanced"
    chunk = max(1, CHUNK_NUMBERS // max(1, size * _numbers(t.data))) * size
    key = next(iter(t.data.spec.targets)) if balanced else None
    for big in t.data.batches("train", chunk, generator=t.generator, balanced=key):
        some = big[:samples]
        samples -= len(some)
        if not len(some):
            return
        if t.augment is not None:
            some = t.augment(some, t.generator, len(t.curve))
        if t.recipe.first_resolution < 1:
            some = some.with_inputs(lambda x: at_share(x, t.side_share))
        some = some.with_inputs(t.setting.arrange)
        for start in range(0, len(some), size):
            yield some[start : start + size]


def _numbers(data: Dataset) -> int:
    """How many numbers one sample has."""
    shapes = data.spec.inputs.values()
    return sum(shape["length"] if isinstance(shape, Mapping) else math.prod(shape) for shape in shapes)


def at_share(x: Tensor, share: float) -> Tensor:
    """Return images (N, C, H, W) with their sides multiplied by `share`, to multiples of 4 pixels; pixels are averaged."""
    sides = [min(side, max(4, 4 * round(side * share / 4))) for side in x.shape[-2:]]
    return x if sides == list(x.shape[-2:]) else nn.functional.interpolate(x, size=sides, mode="area")


def score(
    model: nn.Module, data: Dataset, part: Part, task: Task, batch_size: int | None = None, *, views: str = "one",
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Return the metrics of the task for the model in eval mode on a part of the data; the arguments are those of `scored`."""
    return scored(model, data, part, task, batch_size, views=views, on_batch=on_batch).result()


def scored(
    model: nn.Module, data: Dataset, part: Part, task: Task, batch_size: int | None = None, *, views: str = "one",
    examples: Examples | None = None, on_batch: Callable[[int], None] | None = None,
) -> Any:  # fmt: skip
    """Return a scorer of the task that has seen the outputs of the model in eval mode for a part of the data; `examples` see them too.

    Without `batch_size` a batch has up to 512 samples, fewer where these are large. views: see `nasforge.train.Recipe`.
    on_batch: called with the number of samples seen.

    Raises:
        UserError: the part is empty.
    """
    if data.size(part) == 0:
        raise UserError("score: at least one sample is needed, got none")
    batch_size = batch_size or max(1, min(512, CHUNK_NUMBERS // _numbers(data)))
    training = model.training
    model.eval()
    scorer, seen = task.scorer(), 0
    with torch.no_grad():  # not inference mode: what a model caches in it could not be trained through later
        for batch in data.batches(part, batch_size):
            output = _seen(model, batch, views)
            scorer.update(output, batch)
            if examples is not None:
                examples.update(task.logits(output), batch)
            seen += len(batch)
            if on_batch is not None:
                on_batch(seen)
    model.train(training)
    return scorer


def _seen(model: nn.Module, batch: Batch, views: str) -> Any:
    """Return the output for a batch, or the mean of the outputs for several views of its images. Source: Jordan 2024, section 3.5."""
    if views == "one":
        return forward(model, batch)
    padded = nn.functional.pad(batch.x, (1, 1, 1, 1), mode="reflect") if views == "crops" else None
    moved = [batch.x] if padded is None else [batch.x, padded[..., :-2, :-2], padded[..., 2:, 2:]]
    outputs = [split_output(forward(model, batch.with_inputs(lambda _, x=x: x)))[0] for x in moved for x in (x, x.flip(-1))]
    return torch.stack(outputs).mean(0)


def is_stuck(t: Training, patience: int) -> bool:
    """Return whether the best epoch is `patience` epochs past; keeps the weights of a new best one."""
    row = t.curve[-1]
    if t.best is None or _rank(t, row) > _rank(t, t.best["row"]):
        with t.averaged():
            t.best = {"row": row, "weights": {k: v.clone() for k, v in t.model.state_dict().items()}}
    return row["epoch"] - t.best["row"]["epoch"] >= patience


def _rank(t: Training, row: dict[str, float]) -> tuple[float, float]:
    """What orders epochs: the metric that is watched, of equal ones the loss."""
    value = validation(row)[t.monitor.name]
    return (value if t.monitor.maximize else -value), -row["val_loss"]


def _check_finite(loss: float, epoch: int, which: str, recipe: Recipe) -> None:
    if math.isfinite(loss):
        return
    clip = "" if recipe.grad_clip is not None else ", set grad_clip: 1.0"
    low = ", train in fp32" if recipe.precision != "fp32" else ""
    raise TrainingFailed(
        f"training: the {which} loss must be a finite number, got {loss} in epoch {epoch}; "
        f"lower lr (now {recipe.lr:g}), lengthen warmup_epochs (now {recipe.warmup_epochs:g}){clip}{low}"
    )


def state_of(t: Training) -> dict[str, Any]:
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
        "stopped": None if t.stopped is None else str(t.stopped),
    }


def resume(t: Training, state: dict[str, Any]) -> None:
    """Takes over what `state_of` gave; `t` was made with the number format of that state."""
    t.model.load_state_dict(state["model"])
    t.optimizer.load_state_dict(state["optimizer"])
    for group in t.optimizer.param_groups:
        if group["weight_decay"]:  # a training may go on by another recipe, as `set_recipe` allows
            group["weight_decay"] = t.recipe.weight_decay
    if t.average is not None:
        t.average.load(state["average"])
    t.generator.set_state(state["generator"].cpu())
    torch.set_rng_state(state["torch_rng"].cpu())
    if state["cuda_rng"] is not None and t.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"].cpu(), t.device)
    t.curve, t.best, t.seconds = state["curve"], state["best"], state["seconds"]
    stopped = state["stopped"]
    t.stopped = None if stopped in (None, Stop.PRUNED, Stop.PAUSED) else Stop(stopped)  # it was paused, and is continued
