"""Optimisers, learning-rate schedules and averaged weights, as a recipe names them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasforge.errors import UserError
from nasforge.train.recipe import Recipe

FUSED_DEVICES = ("cpu", "cuda")


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The optimiser of the recipe over the trainable parameters; norms and biases decay only if the recipe says so."""
    params = [p for p in model.parameters() if p.requires_grad]
    if not params:
        raise UserError("training: the model must have a parameter to train, got none")
    matrices = [p for p in params if p.ndim > 1 or recipe.decay_norm_bias]
    vectors = [p for p in params if p.ndim <= 1 and not recipe.decay_norm_bias]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    fused = all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in params)
    if recipe.optimizer in ("sgd", "nesterov"):
        nesterov = recipe.optimizer == "nesterov" and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=fused)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=recipe.lr, alpha=0.9, momentum=recipe.momentum, foreach=True)
    adam = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return adam(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)


def lr_factor(recipe: Recipe, step: float, steps_per_epoch: int) -> float:
    """What the learning rate is multiplied with at `step`, counted from 0. A warm-up takes half the steps at most."""
    total = recipe.epochs * steps_per_epoch
    if recipe.schedule == "onecycle":
        rise = 0.3 * total
        if step < rise:
            return 0.04 + 0.96 * (0.5 - 0.5 * math.cos(math.pi * step / rise))
        return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / (total - rise))
    warmup = min(recipe.warmup_epochs * steps_per_epoch, total / 2)
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    done = (step - warmup) / (total - warmup)
    return {
        "cosine": 0.5 + 0.5 * math.cos(math.pi * done),
        "linear": 1 - done,
        "step": 0.01 if done >= 0.75 else 0.1 if done >= 0.5 else 1.0,
        "constant": 1.0,
    }[recipe.schedule]


class Average:
    """An exponential moving average of the weights and running statistics of a model.

    The decay starts small, min(decay, (1 + t) / (10 + t)), so that a short training does not average its first weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.live = [t.detach() for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
        self.mean = [t.clone() for t in self.live]

    def update(self) -> None:
        """One step of the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.mean, self.live, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the average into the model, and the trained weights back at the end."""
        kept = [t.clone() for t in self.live]
        self.store()
        try:
            yield
        finally:
            torch._foreach_copy_(self.live, kept)

    def store(self) -> None:
        """Puts the average into the model for good."""
        torch._foreach_copy_(self.live, self.mean)

    def state(self) -> dict[str, int | list[Tensor]]:
        return {"updates": self.updates, "mean": self.mean}

    def load(self, state: dict[str, int | list[Tensor]]) -> None:
        updates, mean = state["updates"], state["mean"]
        assert isinstance(updates, int) and isinstance(mean, list)
        self.updates = updates
        torch._foreach_copy_(self.mean, mean)
