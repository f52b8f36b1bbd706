"""Weights handed from a trained network to a relative."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

SHRINK, PERTURB = 0.4, 0.1


def inherit(model: nn.Module, weights: Mapping[str, Tensor]) -> float:
    """Copies what fits of a relative's weights into `model`, in place; the share of its parameters that were copied.

    A tensor of the same name and number of dimensions gives its overlapping corner, so that a widened layer begins with the channels
    that it had; what is new keeps its initial values. Counters and other whole numbers are not copied.

    Source: Real et al. 2017 (large-scale evolution), section 3.4; the corner of widened layers: Chen et al. 2016 (Net2Net), section 2.
    """
    copied, params = 0, dict(model.named_parameters())
    with torch.no_grad():
        for name, own in model.state_dict().items():
            given = weights.get(name)
            if given is None or given.ndim != own.ndim or not own.is_floating_point():
                continue
            corner = tuple(slice(0, min(a, b)) for a, b in zip(own.shape, given.shape, strict=True))
            own[corner] = given[corner].to(own)
            copied += own[corner].numel() if name in params else 0
    return copied / max(1, sum(p.numel() for p in params.values()))


def shrink_perturb(model: nn.Module, fresh: Mapping[str, Tensor], shrink: float = SHRINK, perturb: float = PERTURB) -> None:
    """Draws weights of two and more dimensions towards their initial values, in place: w = shrink * w + perturb * fresh.

    So a training that begins with the weights of another still learns as well as one from the beginning.

    Source: Ash and Adams 2020, section 4; the two numbers: Chebykin et al. 2023 (PBT-NAS), section 3.3.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(shrink).add_(fresh[name], alpha=perturb)
