"""Losses and scores of a model; the task follows from the targets.

`y` (B,) classes have logits (B, K); (B, H, W) label maps have (B, K, H, W); (B, T) steps have (B, T, K).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasforge.data import Part
from nasforge.data.arrays import IGNORE
from nasforge.errors import UserError
from nasforge.train.augment import Mix

BATCH_NUMBERS = 2**22  # numbers of the samples scored at once, 16 MiB


def split_output(output: Any) -> tuple[Tensor, list[Tensor]]:
    """The main logits and those of the auxiliary heads, which a model returns as `(main, [aux, ...])`."""
    if isinstance(output, Tensor):
        return output, []
    main, aux = output
    return main, list(aux)


def cross_entropy(logits: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy over the targets that are not ignored; 0 where all are.

    Smoothed targets are 1 - eps + eps/K and eps/K. Source: Szegedy et al. 2016, section 7.
    """
    if y.ndim == 1:
        return functional.cross_entropy(logits, y, label_smoothing=smoothing)
    if y.ndim == 2:
        logits, y = logits.flatten(0, 1), y.flatten()  # (B*T, K), (B*T,)
    total = functional.cross_entropy(logits, y, ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum")
    return total / (y != IGNORE).sum().clamp_min(1)


def mixed_cross_entropy(logits: Tensor, y: Tensor, mix: Mix, smoothing: float = 0.0) -> Tensor:
    """Mean over samples of each one's two losses by weight. Source: mixup, Zhang et al. 2018."""
    first, second = (functional.cross_entropy(logits, t, label_smoothing=smoothing, reduction="none") for t in (y, mix.y))
    return second.lerp(first, mix.weight).mean()


def training_loss(output: Any, y: Tensor, mix: Mix | None, smoothing: float, aux_weight: float) -> Tensor:
    """Main loss + `aux_weight` * the sum of the auxiliary losses. Source: Szegedy et al. 2015, section 5."""
    main, aux = split_output(output)
    losses = [cross_entropy(o, y, smoothing) if mix is None else mixed_cross_entropy(o, y, mix, smoothing) for o in (main, *aux)]
    return with_aux(losses[0], losses[1:], aux_weight) if aux else losses[0]


def with_aux(main: Tensor, aux: list[Tensor], weight: float) -> Tensor:
    """`main + weight * sum(aux)`."""
    return main + weight * torch.stack(aux).sum()


def check_logits(output: Any, y: Tensor, classes: int) -> None:
    """Raises UserError where a model's output does not fit the targets."""
    wanted = {1: (len(y), classes), 2: (*y.shape, classes), 3: (len(y), classes, *y.shape[1:])}[y.ndim]
    if not isinstance(output, Tensor) and not (isinstance(output, (tuple, list)) and len(output) == 2):
        raise UserError(f"model: must return logits or (logits, [auxiliary, ...]), got {type(output).__name__}")
    main, aux = split_output(output)
    for logits in (main, *aux):
        if tuple(logits.shape) != wanted:
            raise UserError(f"model: logits must be {wanted} for targets {tuple(y.shape)}, got {tuple(logits.shape)}")


def score(model: nn.Module, part: Part, *, batch_size: int | None = None, device: str | torch.device = "cpu") -> dict[str, float]:
    """`accuracy` and `loss` of the model in eval mode over the targets not ignored, and `miou` for label maps.

    `miou` is the mean over the classes that occur of intersection over union. Without `batch_size` a batch has up to
    512 samples, fewer where these are large.
    """
    if len(part) == 0:
        raise UserError("score: at least one sample is needed, got none")
    batch_size = batch_size or max(1, min(512, BATCH_NUMBERS // part.x[0].numel()))
    training = model.training
    model.eval()
    with torch.no_grad():  # not inference mode: what a model caches in it could not be trained through later
        sums, confusion = _add_up(model, part, batch_size, torch.device(device))
    model.train(training)
    right, loss, counted = sums.tolist()
    scores = {"accuracy": right / max(1, counted), "loss": loss / max(1, counted)}
    if confusion is not None:
        scores["miou"] = mean_iou(confusion)
    return scores


def _add_up(model: nn.Module, part: Part, batch_size: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(right, loss, counted) over the part, and the (K, K) confusion of label maps."""
    sums = torch.zeros(3, dtype=torch.float64, device="cpu" if device.type == "mps" else device)
    confusion: Tensor | None = None
    for start in range(0, len(part), batch_size):
        x, y = (t[start : start + batch_size].to(device) for t in (part.x, part.y))
        logits = split_output(model(x))[0].float()
        known = y != IGNORE
        guess = logits.argmax(-1 if y.ndim == 2 else 1)  # as y
        counted = known.sum()
        new = torch.stack([((guess == y) & known).sum(), cross_entropy(logits, y) * counted, counted])
        sums += new.to(sums)
        if y.ndim == 3:
            k = logits.shape[1]
            pairs = torch.bincount(y[known] * k + guess[known], minlength=k * k).view(k, k)
            confusion = pairs if confusion is None else confusion + pairs
    return sums, confusion


def mean_iou(confusion: Tensor) -> float:
    """Mean intersection over union of a (true, guessed) confusion matrix, over the classes that occur in either."""
    hit = confusion.diagonal().double()
    union = confusion.sum(0) + confusion.sum(1) - hit
    occurs = union > 0
    return float((hit[occurs] / union[occurs]).mean()) if bool(occurs.any()) else 0.0
