"""Files of weights as other libraries write them: read safely, unwrapped, grouped by layer, in the order of their network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nasforge.errors import UserError
from nasforge.files import check_zip

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "state_dict_ema", "net")
PREFIXES = ("module.", "model.")
MOST_WRAPPED = 20  # mappings in mappings
MOST_REPEATED = 2**20  # bytes of a tensor that repeats few numbers
COUNTER = "num_batches_tracked"
BESIDE = ("downsample", "shortcut", "proj", "skip", "skipbn")  # a branch beside the block, wherever it was registered
LATER = (
    *BESIDE,
    "se",
    "se_module",
    "attn",
    "branch_pool",
    "conv_transition_b",
    "conv_transition",
    "c1x1_c",
)  # after a block's numbered parts
EARLIER = (  # before them; of a found cell what reads the last cell, then what reads the one before
    "conv_down", "conv_exp", "c1x1_w_s1", "c1x1_w_s2", "conv_1x1", "conv_prev_1x1", "path_1", "path_2", "final_path_bn",
)  # fmt: skip
FIRST = ("stem", "conv_stem", "conv1", "conv0", "conv_0", "bn1", "norm0", "layer0", "cell_stem_0", "cell_stem_1")  # what begins a network,
LAST = (
    "conv_head",
    "conv_last",
    "bn2",
    "norm",
    "bn",
    "pre_logits",
    "classif",
    "classifier",
    "last_linear",
    "head",
    "fc",
)  # and what ends it
TOPS = (  # parts of networks that their names do not order
    "mixed_5b repeat mixed_6a repeat_1 mixed_7a repeat_2 block8 conv2d_7b classif",
    "conv0 cell_stem_0 cell_stem_1 cell_0 cell_1 cell_2 cell_3 cell_4 cell_5 reduction_cell_0 cell_6 cell_7 cell_8 cell_9 cell_10 cell_11 "
    "reduction_cell_1 cell_12 cell_13 cell_14 cell_15 cell_16 cell_17 last_linear",
)


@dataclass(frozen=True)
class Layer:
    """A module that holds tensors: its name and its tensors by role (weight, bias, running_mean, ...)."""

    name: str
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def signature(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Roles with shapes, without sides of 1 at their end: a 1x1 convolution of vectors is a full layer."""
        return tuple(sorted((role, bare(tensor)) for role, tensor in self.tensors.items() if role != COUNTER))

    @property
    def aside(self) -> bool:
        """Whether it belongs to an auxiliary head, which runs in training only."""
        return self.name.lower().startswith("aux")

    def __str__(self) -> str:
        shapes = [f"{role} {'x'.join(map(str, tensor.shape)) or 1}" for role, tensor in self.tensors.items() if role in ("weight", "bias")]
        return f"{self.name} ({', '.join(shapes) or ', '.join(self.tensors)})"


def bare(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape without sides of 1 after the second."""
    shape = list(tensor.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def read_state(path: str | Path) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a .safetensors, .pth or .pt file, and whether they stand in the order of their modules (safetensors sorts names).

    Raises UserError for a file that holds something else; a pickle with code in it is not run.
    """
    path = Path(path)
    try:
        check_zip(path)
        data = load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: must be a file that can be read, got: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path}: must be a safetensors file, got {error}") from None
    except Exception as error:  # torch.load raises whatever a broken file, or a pickle with code in it, leads to
        raise UserError(f"{path}: must hold tensors and nothing else ({type(error).__name__}); save the model's state_dict()") from None
    return unwrapped(data), path.suffix != ".safetensors"


def of_tensorflow(path: str | Path) -> bool:
    """Return whether the name of a file, or of its folder in the cache of Hugging Face, says that its weights are TensorFlow's."""
    path = Path(path)
    cached = [part for part in path.parts[:-1] if part.startswith("models--")]
    return any(re.search(r"(?<![a-z0-9])tf(?![a-z0-9])", word.lower().replace("_", "-")) for word in (path.stem, *cached))


