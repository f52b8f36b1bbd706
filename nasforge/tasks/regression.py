"""Regression: numbers to predict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nasforge.data import Batch, Dataset
from nasforge.objectives.metrics import METRICS
from nasforge.tasks.base import LossSettings, Task, epochs_for


class Regression(Task):
    """Learns a target of kind `value`; the network gives (B, V) numbers.

    It learns each value less its mean and divided by its deviation over the training part; metrics are in the units of the data.
    """

    name = "regression"
    kind = "value"
    metrics = tuple(METRICS[name] for name in ("mse", "mae", "r2", "loss"))

    def shape(self, batch: Batch) -> tuple[int, ...]:
        return len(batch), self.target.size

    def standardized(self, y: Tensor) -> Tensor:
        """Return values as the network learns them."""
        return (y - y.new_tensor(self.target.mean)) / y.new_tensor(self.target.std)

    def objective(self, output: Tensor, batch: Batch, recipe: LossSettings) -> Tensor:
        y = self.standardized(batch.targets[self.key])
        if batch.mix is None:
            return functional.mse_loss(output, y)
        other = self.standardized(batch.mix.targets[self.key])
        first, second = ((output - t).square().mean(1) for t in (y, other))
        return second.lerp(first, batch.mix.weight).mean()

    def scorer(self) -> ValueScorer:
        return ValueScorer(self)

    def recipe(self, data: Dataset, full: bool) -> dict[str, Any]:
        epochs = epochs_for(data, 120_000 if full else 20_000, 5, 150)
        return {"epochs": epochs, "batch_size": 64, "lr": 3e-3, "weight_decay": 0.05, "warmup_epochs": 0.1 * epochs, "grad_clip": 1.0}


class ValueScorer:
    """Mean squared and mean absolute error, and R², each the mean over the values; `loss` is that of standardized values."""

    def __init__(self, task: Regression) -> None:
        self.task = task
        self.sums: Tensor | None = None  # (5, V): error², |error|, y, y², samples

    def update(self, output: Any, batch: Batch) -> None:
        std, mean = (torch.tensor(v, dtype=torch.float64) for v in (self.task.target.std, self.task.target.mean))
        y = batch.targets[self.task.key].double().cpu()
        error = self.task.logits(output).double().cpu() * std + mean - y
        centered = y - mean  # else the squares of large values leave no digits for their spread
        new = torch.stack([error.square().sum(0), error.abs().sum(0), centered.sum(0), centered.square().sum(0), torch.ones_like(y).sum(0)])
        self.sums = new if self.sums is None else self.sums + new

    def result(self) -> dict[str, float]:
        assert self.sums is not None, "a scorer needs at least one batch"
        squared, absolute, total, squares, n = self.sums
        spread = squares - total.square() / n
        r2 = torch.where(spread > 0, 1 - squared / spread.clamp_min(1e-300), torch.zeros_like(spread))
        std = torch.tensor(self.task.target.std, dtype=torch.float64)
        loss = float((squared / n / std.square()).mean())
        return {"mse": float((squared / n).mean()), "mae": float((absolute / n).mean()), "r2": float(r2.mean()), "loss": loss}
