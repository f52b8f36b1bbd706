"""The loop of a training: its state, one epoch, and how the state is saved and taken up again."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from nasforge.data import Part
from nasforge.errors import UserError
from nasforge.train.augment import Augment, Mix
from nasforge.train.optim import Average, lr_factor
from nasforge.train.precision import Setting
from nasforge.train.recipe import Recipe
from nasforge.train.scoring import score, training_loss

CHUNK_NUMBERS = 2**22  # numbers augmented at once, 16 MiB: one call for many batches, yet little memory
CHECK_EVERY_STEPS = 64


class TrainingFailed(UserError):
    """The training cannot go on: its loss is no number any more."""


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

    def averaged(self) -> AbstractContextManager[None]:
        """A context in which the model has the averaged weights, where there are such."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    @property
    def sizes(self) -> list[int]:
        """Batch sizes of an epoch; a last batch of one sample goes, as batch norm cannot learn from one."""
        full, rest = divmod(len(self.train), self.recipe.batch_size)
        drop = rest == 1 and full > 0 and has_batch_norm(self.model)
        return [self.recipe.batch_size] * full + ([rest] if rest and not drop else [])


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a module of the model learns from the statistics of a batch."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def run_epoch(t: Training) -> dict[str, float]:
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
    return {"epoch": epoch + 1, "loss": mean, "val_loss": val_loss, **scores, "lr": lr}


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
    with t.averaged():
        return score(t.model, t.val, device=t.device)


def is_stuck(t: Training, patience: int) -> bool:
    """Whether the best epoch is `patience` epochs past; keeps the weights of a new best one."""
    row = t.curve[-1]
    if t.best is None or _rank(row) > _rank(t.best["row"]):
        with t.averaged():
            t.best = {"row": row, "weights": {k: v.clone() for k, v in t.model.state_dict().items()}}
    return row["epoch"] - t.best["row"]["epoch"] >= patience


def _rank(row: dict[str, float]) -> tuple[float, float]:
    return row.get("miou", row["accuracy"]), -row["val_loss"]


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
        "stopped": t.stopped,
    }


def resume(t: Training, state: dict[str, Any]) -> None:
    """Takes over what `state_of` gave; `t` was made with the number format of that state."""
    t.model.load_state_dict(state["model"])
    t.optimizer.load_state_dict(state["optimizer"])
    if t.average is not None:
        t.average.load(state["average"])
    t.generator.set_state(state["generator"].cpu())
    torch.set_rng_state(state["torch_rng"].cpu())
    if state["cuda_rng"] is not None and t.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"].cpu(), t.device)
    t.curve, t.best, t.seconds = state["curve"], state["best"], state["seconds"]
    t.stopped = None if state["stopped"] == "pruned" else state["stopped"]  # it was paused, and goes on
