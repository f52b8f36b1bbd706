"""Networks that begin as a relative: wider and deeper ones compute at first what it computes.

Which channel of the wider network carries which one of the relative is not worked out on paper but seen: both read the same samples, and at
each layer equal channels are looked for. So sums, concatenations, gates and shortcuts need no rules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import torch
from torch import Generator, Tensor, nn

from nasforge.blocks.compose.combine import Chain, Residual
from nasforge.data import Batch
from nasforge.tasks.base import forward
from nasforge.train.init import CONVOLUTIONS

EQUAL = 1e-5  # difference of outputs, as a share of the largest where that is above 1
ALIKE = 1e-4  # difference of the numbers of a channel, likewise
LOOKED_AT = 512  # numbers of a channel
BATCH_NORMS = nn.modules.batchnorm._BatchNorm
NORMS = (BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)


class Differs(Exception):
    """Raised where a network cannot compute what its relative does."""


def morph(model: nn.Module, parent: nn.Module, batch: Batch, seed: int = 0) -> bool:
    """Let `model` compute what `parent` computes in eval mode; return whether it does, else its weights stay as they were.

    It can where it is nowhere narrower, shallower or of smaller filters, and its new layers can begin as the identity: residuals with a
    shortcut, and convolutions at stride 1 before a ReLU or nothing. Where a channel is there several times, the weights that read it are
    divided among them, in unequal parts, so that they come to differ in training.

    Args:
        batch: of samples; one on which different channels differ.

    Source: Chen et al. 2016 (Net2Net), sections 3.1 and 3.2.
    """
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = model.training, parent.training
    try:
        with torch.no_grad():
            return _morphed(model.eval(), parent.eval(), batch, Generator().manual_seed(seed))
    except Differs:
        model.load_state_dict(before)
        return False
    finally:
        model.train(modes[0])
        parent.train(modes[1])


def _morphed(model: nn.Module, parent: nn.Module, batch: Batch, generator: Generator) -> bool:
    pairs = list(_aligned(model, parent))
    read: dict[nn.Module, Tensor] = {}
    wanted = _outputs(parent, batch, [other.register_forward_pre_hook(_keep(read)) for _, other in pairs if other is not None])
    hooks = []
    for own, other in pairs:
        if other is None:
            hooks += _begin_as_identity(own)
        else:
            hooks.append(own.register_forward_pre_hook(_once(_take_over(own, other, read.get(other), generator))))
    got = _outputs(model, batch, hooks)
    if [one.shape for one in got] != [one.shape for one in wanted]:
        raise Differs
    largest = max(1.0, *(float(one.abs().max()) for one in wanted))
    if any(float((a - b).abs().max()) > EQUAL * largest for a, b in zip(got, wanted, strict=True)):
        raise Differs
    return True


def _aligned(own: nn.Module, other: nn.Module | None) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """Yield the layers with weights or statistics of their own, each with the parent's one in its place, and blocks that the parent lacks.

    Chains are aligned from their beginnings on; one block is a chain of one.
    """
    if other is None:
        yield own, None
    elif isinstance(own, Chain) or isinstance(other, Chain):
        ours, theirs = _flat(own), _flat(other)
        if len(theirs) > len(ours):
            raise Differs
        for one, two in zip_longest(ours, theirs):
            yield from _aligned(one, two)
    else:
        if _tensors(own):
            yield own, other
        named = dict(other.named_children())
        for name, child in own.named_children():
            yield from _aligned(child, named.get(name))


def _flat(block: nn.Module) -> list[nn.Module]:
    """The blocks of a chain, those of the chains in it among them."""
    return [inner for one in block.blocks for inner in _flat(one)] if isinstance(block, Chain) else [block]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _outputs(model: nn.Module, batch: Batch, hooks: list[Any]) -> list[Tensor]:
    try:
        out = forward(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return list(out.values()) if isinstance(out, dict) else [out] if isinstance(out, Tensor) else list(out)


def _keep(read: dict[nn.Module, Tensor]) -> Callable[[nn.Module, Any], None]:
    def hook(module: nn.Module, args: Any) -> None:
        if module not in read and args and isinstance(args[0], Tensor):
            read[module] = args[0]

    return hook


def _once(act: Callable[[Tensor], None]) -> Callable[[nn.Module, Any], None]:
    """A hook that acts on the first input of a layer the first time that it is used."""
    done: list[bool] = []

    def hook(module: nn.Module, args: Any) -> None:
        if not done and args:
            done.append(True)
            act(args[0])

    return hook


def _take_over(own: nn.Module, other: nn.Module, read: Tensor | None, generator: Generator) -> Callable[[Tensor], None]:
    """Return what gives a layer the weights of the parent's one, when it sees the input that its relative has read."""

    def act(x: Tensor) -> None:
        if type(own) is not type(other):
            raise Differs
        if isinstance(own, (nn.Linear, *CONVOLUTIONS)) and isinstance(read, Tensor):
            _take_filters(own, other, _channels(x, read, -1 if isinstance(own, nn.Linear) else 1), generator)
        elif isinstance(own, NORMS) and isinstance(read, Tensor):
            from_ = _channels(x, read, -1 if isinstance(own, nn.LayerNorm) else 1)
            state = {k: v[from_] if v.ndim == 1 else v for k, v in other.state_dict().items()}
            if any(state[k].shape != v.shape for k, v in own.state_dict().items()):
                raise Differs
            own.load_state_dict(state)
        elif {k: v.shape for k, v in own.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}:
            for mine, theirs in zip(_tensors(own), _tensors(other), strict=True):
                mine.copy_(theirs)
        else:
            raise Differs

    return act


