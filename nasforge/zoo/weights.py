"""Weights of a documented network from torchvision or timm, mapped to ours.

Names differ between libraries, the layers do not. So layers of one signature (the shapes of their tensors) are paired in order: ours as
they run, theirs as `state_files.in_order` puts them. The pairs count only if every layer has one, and if layers that differ by a number in
their names (0, 1, 2; layer1, layer2) are met in that order.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nasforge.blocks.core.conv import Conv, uneven_same
from nasforge.blocks.core.pooling import Pool
from nasforge.blocks.core.shapes import example
from nasforge.errors import UserError
from nasforge.networks.build import build, input_shapes
from nasforge.spaces.arch import Arch
from nasforge.zoo.state_files import COUNTER, Layer, bare, guesses, in_order, layers_of, unwrapped

SHOWN = 4  # misfits of each side in a message
TORCH_EPS = 1e-5

# (network, a layer that the file has) -> what its batch norms add to the variance, where that is not torch's 1e-5
# Source: the model definitions of torchvision 0.28 and timm 1.0
NORM_EPS = (
    ("mobilenet_v3_*", "features.0.0", 1e-3),
    ("inception_*", "Conv2d_1a_3x3.conv", 1e-3),
    ("inception_*", "conv2d_1a.conv", 1e-3),
    ("inception_v4", "features.0.conv", 1e-3),
    ("efficientnet_b[567]", "features.0.0", 1e-3),
    ("dpn*", "features.conv1_1.conv", 1e-3),
    ("xception71", "stem.0.conv", 1e-3),
    ("*nasnet*", "conv0.conv", 1e-3),
    ("*nasnet*", "conv_0.conv", 1e-3),
)

# Released models that compute something else than the published network with the same weights
DIFFERS = (
    (
        "inception_v3",
        "Conv2d_1a_3x3.conv",
        "its average pools count the padding, ours do not; torchvision's own weights expect images from -1 to 1",
    ),
    ("seres*", "layer0.conv1", "its first max pool has no padding and rounds up, ours has a padding of 1"),
    ("nasnet*", "conv0.conv", "its average pools with a stride count the padding, ours and TensorFlow's do not"),
    ("mobilenet_v1", "conv_stem", "it has ReLU6 where the paper and ours have ReLU"),
)

TF_EPS = 1e-3  # of TensorFlow's batch norms
TF_STEM = "conv_stem"  # a layer of those networks of timm of which there are tf_ ones too, with the very same layers

Pairs = list[tuple[Layer, Layer]]
Pad = Literal["same", "tf"]


@dataclass(frozen=True)
class Mapped:
    """What came of a mapping.

    state: tensors by our names. pairs: names of (their layer, our layer). left: layers of the file that nothing took.
    fresh: ours that nothing filled. norm_eps: what the batch norms of the file add to the variance. remarks: what to look at.
    """

    state: dict[str, Tensor]
    pairs: list[tuple[str, str]]
    left: list[str]
    fresh: list[str]
    norm_eps: float
    remarks: list[str]


def map_weights(
    arch: Arch, given: Mapping[str, Tensor], *, ordered: bool = True, partial: bool = False, norm_eps: float | None = None,
    pad: Pad | None = None,
) -> Mapped:  # fmt: skip
    """Return the tensors of `given` under the names of `build(arch).state_dict()`.

    `ordered`: the names stand in the order of their library's modules. `partial`: layers that do not fit get fresh weights.
    `norm_eps`: of their batch norms, where `NORM_EPS` does not know it; variances are shifted so that our norms, with torch's
    1e-5, give the same. `pad`: how their network pads where it strides, as TensorFlow does or on both sides alike; None where nobody knows,
    since weights do not tell. Auxiliary heads may be absent on either side. Raises UserError with the first layers that do not fit, or
    that pad otherwise.
    """
    name = str(arch.get("name", "network"))
    theirs, ours = layers_of(unwrapped(given)), running_order(arch)
    place = {layer.name: i for i, layer in enumerate(ours)}
    if {layer.name for layer in theirs} == set(place):  # in our names already
        theirs.sort(key=lambda layer: place[layer.name])
        ordered = True
    else:
        theirs = in_order(theirs, ordered)
    pairs, left, fresh = _paired([x for x in theirs if not x.aside], [x for x in ours if not x.aside])
    if (left or fresh) and not partial:
        raise UserError(_misfit(name, left, fresh))
    _check_order(name, pairs, ours)
    more, left_aside, fresh_aside = _paired([x for x in theirs if x.aside], [x for x in ours if x.aside])
    have = {layer.name for layer in theirs}
    known = next((eps for network, layer, eps in NORM_EPS if fnmatch(name, network) and layer in have), TORCH_EPS)
    eps = known if norm_eps is None else norm_eps
    remarks = [f"the library's model differs: {what}" for network, layer, what in DIFFERS if fnmatch(name, network) and layer in have]
    if not ordered and (order := guesses([x for x in theirs if not x.aside])):
        remarks.append(
            f"the file is sorted by name, so an order was guessed in {len(order)} places ({order[0]}); the library's .pth file has it"
        )
    if pad is None and eps == TF_EPS != known and TF_STEM in have:
        pad = "tf"
    if pad is not None and (why := padded_otherwise(arch, pad)):
        raise UserError(
            f"{name}: the weights must be of a network that pads alike; {why}, so that its outputs would be others; give weights of a "
            f"network that does, or say --pad {'same' if pad == 'tf' else 'tf'} if theirs does"
        )
    if pad is None and TF_STEM in have and padded_otherwise(arch, "tf"):
        remarks.append("if this is one of timm's tf_ networks, which pad as TensorFlow does, it gives other outputs here; --pad tf asks")
    state = build(arch).state_dict() if fresh else {}
    for their, our in pairs + more:
        state |= _tensors(their, our, eps)
    return Mapped(
        {k: v.contiguous() for k, v in state.items()},
        [(a.name, b.name) for a, b in pairs + more],
        _words(left + left_aside),
        _words(fresh + fresh_aside),
        eps,
        remarks,
    )


def _words(layers: list[Layer]) -> list[str]:
    return [str(layer) for layer in layers]


def running_order(arch: Arch) -> list[Layer]:
    """Return the layers of a network, on meta, in the order in which they first run; those of auxiliary heads last."""
    network = build(arch, "meta").eval()
    order: dict[str, int] = {}
    names = {module: name for name, module in network.named_modules()}

    def note(module: nn.Module, _: object) -> None:
        order.setdefault(names[module], len(order))

    for module in names:
        module.register_forward_pre_hook(note)
    with torch.no_grad():
        network(*(example(shape, 1, "meta") for shape in input_shapes(arch).values()))
    return sorted(layers_of(network.state_dict()), key=lambda layer: _place(layer.name, order))


def padded_otherwise(arch: Arch, pad: Pad) -> str:
    """Return in words the first convolution or pool whose windows lie elsewhere than with `pad`; nothing where all lie there.

    Layers without padding are so in both.
    """
    network, found = build(arch, "meta").eval(), list[str]()
    names = {module: name for name, module in network.named_modules()}

    def look(module: Any, inputs: tuple[Tensor, ...]) -> None:
        sizes = inputs[0].shape[1:2] if module.swap else inputs[0].shape[2:]
        dilations = getattr(module, "dilation", [1] * len(module.kernel))
        for n, k, d, s, own in zip(sizes, module.kernel, dilations, module.stride, module.padding, strict=False):  # none of a global pool
            before, after = own if isinstance(own, tuple) else (own, own)
            span = d * (k - 1)
            wanted = uneven_same(n, span, s)[0] if pad == "tf" else span // 2
            if s > 1 and before + after and before != wanted:
                how = "as TensorFlow does" if pad == "tf" else "alike on both sides"
                found.append(f"{names[module]} has {before} pixels of padding before an input of {n}, {how} it would be {wanted}")

    for module in names:
        if isinstance(module, Conv | Pool):
            module.register_forward_pre_hook(look)
    with torch.no_grad():
        network(*(example(shape, 1, "meta") for shape in input_shapes(arch).values()))
    return next(iter(found), "")


def _place(name: str, order: Mapping[str, int]) -> tuple[bool, int]:
    """Where a layer runs; one that its owner calls in another way runs with its owner."""
    start = name
    while name and name not in order:
        name = name.rpartition(".")[0]
    return start.startswith("aux."), order.get(name, 0)


# ---------------------------------------------------------------- pairs


def _paired(theirs: list[Layer], ours: list[Layer]) -> tuple[Pairs, list[Layer], list[Layer]]:
    """Pairs of equal signature, then full layers that they write as convolutions over their whole input; the rests of both sides."""
    pairs, left, fresh = _matched(theirs, ours, lambda layer: layer.signature)
    wide, flat = [x for x in left if _dims(x) > 2], [x for x in fresh if _dims(x) == 2]
    more, _, _ = _matched(wide, flat, _flat)
    taken = {id(layer) for pair in more for layer in pair}
    return pairs + more, [x for x in left if id(x) not in taken], [x for x in fresh if id(x) not in taken]


def _matched(theirs: list[Layer], ours: list[Layer], by: Callable[[Layer], Hashable]) -> tuple[Pairs, list[Layer], list[Layer]]:
    """Pairs, in order, of the signatures that both sides have equally often; the rests of both sides."""
    groups: dict[Hashable, tuple[list[Layer], list[Layer]]] = defaultdict(lambda: ([], []))
    for side, layers in enumerate((theirs, ours)):
        for layer in layers:
            groups[by(layer)][side].append(layer)
    pairs = [pair for a, b in groups.values() if len(a) == len(b) for pair in zip(a, b, strict=True)]
    taken = {id(layer) for pair in pairs for layer in pair}
    return pairs, [x for x in theirs if id(x) not in taken], [x for x in ours if id(x) not in taken]


def _dims(layer: Layer) -> int:
    return len(bare(layer.tensors["weight"])) if "weight" in layer.tensors else 0


def _flat(layer: Layer) -> Hashable:
    return tuple(sorted((role, tensor.shape[:1], tensor.numel()) for role, tensor in layer.tensors.items()))


def _check_order(name: str, pairs: Pairs, ours: list[Layer]) -> None:
    """Raises UserError where layers that differ by a number at the end of a part of their names run in another order than the numbers."""
    place = {layer.name: i for i, layer in enumerate(ours)}
    first: dict[tuple[str, str], dict[int, tuple[int, str]]] = defaultdict(dict)
    for their, our in pairs:
        words = their.name.split(".")
        for i, word in enumerate(words):
            if found := re.fullmatch(r"(.*?)(\d+)", word):
                siblings = first[".".join(words[:i]), found[1]]
                siblings[int(found[2])] = min(siblings.get(int(found[2]), (len(place), "")), (place[our.name], their.name))
    for siblings in first.values():
        order = [siblings[number] for number in sorted(siblings)]
        for (before, one), (after, other) in pairwise(order):
            if before > after:
                raise UserError(
                    f"{name}: the order of the layers cannot be told from their names, {one} would run after {other}; "
                    "give the library's own .pth file, whose names stand in order"
                )


# ---------------------------------------------------------------- tensors


def _tensors(their: Layer, our: Layer, norm_eps: float) -> dict[str, Tensor]:
    """The tensors of their layer under our names, in our shapes, as 32-bit floats."""
    out = {}
    for role, like in our.tensors.items():
        if role == COUNTER:
            out[f"{our.name}.{role}"] = their.tensors.get(role, torch.zeros((), dtype=torch.long)).clone()
            continue
        value = their.tensors[role].detach().reshape(like.shape).float()
        if role == "running_var" and norm_eps != TORCH_EPS:
            value = (value + (norm_eps - TORCH_EPS)).clamp(min=0)  # var + theirs = var' + ours
        out[f"{our.name}.{role}"] = value.clone()
    return out


def _misfit(name: str, left: list[Layer], fresh: list[Layer]) -> str:
    """What does not fit, the first layers of each side by name."""
    parts = [
        f"{len(layers)} of {whose} {lack}: {', '.join(_words(layers[:SHOWN]))}{' ...' if len(layers) > SHOWN else ''}"
        for layers, whose, lack in (
            (_surplus(fresh, left), "its layers", "find no weights"),
            (_surplus(left, fresh), "the layers of the file", "have no place"),
        )
        if layers
    ]
    return f"{name}: the weights must be of this network; {'; '.join(parts)}; give its own weights, or --partial to take what fits"


def _surplus(some: list[Layer], others: list[Layer]) -> list[Layer]:
    """Those of `some` for which `others` have no layer of the same signature left."""
    free = Counter(layer.signature for layer in others)
    kept = []
    for layer in some:
        if free[layer.signature] > 0:
            free[layer.signature] -= 1
        else:
            kept.append(layer)
    return kept
