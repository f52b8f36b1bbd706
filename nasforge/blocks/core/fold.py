"""Batch normalisation merged into the convolution before it, for a network that is only used, not trained."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from nasforge.blocks.core.conv import Conv, Deconv

Network = TypeVar("Network", bound=nn.Module)
Norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norm(network: Network) -> Network:
    """Return a copy in eval mode that computes the same with one weight and bias where a convolution was followed by batch norm.

    w' = w g / sqrt(var + eps), b' = (b - mean) g / sqrt(var + eps) + beta. Convolutions that are normalised before (preact) stay as
    they are. Source: Jacob et al. 2018, equation 14.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if isinstance(module, Conv | Deconv) and isinstance(module.norm, Norms) and not (isinstance(module, Conv) and module.preact):
            _fold(module)
    return folded


@torch.no_grad()
def _fold(module: Conv | Deconv) -> None:
    norm, conv = module.norm, module.conv
    assert isinstance(norm, Norms) and norm.running_var is not None and norm.running_mean is not None
    factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    bias = torch.zeros_like(factor) if conv.bias is None else conv.bias
    weight = module.weights() if isinstance(module, Conv) else conv.weight
    conv.weight = nn.Parameter(_per_output(factor, conv) * weight)
    conv.bias = nn.Parameter((bias - norm.running_mean) * factor + norm.bias)
    module.norm = nn.Identity()
    if isinstance(module, Conv) and module.weight_kind != "plain":
        module.weight_kind = "plain"
        module.gain = None  # type: ignore[assignment]
    if module.made_with is not None:
        shapes, args = module.made_with
        kept = {k: v for k, v in args.items() if k not in ("norm", "bias", "weight")}
        module.made_with = (shapes, {**kept, "norm": "none", "bias": True})


def _per_output(factor: Tensor, conv: nn.Module) -> Tensor:
    """Return one factor per output channel in the shape of the weights: a transposed convolution has (in, out / groups, ...)."""
    weight: Tensor = conv.weight  # type: ignore[assignment]
    ones = [1] * (weight.ndim - 2)
    if not isinstance(conv, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return factor.view(-1, 1, *ones)
    groups = conv.groups
    return factor.view(groups, 1, -1, *ones).expand(groups, weight.shape[0] // groups, *[-1] * (weight.ndim - 1)).flatten(0, 1)
