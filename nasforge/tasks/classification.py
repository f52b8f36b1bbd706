"""Classification: one of K classes for each sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasforge.data import IGNORE, Batch, Dataset, Part, Target
from nasforge.objectives.metrics import METRICS
from nasforge.tasks.base import LossSettings, Task, epochs_for
from nasforge.tasks.examples import Examples
from nasforge.tasks.losses import class_weights, cross_entropy, mixed_cross_entropy

MOST_CONFUSED = 400  # pairs of classes that are told: all of 20 classes
TOP = 5  # classes that a guess may name, of top-5 accuracy


class Classification(Task):
    """Learns a target of kind `label`; the network gives (B, K) logits."""

    name = "classification"
    kind = "label"
    metrics = tuple(METRICS[name] for name in ("accuracy", "loss", "top5", "balanced_accuracy", "macro_f1", "auc"))

    def __init__(self, key: str, target: Target) -> None:
        super().__init__(key, target)
        if target.size <= TOP:  # every guess would be right
            self.metrics = tuple(metric for metric in self.metrics if metric.name != "top5")

    def shape(self, batch: Batch) -> tuple[int, ...]:
        return len(batch), self.target.size

    def objective(self, output: Tensor, batch: Batch, recipe: LossSettings) -> Tensor:
        y, weight = batch.targets[self.key], class_weights(recipe.class_weights, self.target, output.device)
        if batch.mix is not None:
            return mixed_cross_entropy(output, y, batch.mix.targets[self.key], batch.mix, recipe.label_smoothing, weight)
        return cross_entropy(output, y, recipe.label_smoothing, weight)

    def scorer(self) -> ClassScorer:
        return ClassScorer(self)

    def answers(self, scorer: Any) -> dict[str, Any]:
        return answers_of(self, scorer)

    def examples(self) -> Examples:
        return Examples(self.key)

    def constant(self, data: Dataset, part: Part) -> dict[str, float]:
        """The share of the largest class."""
        counts = torch.zeros(self.target.size, dtype=torch.long)
        for batch in data.batches(part, 1024):
            y = batch.targets[self.key].flatten().cpu()
            counts += torch.bincount(y[y != IGNORE], minlength=self.target.size)
        return {"accuracy": int(counts.max()) / max(1, int(counts.sum()))}

    def recipe(self, data: Dataset, full: bool) -> dict[str, Any]:
        """Measured on one thread of a 2-core CPU for small images; the others are customary values of the field."""
        if not data.spec.is_image:
            epochs = epochs_for(data, 60_000 if full else 10_000, 3, 100)
            return {
                "epochs": epochs,
                "batch_size": 32,
                "lr": 2e-3,
                "label_smoothing": 0.05,
                "warmup_epochs": 0.1 * epochs,
                "grad_clip": 1.0,
            }
        channels, height, width = data.spec.input
        if max(height, width) <= 12:  # tuned on the digits: they are centered already, so shifts do not help
            epochs = epochs_for(data, 52_000 if full else 9_000, 5, 150)
            return {
                "epochs": epochs, "batch_size": 64 if full else 32, "optimizer": "muon", "lr": 0.02, "momentum": 0.95,
                "label_smoothing": 0.1, "warmup_epochs": 0.1 * epochs,
                "augment": {"rotate": 15.0, "zoom": 0.15} if full else {"rotate": 10.0, "zoom": 0.1},
            }  # fmt: skip
        # mirrored and cropped where in color, small shifts for drawings and letters; budgets for a search within an hour on two cores.
        # What the words bring is told in docs/training.md
        share = 1.0 if full else min(1.0, 10_000 / data.size("train"))
        epochs = epochs_for(data, 160_000, 3, 60) if full else epochs_for(data, round(30_000 / share), 3, 15)
        augment: dict[str, float] = {"alternating_flip": 1.0, "crop": min(64.0, width / 8)} if channels >= 3 else {"shift": 0.08}
        if full and channels >= 3:
            augment["cutout"] = 0.25
        return {
            "epochs": epochs, "batch_size": 128 if full else 64, "optimizer": "muon", "lr": 6e-3, "momentum": 0.95, "weight_decay": 0.05,
            "label_smoothing": 0.1 if full else 0.0, "warmup_epochs": 0.1 * epochs, "augment": augment, "data_fraction": share,
            "init": "dirac", "whiten": True,
        }  # fmt: skip

    def earlier_recipe(self, data: Dataset, full: bool) -> dict[str, Any]:
        if not data.spec.is_image:
            return super().earlier_recipe(data, full)
        channels, height, width = data.spec.input
        adamw: dict[str, Any] = {**super().earlier_recipe(data, full), "optimizer": "adamw", "momentum": 0.9}
        if max(height, width) <= 12:
            return {**adamw, "lr": 5e-3}
        augment: dict[str, float] = {"flip": 0.5, "crop": min(64.0, width / 8)} if channels >= 3 else {"shift": 0.08}
        if full and channels >= 3:
            augment["cutout"] = 0.5
        return {**adamw, "lr": 3e-3, "init": "default", "whiten": False, "augment": augment}


def answers_of(task: Task, scorer: Any) -> dict[str, Any]:
    """Return the answers of a scorer of classes under the target of its task; nothing where it is another scorer, or counts none."""
    return {task.key: found} if isinstance(scorer, ClassScorer) and (found := scorer.answers()) else {}


class ClassScorer:
    """Accuracy and loss over the targets not ignored; of whole samples also top-5, balanced accuracy, macro F1 and AUC."""

    def __init__(self, task: Task, axis: int = 1) -> None:
        self.task, self.axis = task, axis
        self.sums: Tensor | None = None  # right, loss, counted
        self.confusion: Tensor | None = None  # (true, predicted)
        self.logits: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, output: Any, batch: Batch) -> None:
        logits, y = self.task.logits(output).float(), batch.targets[self.task.key]
        known = y != IGNORE
        predicted = logits.argmax(self.axis)  # as y
        counted = known.sum()
        new = torch.stack([((predicted == y) & known).sum(), cross_entropy(logits, y) * counted, counted])
        if self.sums is None:
            self.sums = torch.zeros(3, dtype=torch.float64, device="cpu" if y.device.type == "mps" else y.device)
        self.sums += new.to(self.sums)
        self.collect(logits, y, predicted, known)

    def collect(self, logits: Tensor, y: Tensor, predicted: Tensor, known: Tensor) -> None:
        """Take in what the other metrics need."""
        self.logits.append(logits)
        self.labels.append(y)
        self.count(y[known], predicted[known])

    def count(self, y: Tensor, predicted: Tensor) -> None:
        """Add pairs of classes to the confusion matrix."""
        k = self.task.target.size
        pairs = torch.bincount(y * k + predicted, minlength=k * k).view(k, k)
        self.confusion = pairs if self.confusion is None else self.confusion + pairs

    def answers(self) -> dict[str, Any]:
        """Return what is known of each class, in whole numbers: a confusion matrix without its zeros, cut where it is long.

        `total`, `right`, `answered`: how many samples of the class there were, were recognized, and were taken for it. `confused`:
        [class, answer, how many] of mistakes, the most frequent first; of up to 20 classes all of them.
        """
        if self.confusion is None:
            return {}
        table = self.confusion.cpu()
        wrong = table - torch.diag(table.diagonal())
        counts = wrong.flatten()
        frequent = counts.argsort(descending=True, stable=True)[:MOST_CONFUSED]
        k = self.task.target.size
        return {
            "total": table.sum(1).tolist(), "right": table.diagonal().tolist(), "answered": table.sum(0).tolist(),
            "confused": [[i // k, i % k, int(counts[i])] for i in frequent.tolist() if counts[i] > 0],
        }  # fmt: skip

    def result(self) -> dict[str, float]:
        assert self.sums is not None, "a scorer needs at least one batch"
        right, loss, counted = self.sums.tolist()
        return {"accuracy": right / max(1, counted), "loss": loss / max(1, counted), **self.others()}

    def others(self) -> dict[str, float]:
        assert self.confusion is not None
        logits, y = torch.cat(self.logits), torch.cat(self.labels)
        top = logits.topk(min(TOP, logits.shape[1]), dim=1).indices
        hit, true, predicted = (t.double() for t in (self.confusion.diagonal(), self.confusion.sum(1), self.confusion.sum(0)))
        occurs, seen = true > 0, (true + predicted) > 0
        found = {
            "top5": float((top == y[:, None]).any(1).double().mean()),
            "balanced_accuracy": float((hit[occurs] / true[occurs]).mean()),
            "macro_f1": float((2 * hit[seen] / (true + predicted)[seen]).mean()),
            "auc": area_under_roc(logits.softmax(1), torch.nn.functional.one_hot(y, logits.shape[1])),
        }
        own = {metric.name for metric in self.task.metrics}
        return {name: value for name, value in found.items() if name in own}


def area_under_roc(scores: Tensor, labels: Tensor) -> float:
    """Return the mean area under the ROC curve of (N, K) scores, one class against the others; ties count half.

    Classes that no sample has, or all have, are left out; where none is left, .5. Source: Hanley and McNeil 1982, by ranks.
    """
    columns = scores.T.contiguous()
    ordered = columns.sort(1).values
    ranks = (torch.searchsorted(ordered, columns) + torch.searchsorted(ordered, columns, right=True) + 1).double() / 2
    positive = labels.T.double()
    n_positive, n_negative = positive.sum(1), (1 - positive).sum(1)
    area = ((ranks * positive).sum(1) - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative).clamp_min(1)
    some = (n_positive > 0) & (n_negative > 0)
    return float(area[some].mean()) if bool(some.any()) else 0.5
