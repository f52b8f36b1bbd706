"""Several heads: a task for each target of the data, and a head of the same name in the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nasforge.data import Batch, Dataset
from nasforge.errors import UserError
from nasforge.objectives.metrics import METRICS, metric
from nasforge.tasks.base import LossSettings, Scorer, Task, epochs_for


class Heads(Task):
    """The tasks of several targets, learned together: their losses are added, `head_weights` of the recipe weighs them.

    A metric of a head is called METRIC@HEAD; the main one is the main one of the first head. `loss` is the sum.
    """

    name = "heads"
    kind = "several"

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        first = next(iter(tasks.values()))
        super().__init__(first.key, first.target)
        self.tasks = dict(tasks)
        named = tuple(metric(f"{m.name}@{head}") for head, task in tasks.items() for m in task.metrics)
        self.metrics = (*named, METRICS["loss"])
        self.augmentations = frozenset.intersection(*(task.augmentations for task in tasks.values()))  # type: ignore[misc]

    def shape(self, batch: Batch) -> tuple[int, ...]:
        raise NotImplementedError("each head has a shape of its own")

    def objective(self, output: Tensor, batch: Batch, recipe: LossSettings) -> Tensor:
        raise NotImplementedError("each head has a loss of its own")

    def loss(self, output: Any, batch: Batch, recipe: LossSettings) -> Tensor:
        losses = [recipe.head_weights.get(head, 1.0) * task.loss(output[head], batch, recipe) for head, task in self.tasks.items()]
        return sum(losses[1:], losses[0])

    def logits(self, output: Any) -> Tensor:
        return next(iter(output.values())).flatten(1)

    def check(self, output: Any, batch: Batch) -> None:
        wanted = ", ".join(f"{head} ({task.name}, {task.outputs} outputs)" for head, task in self.tasks.items())
        if not isinstance(output, Mapping) or set(output) != set(self.tasks):
            got = ", ".join(output) if isinstance(output, Mapping) else "one output"
            raise UserError(f"heads: the data have the targets {wanted}; the network must have a head for each, got {got}")
        for head, task in self.tasks.items():
            try:
                task.check(output[head], batch)
            except UserError as error:
                raise UserError(f"heads.{head}: {error}") from None

    def scorer(self) -> HeadScorer:
        return HeadScorer(self)

    def answers(self, scorer: Any) -> dict[str, Any]:
        return {key: found for head, task in self.tasks.items() for key, found in task.answers(scorer.scorers[head]).items()}

    def recipe(self, data: Dataset, full: bool) -> dict[str, Any]:
        """No augmentation: what leaves one target as it is may change another."""
        epochs = epochs_for(data, 27_000 if full else 15_000, 3, 100)
        return {"epochs": epochs, "batch_size": 32 if full else 16, "lr": 4e-3, "warmup_epochs": 0.1 * epochs, "grad_clip": 5.0}


class HeadScorer:
    """The metrics of every head as METRIC@HEAD, and the sum of their losses."""

    def __init__(self, task: Heads) -> None:
        self.scorers: dict[str, Scorer] = {head: one.scorer() for head, one in task.tasks.items()}

    def update(self, output: Any, batch: Batch) -> None:
        for head, scorer in self.scorers.items():
            scorer.update(output[head], batch)

    def result(self) -> dict[str, float]:
        found = {head: scorer.result() for head, scorer in self.scorers.items()}
        named = {f"{name}@{head}": value for head, metrics in found.items() for name, value in metrics.items()}
        return {**named, "loss": sum(metrics["loss"] for metrics in found.values())}
