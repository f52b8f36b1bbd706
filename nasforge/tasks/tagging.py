"""Tagging: one of K classes for each step of a sequence; the next token of a text, above all."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nasforge.data import Batch, Dataset
from nasforge.objectives.metrics import METRICS
from nasforge.tasks.base import LossSettings, Task, epochs_for
from nasforge.tasks.classification import ClassScorer
from nasforge.tasks.losses import class_weights, cross_entropy


class Tagging(Task):
    """Learns a target of kind `steps`; the network gives (B, T, K) logits."""

    name = "tagging"
    kind = "steps"
    metrics = tuple(METRICS[name] for name in ("accuracy", "loss"))
    augmentations = frozenset()

    def shape(self, batch: Batch) -> tuple[int, ...]:
        return *batch.targets[self.key].shape, self.target.size

    def objective(self, output: Tensor, batch: Batch, recipe: LossSettings) -> Tensor:
        weight = class_weights(recipe.class_weights, self.target, output.device)
        return cross_entropy(output, batch.targets[self.key], recipe.label_smoothing, weight)

    def scorer(self) -> StepScorer:
        return StepScorer(self, axis=-1)

    def recipe(self, data: Dataset, full: bool) -> dict[str, Any]:
        share = 1.0 if full else min(1.0, 5_000 / data.size("train"))
        epochs = epochs_for(data, 200_000, 5, 60) if full else epochs_for(data, round(15_000 / share), 3, 20)
        return {"epochs": epochs, "batch_size": 32, "lr": 4e-3, "weight_decay": 0.1, "warmup_epochs": 0.1 * epochs, "grad_clip": 1.0,
                "data_fraction": share}  # fmt: skip


class StepScorer(ClassScorer):
    """Accuracy and loss over the steps that are not ignored."""

    def collect(self, logits: Tensor, y: Tensor, predicted: Tensor, known: Tensor) -> None:
        pass

    def others(self) -> dict[str, float]:
        return {}
