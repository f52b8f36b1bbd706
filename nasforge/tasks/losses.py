"""Cross entropy in the three layouts of classes, and class weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nasforge.data import IGNORE, Mix, Target
from nasforge.errors import UserError, nearest


def cross_entropy(logits: Tensor, y: Tensor, smoothing: float = 0.0, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross entropy over the targets that are not ignored; 0 where all are.

    `y` (B,) has logits (B, K); (B, H, W) has (B, K, H, W); (B, T) has (B, T, K). Smoothed targets are 1 - eps + eps/K and eps/K.
    Source: Szegedy et al. 2016, section 7.
    """
    if y.ndim == 1:
        return functional.cross_entropy(logits, y, weight, label_smoothing=smoothing)
    if y.ndim == 2:
        logits, y = logits.flatten(0, 1), y.flatten()  # (B*T, K), (B*T,)
    total = functional.cross_entropy(logits, y, weight, ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum")
    known = y != IGNORE
    counted = known.sum() if weight is None else weight[y[known]].sum()
    return total / counted.clamp_min(1)


def mixed_cross_entropy(logits: Tensor, y: Tensor, other: Tensor, mix: Mix, smoothing: float = 0.0, weight: Tensor | None = None) -> Tensor:
    """Return the mean over samples of each one's two losses by weight. Source: mixup, Zhang et al. 2018."""
    first, second = (functional.cross_entropy(logits, t, weight, label_smoothing=smoothing, reduction="none") for t in (y, other))
    return second.lerp(first, mix.weight).mean()


def class_weights(wanted: Any, target: Target, device: torch.device) -> Tensor | None:
    """Return the weight of each class in the loss, None where all weigh the same.

    wanted: None; `balanced` for samples / (classes * samples of the class), the usual heuristic; or weights by name or number.

    Raises:
        UserError: a class is not there.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        counts = torch.tensor(target.counts, dtype=torch.float, device=device)
        return counts.sum() / (target.size * counts.clamp_min(1))
    weight = torch.ones(target.size, device=device)
    valid = target.names or tuple(map(str, range(target.size)))
    for name, value in wanted.items():
        if str(name) in valid:
            weight[valid.index(str(name))] = value
        elif str(name).isdigit() and int(name) < target.size:
            weight[int(name)] = value
        else:
            raise UserError(f"recipe.class_weights: no class is called {name!r}; {nearest(name, valid[:50])}")
    return weight
