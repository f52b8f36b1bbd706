"""Multi-label classification: any number of K labels for each sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nasforge.data import Batch, Dataset
from nasforge.errors import UserError
from nasforge.objectives.metrics import METRICS
from nasforge.tasks.base import LossSettings, Task
from nasforge.tasks.classification import Classification, area_under_roc


class Multilabel(Task):
    """Learns a target of kind `labels`; the network gives (B, K) logits, one for each label.

    class_weights `balanced` weighs the samples that have a label by those that do not over those that do.
    """

    name = "multilabel"
    kind = "labels"
    metrics = tuple(METRICS[name] for name in ("mean_ap", "micro_f1", "macro_f1", "auc", "loss"))

    def shape(self, batch: Batch) -> tuple[int, ...]:
        return len(batch), self.target.size

    def objective(self, output: Tensor, batch: Batch, recipe: LossSettings) -> Tensor:
        y, weight = batch.targets[self.key], self.weights(recipe, output.device)
        if batch.mix is not None:
            y = batch.mix.targets[self.key].lerp(y, batch.mix.weight[:, None])
        smoothed = y * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(output, smoothed, pos_weight=weight)

    def weights(self, recipe: LossSettings, device: torch.device) -> Tensor | None:
        """Return the weight of each label where a sample has it."""
        if recipe.class_weights is None:
            return None
        if recipe.class_weights != "balanced":
            raise UserError(f"recipe.class_weights: of several labels a sample must be balanced or null, got {recipe.class_weights!r}")
        have = torch.tensor(self.target.counts, dtype=torch.float, device=device)
        return (self.target.samples - have) / have.clamp_min(1)

    def scorer(self) -> LabelScorer:
        return LabelScorer(self)

    def answers(self, scorer: Any) -> dict[str, Any]:
        return {self.key: scorer.answers()} if isinstance(scorer, LabelScorer) and scorer.logits else {}

    def recipe(self, data: Dataset, full: bool) -> dict[str, Any]:
        return Classification(self.key, self.target).recipe(data, full)


class LabelScorer:
    """Mean average precision, F1 over all decisions and the mean over labels, AUC. A label is given where its logit is above 0."""

    def __init__(self, task: Multilabel) -> None:
        self.task = task
        self.logits: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, output: Any, batch: Batch) -> None:
        self.logits.append(self.task.logits(output).float())
        self.labels.append(batch.targets[self.task.key])

    def answers(self) -> dict[str, Any]:
        """Return what is known of each label, in whole numbers: `total`, `right`, `answered` are the samples that have it, of them those to
        which it was given, and all to which it was given; `samples` are all there were. No label is taken for another."""
        given, have = torch.cat(self.logits) > 0, torch.cat(self.labels) > 0
        counts = {"total": have, "right": given & have, "answered": given}
        return {**{name: which.sum(0).tolist() for name, which in counts.items()}, "confused": [], "samples": len(have)}

    def result(self) -> dict[str, float]:
        logits, y = torch.cat(self.logits), torch.cat(self.labels)
        given, have = (logits > 0).double(), y.double()
        hit, total = (given * have).sum(0), (given + have).sum(0)
        return {
            "mean_ap": mean_average_precision(logits, y),
            "micro_f1": float(2 * hit.sum() / total.sum().clamp_min(1)),
            "macro_f1": float((2 * hit / total.clamp_min(1)).mean()),
            "auc": area_under_roc(logits, y.long()),
            "loss": float(functional.binary_cross_entropy_with_logits(logits, y)),
        }


def mean_average_precision(scores: Tensor, labels: Tensor) -> float:
    """Return the mean over labels of the area under precision against recall, by steps; labels that no sample has are left out.

    That area is the mean, over the samples that have the label, of the share that have it among those scored at least as high.
    """
    areas = []
    for column, have in zip(scores.T.contiguous(), labels.T > 0, strict=True):
        if bool(have.any()):
            known, everything = column[have], column.sort().values
            right, taken = (len(among) - torch.searchsorted(among, known) for among in (known.sort().values, everything))
            areas.append((right.double() / taken).mean())
    return float(torch.stack(areas).mean()) if areas else 0.0
