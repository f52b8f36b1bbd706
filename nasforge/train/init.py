"""Initial weights: Xavier, He, orthogonal and layer-sequential unit variance, for any module."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor, nn

from nasforge.blocks.compose.combine import Residual
from nasforge.data import Batch
from nasforge.errors import UserError, nearest
from nasforge.tasks.base import forward

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
PATCHES_OF = 1000  # images
WHITEN_EPS = 5e-4
Fill = Callable[[Tensor, int, int, Generator], None]


def initialize(model: nn.Module, kind: str, batch: Batch | None = None, seed: int = 0) -> None:
    """Fills the weights of convolutions, linear, recurrent and attention layers in place, and sets their biases to 0.

    Norms, embeddings and parameters of other modules stay as they are. Stacked weights (the gates of an LSTM, the
    groups of a convolution, query, key and value) are filled one by one, each with its own fan.

    Args:
        kind: `default` (nothing changes), `xavier` Var = 2/(n_in + n_out), `he` Var = 2/n_in, `orthogonal` W^T W = I,
            `lsuv`: orthogonal, then every layer scaled to unit variance of its output on `batch`, or `dirac`: ungrouped
            convolutions of odd filters hand their input on, channel by channel; filters beyond its channels, and biases, stay as they are.
        batch: real samples, which `lsuv` needs.

    Source: Glorot and Bengio 2010; He et al. 2015; Saxe et al. 2014; Mishkin and Matas 2016; dirac: Zagoruyko and Komodakis 2017, in the
    partial form of Jordan 2024 (94% on CIFAR-10 in 3.29 seconds on a single GPU), section 3.
    """
    fills: dict[str, Fill] = {"xavier": fill_xavier, "he": fill_he, "orthogonal": fill_orthogonal, "lsuv": fill_orthogonal}
    if kind == "default":
        return
    if kind == "dirac":
        return _hand_on(model)
    if kind not in fills:
        raise UserError(f"init: must be a known kind, got {kind!r}; {nearest(kind, ['default', 'dirac', *fills])}")
    if kind == "lsuv" and batch is None:
        raise UserError("init: lsuv needs a batch of samples to measure variances on, got none")
    generator = Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.modules():
            for weight in weights(layer):
                n_out, area = weight.shape[0], weight[0, 0].numel()
                matrix = torch.empty(n_out, weight[0].numel())  # on the CPU: a seed means the same on every device
                fills[kind](matrix, matrix.shape[1], n_out * area, generator)
                weight.copy_(matrix.view(weight.shape))
            for bias in _biases(layer):
                bias.zero_()
        if kind == "lsuv" and batch is not None:
            _scale_to_unit_variance(model, batch)


def weights(layer: nn.Module) -> Iterator[Tensor]:
    """(n_out, n_in, ...) views of the weights of a layer, one for each gate, group or projection."""
    if isinstance(layer, nn.Linear):
        yield layer.weight
    elif isinstance(layer, CONVOLUTIONS):
        yield from layer.weight.chunk(layer.groups)
    elif isinstance(layer, TRANSPOSED):
        yield from (group.transpose(0, 1) for group in layer.weight.chunk(layer.groups))
    elif isinstance(layer, nn.RNNBase):
        gates = {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
        for name, weight in layer.named_parameters(recurse=False):
            if name.startswith("weight_"):
                yield from weight.chunk(1 if name.startswith("weight_hr") else gates)
    elif isinstance(layer, nn.MultiheadAttention):
        if layer.in_proj_weight is not None:
            yield from layer.in_proj_weight.chunk(3)
        else:
            yield from (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)


def _biases(layer: nn.Module) -> list[Tensor]:
    if isinstance(layer, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)):
        return [] if layer.bias is None else [layer.bias]
    if isinstance(layer, nn.RNNBase):
        return [p for name, p in layer.named_parameters(recurse=False) if name.startswith("bias_")]
    if isinstance(layer, nn.MultiheadAttention) and layer.in_proj_bias is not None:
        return [layer.in_proj_bias]
    return []


def fill_xavier(matrix: Tensor, n_in: int, n_out: int, generator: Generator) -> None:
    """Normal numbers of variance 2/(n_in + n_out). Source: Glorot and Bengio 2010, equation 12."""
    matrix.normal_(0, math.sqrt(2 / (n_in + n_out)), generator=generator)


def fill_he(matrix: Tensor, n_in: int, n_out: int, generator: Generator) -> None:
    """Normal numbers of variance 2/n_in. Source: He et al. 2015, equation 10."""
    matrix.normal_(0, math.sqrt(2 / n_in), generator=generator)


def fill_orthogonal(matrix: Tensor, n_in: int, n_out: int, generator: Generator) -> None:
    """Orthonormal columns, or rows where these are fewer. Source: Saxe et al. 2014."""
    nn.init.orthogonal_(matrix, generator=generator)


def _hand_on(model: nn.Module) -> None:
    """Filters i of the ungrouped convolutions, the first layer left out, begin as the identity of channel i."""
    layers = [m for m in model.modules() if isinstance(m, CONVOLUTIONS)][1:]
    with torch.no_grad():
        for layer in layers:
            odd = all(size % 2 for size in layer.kernel_size)
            if layer.groups == 1 and odd:
                nn.init.dirac_(layer.weight[: layer.in_channels])


def whiten(model: nn.Module, batch: Batch) -> None:
    """Let the first convolution begin with filters that whiten the patches of images: the principal ones, each with its opposite.

    Where it has more filters than twice the numbers of a patch, the others stay as they are. So does a network that does not begin with an
    ungrouped convolution over images.

    Args:
        batch: training images (N, C, H, W), of which some hundred are enough.

    Source: Page 2018 (How to train your ResNet), part 8; both signs: Jordan 2024, section 3.1.
    """
    layer = next((m for m in model.modules() if isinstance(m, (nn.Linear, *CONVOLUTIONS))), None)
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1 or batch.x.ndim != 4 or batch.x.shape[1] != layer.in_channels:
        return
    with torch.no_grad():
        size = layer.kernel_size
        patches = nn.functional.unfold(batch.x[:PATCHES_OF].float(), size, stride=size).transpose(1, 2).flatten(0, 1)  # (patches, C*k*k)
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))  # from the smallest on
        filters = (vectors / (values.clamp_min(0) + WHITEN_EPS).sqrt()).T.flip(0).view(-1, *layer.weight.shape[1:])
        count = min(len(filters), (layer.out_channels + 1) // 2)
        both = torch.cat([filters[:count], -filters[:count]])[: layer.out_channels]
        layer.weight[: len(both)] = both.to(layer.weight)


def zero_residuals(model: nn.Module) -> None:
    """Let the bodies of residuals with a shortcut begin at 0: the scale of their last norm, where what follows it lets a gradient through.

    Behind a ReLU nothing would ever be learned, so such bodies stay as they are.

    Source: Goyal et al. 2017, section 5.1.
    """
    for block in model.modules():
        if not isinstance(block, Residual) or block.shortcut is None:
            continue
        inner = [m for m in block.body.modules() if not list(m.children())]
        last = max((i for i, m in enumerate(inner) if isinstance(getattr(m, "weight", None), nn.Parameter)), default=-1)
        if last >= 0 and isinstance(inner[last], NORMS) and all(_lets_through(m) for m in inner[last + 1 :]):
            nn.init.zeros_(inner[last].weight)  # type: ignore[arg-type]


def _lets_through(act: nn.Module) -> bool:
    """Whether a module is the identity, or an activation with f(0) = 0 and a slope there."""
    zero = torch.zeros(1, 1, 1, 1, requires_grad=True)
    try:
        out = act(zero)
        (slope,) = torch.autograd.grad(out.sum(), zero)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    return out.shape == zero.shape and float(out.detach()) == 0 and float(slope) != 0


def _scale_to_unit_variance(model: nn.Module, batch: Batch) -> None:
    """One pass in which each layer is scaled as it is reached and hands on the scaled output.

    The biases are 0, so dividing the weight by a layer's standard deviation divides its output by it exactly: one pass
    does what the paper iterates. In eval mode norms are the identity they start as, and nothing drops out.
    """
    done: set[int] = set()

    def scale(layer: nn.Module, _: object, output: Tensor) -> Tensor | None:
        if id(layer) in done:  # used twice: scaled by its first output
            return None
        done.add(id(layer))
        deviation = output.std()
        if not 1e-8 < float(deviation) < float("inf"):
            return None
        layer.weight.div_(deviation)  # type: ignore[operator, union-attr]
        return output / deviation

    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED))]
    hooks = [layer.register_forward_hook(scale) for layer in layers]
    training = model.training
    try:
        model.eval()
        forward(model, batch)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
