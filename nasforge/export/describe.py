"""The description of preprocessing as an export carries it, and in words; see `nasforge.data.preprocess`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nasforge.errors import UserError
from nasforge.networks.build import steps
from nasforge.networks.network import Network
from nasforge.spaces.arch import Arch

FRESH = "fresh: drawn at random, not trained"  # what an export says of weights that were not given


def for_network(about: Mapping[str, Any], arch: Arch, network: Network, inside: bool) -> dict[str, Any]:
    """Return a description of data as one of a network: how it brings images to its side, and vectors to sequences.

    Raises:
        UserError: the network reads other inputs or has other outputs than the data.
    """
    inputs, heads = dict(about["inputs"]), network.heads
    spec: Any = arch["input"]
    wanted = spec if isinstance(spec, Mapping) and "tokens" not in spec else {next(iter(inputs)): spec}
    if set(wanted) != set(inputs) or (heads and set(heads) != set(about["targets"])):
        have, has = (f"the inputs {', '.join(a)} and the targets {', '.join(b)}" for a, b in ((inputs, about["targets"]), (wanted, heads)))
        raise UserError(f"preprocess: the data have {have}, the network {has}; give the data it was trained on")
    for name, one in inputs.items():
        shape = [wanted[name]["length"]] if isinstance(wanted[name], Mapping) else list(wanted[name])
        if shape == one["shape"]:
            continue
        if len(shape) == 3 == len(one["shape"]) and shape[0] == one["shape"][0]:
            inputs[name] = {**one, "resize_to": shape[1:]}
        elif shape == [*one["shape"], 1]:
            inputs[name] = {**one, "as_steps": True}
        else:
            have = one["shape"]
            raise UserError(f"preprocess: samples of the data are {have}, the network reads {shape}; give the data it was trained on")
    ends = {step.where.removeprefix("heads."): step for step in steps(arch) if not step.where.startswith("aux.")}
    last = next(reversed(ends))
    for name, target in about["targets"].items():
        shape = list(ends[name if heads else last].probe.shapes[-1])
        if not shape or shape[0 if target["kind"] == "mask" else -1] != target["size"]:
            had = f"the target {name} of kind {target['kind']} has {target['size']} outputs"
            raise UserError(f"preprocess: {had}, those of the network are {shape}; give the data it was trained on")
    return {**about, "inside": inside, "inputs": inputs}


def names_of(about: Mapping[str, Any], network: Network) -> list[str]:
    """Return the names of the inputs in the order in which the network reads them."""
    return network.inputs if len(network.inputs) > 1 else list(about["inputs"])


def random_raw(one: Mapping[str, Any], batch: int, generator: torch.Generator) -> Tensor:
    """Return raw numbers such as the data may have."""
    shape = (batch, *one["shape"])
    if one["dtype"] == "int64":
        return torch.randint(one["vocabulary"], shape, generator=generator)
    axes = [-1, 1, 1] if len(shape) == 4 else [-1]
    mean, std = (torch.tensor(one[word], dtype=torch.float64).view(axes) for word in ("mean", "std"))
    x = (torch.randn(shape, generator=generator).double() * std + mean) / one["scale"]
    return x.round().clamp(0, 255).to(torch.uint8) if one["dtype"] == "uint8" else x.to(getattr(torch, one["dtype"]))


def in_words(one: Mapping[str, Any], inside: bool) -> str:
    """Return what an input is to be, for a reader."""
    sizes = f"({', '.join(['batch', *map(str, one['shape'])])})"
    if one["dtype"] == "int64":
        return f"{sizes} int64, whole numbers below {one['vocabulary']}"
    if not inside:
        return f"{sizes if not one.get('resize_to') else 'of the size that the network reads'} float32, normalized as preprocess says"
    if one["kind"] == "image":
        levels = "raw bytes 0 to 255" if one["dtype"] == "uint8" else "raw numbers as in the data"
        return f"{sizes} {one['dtype']}, {levels}, layout NCHW, channels {one['channels'] or one['shape'][0]}"
    missing = ", NaN where one is missing" if len(one["shape"]) == 1 else ""
    return f"{sizes} {one['dtype']}, raw numbers as in the data{missing}"


def out_words(target: Mapping[str, Any], inside: bool) -> str:
    """Return what an output is, for a reader."""
    if target["kind"] == "value":
        return "values in the units of the data" if inside else "values less their mean, divided by their deviation"
    return {"labels": "a logit for each label"}.get(target["kind"], "logits of the classes")