def _channels(x: Tensor, read: Tensor, axis: int) -> Tensor:
    """Return for each channel of an input which one of the parent's input it equals, the one that its place suggests where several do."""
    ours, theirs = x.movedim(axis, 0).flatten(1), read.movedim(axis, 0).flatten(1)
    if ours.shape[1] != theirs.shape[1] or len(ours) < len(theirs):
        raise Differs
    places = torch.linspace(0, ours.shape[1] - 1, min(LOOKED_AT, ours.shape[1])).long()
    far = torch.cdist(ours[:, places].float(), theirs[:, places].float(), p=float("inf"))
    near = far <= ALIKE * max(float(theirs.abs().max()), 1e-12)
    if not bool(near.any(1).all()):
        raise Differs
    usual = torch.arange(len(ours), device=x.device) % len(theirs)
    return torch.where(near[torch.arange(len(ours)), usual], usual, near.float().argmax(1))


def _take_filters(own: Any, other: Any, reads: Tensor, generator: Generator) -> None:
    """Give a convolution or linear layer the filters of the parent's one; `reads` tells which channels its inputs are."""
    given: Tensor = other.weight
    n_out = own.weight.shape[0]
    groups = getattr(own, "groups", 1), getattr(other, "groups", 1)
    writes = torch.arange(n_out) % len(given)
    if groups == (1, 1):
        parts = torch.rand(len(reads), generator=generator) + 0.5
        sums = torch.zeros(given.shape[1]).index_add_(0, reads.cpu(), parts)
        parts = (parts / sums[reads.cpu()]).to(given)
        given = given[:, reads] * parts.view(1, -1, *[1] * (given.ndim - 2))
    elif groups == (len(reads), other.in_channels) and n_out * groups[1] == len(given) * groups[0]:  # depthwise, as many filters a channel
        each = n_out // len(reads)
        writes = (reads.cpu()[:, None] * each + torch.arange(each)).flatten()
    elif own.weight.shape != given.shape or not torch.equal(reads.cpu(), torch.arange(len(reads))):
        raise Differs
    if n_out < len(given):
        raise Differs
    given = given[writes]
    rims = [a - b for a, b in zip(own.weight.shape[2:], given.shape[2:], strict=True)]
    if any(rim < 0 or rim % 2 for rim in rims):
        raise Differs
    around = [rim // 2 for rim in reversed(rims) for _ in range(2)]
    own.weight.copy_(nn.functional.pad(given, around) if any(around) else given)
    if own.bias is not None:
        own.bias.copy_(torch.zeros_like(own.bias) if other.bias is None else other.bias[writes])
    elif other.bias is not None:
        raise Differs


def _begin_as_identity(block: nn.Module) -> list[Any]:
    """Let a block hand its input on; return the hooks that see to it when it first runs."""
    if isinstance(block, Residual) and block.shortcut is not None:
        weighted = [m for m in block.body.modules() if isinstance(getattr(m, "weight", None), nn.Parameter)]
        if not weighted:
            raise Differs
        for parameter in weighted[-1].parameters(recurse=False):
            parameter.zero_()
        return []
    if not _tensors(block):
        return [hook for child in block.children() for hook in _begin_as_identity(child)]
    if isinstance(block, CONVOLUTIONS) and all(size % 2 for size in block.kernel_size) and block.groups in (1, block.in_channels):
        nn.init.dirac_(block.weight, block.groups)
        if block.bias is not None:
            block.bias.zero_()
        return []
    if isinstance(block, BATCH_NORMS) and block.affine and block.running_mean is not None:
        return [block.register_forward_pre_hook(_once(lambda x: _norm_as_identity(block, x)))]
    raise Differs


def _norm_as_identity(norm: Any, x: Tensor) -> None:
    """Let a batch norm hand on samples such as these, by their own mean and deviation."""
    var, mean = torch.var_mean(x.transpose(0, 1).flatten(1), 1, correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.copy_((var + norm.eps).sqrt())
    norm.bias.copy_(mean)
