"""Layers of parallel branches that have one signature: their order among each other is a habit of a library, and shapes do not tell it.

Where their names do not tell it either, outputs do: the network must give what the library's gave for the same inputs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasforge.errors import UserError
from nasforge.networks.build import build, input_shapes
from nasforge.spaces.arch import Arch
from nasforge.zoo.state_files import BESIDE, Layer, counted
from nasforge.zoo.weights import Mapped, map_weights

TOLERANCE = 1e-3  # of the largest output: float32 rounds less, one wrong norm does more
MOST_TRIED = 64  # orders of branches

Group = tuple[str, ...]  # names of our layers, one of each branch


def rivals(arch: Arch, pairs: Sequence[tuple[str, str]]) -> list[Group]:
    """Return the groups of layers whose pairs (their name, our name) only an order of branches has told.

    A group whose names tell their place (conv1 and conv2, a downsample beside a block) is left out.
    """
    network = build(arch, "meta")
    theirs, layers = {our: their for their, our in pairs}, defaultdict[str, dict[str, Tensor]](dict)
    for name, tensor in network.state_dict().items():
        module, _, role = name.rpartition(".")
        layers[module][role] = tensor
    found = []
    for branches in _branches(network):
        by_signature = defaultdict[Any, list[list[str]]](list)
        for prefix in branches:
            inside = defaultdict[Any, list[str]](list)
            for name in layers:
                if f"{name}.".startswith(prefix) and name in theirs:
                    inside[Layer(name, layers[name]).signature].append(name)
            for signature, names in inside.items():
                by_signature[signature].append(names)
        for lists in by_signature.values():
            found += [tuple(row) for row in zip(*lists, strict=False) if len(row) > 1 and not _told([theirs[name] for name in row])]
    return found


def _branches(network: nn.Module) -> Iterator[list[str]]:
    """The prefixes of the branches of each block that has several: one reads what the others do, none reads another."""
    for name, module in network.named_modules():
        children = dict(module.named_children())
        if isinstance(inner := children.get("branches"), nn.ModuleList):
            yield [f"{name}.branches.{i}." for i in range(len(inner))]
        elif {"body", "shortcut"} <= children.keys():
            yield [f"{name}.body.", f"{name}.shortcut."]


def _told(names: Sequence[str]) -> bool:
    """Whether the names of a library say in which order layers come, each with the one before it."""
    for one, other in pairwise(names):
        a, b = next(((a, b) for a, b in zip(one.split("."), other.split("."), strict=False) if a != b), ("", ""))
        if not (counted(a, b) or {a, b} & set(BESIDE)):
            return False
    return True


def uncertain(groups: Sequence[Group], pairs: Sequence[tuple[str, str]]) -> str:
    """Return in words what is not certain."""
    theirs = {our: their for their, our in pairs}
    shown = ", ".join(theirs[name] for name in groups[0])
    return f"{len(groups)} times the order of branches cannot be told from shapes and names ({shown})"


def checked_weights(arch: Arch, given: Mapping[str, Tensor], inputs: Tensor, outputs: Tensor, **options: Any) -> tuple[Mapped, float]:
    """Return weights as `map_weights` gives them, in the order of branches with which the network gives these outputs.

    Returns also the largest difference, as a share of the largest output. Raises UserError where no order gives them.

    Args:
        inputs, outputs: (N, ...), a batch and what the library's model gives for it in eval mode.
        options: of `map_weights`.
    """
    found = map_weights(arch, given, **options)
    shape = next(iter(input_shapes(arch).values()))
    if tuple(inputs.shape[1:]) != tuple(shape) or len(inputs) != len(outputs):
        raise UserError(f"--check: must be inputs (N, {', '.join(map(str, shape))}) and their outputs, got {tuple(inputs.shape)} and "
                        f"{tuple(outputs.shape)}")  # fmt: skip
    network, groups = build(arch).eval(), rivals(arch, found.pairs)
    best = (float("inf"), found.state)
    for state in _orders(found.state, groups):
        network.load_state_dict(state, strict=not found.fresh)
        with torch.no_grad():
            got = network(inputs)
        if not isinstance(got, Tensor) or got.shape != outputs.shape:
            raise UserError(f"--check: the network gives outputs of another shape than {tuple(outputs.shape)}")
        best = min(best, (float((got - outputs).abs().max() / outputs.abs().max().clamp(min=1e-9)), state), key=lambda pair: pair[0])
        if best[0] <= TOLERANCE:
            return Mapped(best[1], found.pairs, found.left, found.fresh, found.norm_eps, found.remarks), best[0]
    tried = f"; {uncertain(groups, found.pairs)}, all were tried" if groups else ""
    raise UserError(f"--check: the network must give the outputs of the file, it differs by {best[0]:.2g} of the largest{tried}; "
                    "is the architecture the same, with its padding, activations and norm epsilon?")  # fmt: skip


def _orders(state: dict[str, Tensor], groups: Sequence[Group]) -> Iterator[dict[str, Tensor]]:
    """The tensors with the layers of groups in each order that a library may have: the same one in all groups of one size."""
    sizes = sorted({len(group) for group in groups})
    for number, orders in enumerate(product(*(permutations(range(size)) for size in sizes))):
        if number >= MOST_TRIED:
            return
        by_size, out = dict(zip(sizes, orders, strict=True)), dict(state)
        for group in groups:
            for mine, place in zip(group, by_size[len(group)], strict=True):
                roles = [name.rpartition(".")[2] for name in state if name.rpartition(".")[0] == mine]
                out |= {f"{mine}.{role}": state[f"{group[place]}.{role}"] for role in roles}
        yield out


def batch_in(path: str) -> Tensor:
    """Return the array in a .npy file as 32-bit floats. Raise UserError where there is none."""
    try:
        return torch.from_numpy(np.asarray(np.load(Path(path), allow_pickle=False), dtype=np.float32))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"--check {path}: must be an array of numbers in a .npy file ({error})") from None
