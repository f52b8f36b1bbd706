"""Segmentation: one of K classes for each pixel."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nasforge.data import Batch, Dataset
from nasforge.objectives.metrics import METRICS
from nasforge.tasks.base import IMAGE, LossSettings, Task, epochs_for
from nasforge.tasks.classification import ClassScorer, answers_of
from nasforge.tasks.losses import class_weights, cross_entropy


class Segmentation(Task):
    """Learns a target of kind `mask`; the network gives (B, K, H, W) logits."""

    name = "segmentation"
    kind = "mask"
    metrics = tuple(METRICS[name] for name in ("miou", "accuracy", "loss"))
    augmentations = IMAGE

    def shape(self, batch: Batch) -> tuple[int, ...]:
        return len(batch), self.target.size, *batch.targets[self.key].shape[1:]

    def objective(self, output: Tensor, batch: Batch, recipe: LossSettings) -> Tensor:
        weight = class_weights(recipe.class_weights, self.target, output.device)
        return cross_entropy(output, batch.targets[self.key], recipe.label_smoothing, weight)

    def scorer(self) -> PixelScorer:
        return PixelScorer(self)

    def answers(self, scorer: Any) -> dict[str, Any]:
        return answers_of(self, scorer)

    def recipe(self, data: Dataset, full: bool) -> dict[str, Any]:
        epochs = epochs_for(data, 20_000 if full else 3_000, 3, 100)
        return {"epochs": epochs, "batch_size": 8, "lr": 2e-3, "warmup_epochs": 0.1 * epochs, "augment": {"flip": 0.5}, "grad_clip": 5.0}


class PixelScorer(ClassScorer):
    """Accuracy, loss and mean IoU over the pixels that are not ignored."""

    def collect(self, logits: Tensor, y: Tensor, predicted: Tensor, known: Tensor) -> None:
        self.count(y[known], predicted[known])

    def others(self) -> dict[str, float]:
        assert self.confusion is not None
        return {"miou": mean_iou(self.confusion)}


def mean_iou(confusion: Tensor) -> float:
    """Return the mean intersection over union of a (true, predicted) confusion matrix, over the classes that occur in either."""
    hit = confusion.diagonal().double()
    union = confusion.sum(0) + confusion.sum(1) - hit
    occurs = union > 0
    return float((hit[occurs] / union[occurs]).mean()) if bool(occurs.any()) else 0.0