def unwrapped(data: Any) -> dict[str, Tensor]:
    """Return the tensors by name, out of a checkpoint's wrapping and without the prefix of a data-parallel module."""
    for _ in range(MOST_WRAPPED):
        inner = next((data[w] for w in WRAPPERS if isinstance(data.get(w), Mapping)), None) if isinstance(data, Mapping) else None
        if inner is None:
            break
        data = inner
    else:
        raise UserError(f"weights: must be names with tensors, got a mapping in itself ({WRAPPERS[0]} ...); save the model's state_dict()")
    out = {str(k): v for k, v in data.items() if isinstance(v, Tensor)} if isinstance(data, Mapping) else {}
    for prefix in PREFIXES:
        if out and all(name.startswith(prefix) for name in out):
            out = {name.removeprefix(prefix): tensor for name, tensor in out.items()}
    if not out:
        raise UserError(f"weights: must be names with tensors, got {type(data).__name__} without any; save the model's state_dict()")
    for name, tensor in out.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_nested:
            raise UserError(f"weights: {name} must be a dense tensor of numbers, got {tensor.layout} on {tensor.device}; save it dense")
        held = tensor.untyped_storage().nbytes()
        if tensor.numel() * tensor.element_size() > max(MOST_REPEATED, held):
            raise UserError(f"weights: {name} must hold its numbers, got {list(tensor.shape)} out of {held} bytes; save it contiguous")
    return out


# ---------------------------------------------------------------- layers in order


def layers_of(state: Mapping[str, Tensor]) -> list[Layer]:
    """Return the layers of a state dict, in its order."""
    layers: dict[str, Layer] = {}
    for name, tensor in state.items():
        module, _, role = name.rpartition(".")
        layers.setdefault(module, Layer(module)).tensors[role] = tensor
    return list(layers.values())


def in_order(layers: list[Layer], ordered: bool) -> list[Layer]:
    """The layers as their network runs them: as they stand, or else as a reader of names would put them; shortcuts after their block."""
    seen: dict[str, int] = {}
    for layer in layers:
        for path in paths(layer.name):
            seen.setdefault(path, len(seen))
    tops = {path for path in seen if "." not in path}
    order = next((known.split() for known in TOPS if set(known.split()) <= tops), [])

    def rank(layer: Layer) -> list[tuple[Any, ...]]:
        words = layer.name.split(".")
        if ordered:
            return [(word != "conv_1x1", word in BESIDE, seen[path]) for word, path in zip(words, paths(layer.name), strict=True)]
        top = (words[0] in order, order.index(words[0]) if words[0] in order else 0)
        return [top, *(_reading(word, top=i == 0) for i, word in enumerate(words))]

    return sorted(layers, key=rank)


def guesses(layers: list[Layer]) -> list[str]:
    """Parts of one block with layers of one signature that their names order otherwise than by counting: `a, b` of each pair."""
    inside: dict[str, dict[str, set[Any]]] = {}
    for layer in layers:
        parents = ["", *paths(layer.name)]
        for parent, child in pairwise(parents):
            inside.setdefault(parent, {}).setdefault(child, set()).add(layer.signature)
    found = []
    for children in inside.values():
        unknown = [child for child in children if child.rpartition(".")[2] not in (*EARLIER, *LATER, *FIRST, *LAST)]
        for i, one in enumerate(unknown):
            rivals = (other for other in unknown[i + 1 :] if not counted(one, other) and children[one] & children[other])
            found += [f"{one}, {other}" for other in rivals]
    return found


def paths(name: str) -> list[str]:
    """A name and the names of its parents, the outermost first."""
    words = name.split(".")
    return [".".join(words[: i + 1]) for i in range(len(words))]


def counted(one: str, other: str) -> bool:
    """Return whether a number orders two siblings: conv1 and conv2, denseblock1 and transition2, but not branch1x1 and branch3x3."""
    a, b = one.rpartition(".")[2], other.rpartition(".")[2]
    if re.sub(r"\d+$", "", a) == re.sub(r"\d+$", "", b):
        return True
    return "x" not in a + b and bool(_numbers(a)) and bool(_numbers(b))


def _reading(word: str, top: bool) -> tuple[Any, ...]:
    """Where a reader puts a part of a name among its siblings: by place, by its numbers (3, 3 of branch3x3_2a), its letters, the rest."""
    place = 3 if "dbl" in word else 2  # the double branch of an inception module follows the single one
    if top and word in (*FIRST, *LAST):
        place = 0 if word in FIRST else 5
    elif word in EARLIER:
        return 1, [EARLIER.index(word)], "", [], word
    elif word in LATER:
        place = 4
    plain = re.sub(r"(?<=[a-z])[123]d(?![a-z])", "", word)
    first, _, rest = plain.rpartition("_")
    if not re.search(r"\d", first):
        first, rest = plain, ""
    return place, _numbers(first), first, _numbers(rest), word


def _numbers(word: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", word)]
