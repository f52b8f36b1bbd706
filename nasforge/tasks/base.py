"""The contract of a task: what is learned. Only a task looks inside the outputs of a network and the targets of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from nasforge.data import Batch, Dataset, Part, Target
from nasforge.errors import UserError
from nasforge.networks.network import Network
from nasforge.objectives.metrics import Metric

IMAGE = frozenset({"flip", "alternating_flip", "shift", "crop", "rotate", "zoom", "cutout", "fancy_pca"})
MIXING = frozenset({"mixup"})


class LossSettings(Protocol):
    """What of a recipe a loss reads."""

    @property
    def label_smoothing(self) -> float: ...

    @property
    def aux_weight(self) -> float: ...

    @property
    def class_weights(self) -> Any: ...

    @property
    def head_weights(self) -> Mapping[str, float]: ...


class Scorer(Protocol):
    """Adds up the metrics of a task over batches."""

    def update(self, output: Any, batch: Batch) -> None:
        """Take in what a network gave for a batch."""
        ...

    def result(self) -> dict[str, float]:
        """Return the metrics of all that was taken in, by name."""
        ...


class Examples(Protocol):
    """Collects single answers of a network, to be shown."""

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Take in the logits of a batch."""
        ...

    def result(self) -> dict[str, Any]:
        """Return what is to be shown, as plain data."""
        ...


class Task(ABC):
    """What is learned from one target of a data set.

    A subclass in a file of its own and one line in `nasforge.tasks.TASKS` make a new task.

    Attributes:
        name: on the command line and in files.
        kind: of the target that it learns, see `nasforge.data.dataset`.
        metrics: the main one first: early stopping, finals, report and winner read it unless an objective names another.
        augmentations: that may be used, by name.
        key: the name of its target in a batch.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    metrics: tuple[Metric, ...]
    augmentations: ClassVar[frozenset[str]] = IMAGE | MIXING

    def __init__(self, key: str, target: Target) -> None:
        self.key, self.target = key, target

    @property
    def main(self) -> Metric:
        """The metric that tells how good a network is."""
        return self.metrics[0]

    @property
    def outputs(self) -> int:
        """How many numbers the network gives for each sample, pixel or step: `classes` in an architecture."""
        return self.target.size

    @abstractmethod
    def shape(self, batch: Batch) -> tuple[int, ...]:
        """Return the shape that the output must have for a batch."""

    @abstractmethod
    def objective(self, output: Tensor, batch: Batch, recipe: LossSettings) -> Tensor:
        """Return the loss of the output of one head."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """Return what adds up the metrics."""

    @abstractmethod
    def recipe(self, data: Dataset, full: bool) -> dict[str, Any]:
        """Return what differs from a plain recipe: short, for a search, or `full`, for its finalists."""

    def earlier_recipe(self, data: Dataset, full: bool) -> dict[str, Any]:
        """Return what of the recipe was otherwise before runs kept the one that they began with: older runs go on with it."""
        return {"channels_last": False}

    def loss(self, output: Any, batch: Batch, recipe: LossSettings) -> Tensor:
        """Return the main loss + `aux_weight` * the sum of the auxiliary losses. Source: Szegedy et al. 2015, section 5."""
        main, aux = split_output(output)
        losses = [self.objective(one, batch, recipe) for one in (main, *aux)]
        return losses[0] if not aux else losses[0] + recipe.aux_weight * torch.stack(losses[1:]).sum()

    def constant(self, data: Dataset, part: Part) -> dict[str, float]:
        """Return the metrics, as far as they mean something, of the best answer that ignores its input, on a part of the data."""
        return {}

    def answers(self, scorer: Any) -> dict[str, Any]:
        """Return what a scorer of this task saw of each class, by target, as `ClassScorer.answers` has it; nothing where there are none."""
        return {}

    def examples(self) -> Examples | None:
        """Return what collects single answers to show, by `update` and `result` like a scorer; None where there is nothing to show."""
        return None

    def logits(self, output: Any) -> Tensor:
        """Return what zero-cost scores look at: the main output as one tensor."""
        return split_output(output)[0]

    def check(self, output: Any, batch: Batch) -> None:
        """Raise UserError where the output of a network does not fit the targets."""
        if isinstance(output, dict):
            raise UserError(
                f"heads: the task {self.name} reads one output, the network has the heads {', '.join(output)}; "
                "take data with a target for each head, or a network with one head"
            )
        if not isinstance(output, Tensor) and not (isinstance(output, tuple | list) and len(output) == 2):
            raise UserError(f"model: must return a tensor or (main, [auxiliary, ...]), got {type(output).__name__}")
        main, aux = split_output(output)
        for one in (main, *aux):
            if tuple(one.shape) != self.shape(batch):
                wanted, targets = self.shape(batch), tuple(batch.targets[self.key].shape)
                raise UserError(f"model: output of the task {self.name} must be {wanted} for targets {targets}, got {tuple(one.shape)}")


def split_output(output: Any) -> tuple[Tensor, list[Tensor]]:
    """Return the main output and those of the auxiliary heads, which a model gives as `(main, [aux, ...])`."""
    if isinstance(output, Tensor):
        return output, []
    main, aux = output
    return main, list(aux)


def forward(model: nn.Module, batch: Batch) -> Any:
    """Return what a model gives for a batch; its inputs are found by their names, or come in the order of the batch."""
    if isinstance(model, Network) and len(model.inputs) > 1:
        return model(*(batch.inputs[name] for name in model.inputs))
    return model(*batch.inputs.values())


def epochs_for(data: Dataset, samples_seen: int, low: int, high: int, share: float = 1.0) -> int:
    """Return the epochs that show `samples_seen` samples in all, within bounds: small sets need more passes."""
    return max(low, min(high, round(samples_seen / share / data.size("train"))))
