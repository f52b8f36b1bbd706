"""Sequences of unequal length: a padded batch gives what each sequence gives alone, through every block that reads sequences."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from examples_conv import EXAMPLES as CONV
from examples_sequence import EXAMPLES as SEQUENCE
from torch import Tensor, nn

from nasforge.blocks import BLOCKS
from nasforge.blocks.core.shapes import Tokens
from nasforge.errors import UserError
from nasforge.networks.build import build, input_shapes

STEPS = 16  # a square, for blocks that read a grid
LENGTHS = ([16, 7, 9, 4, 1], [2, 16, 5, 3, 11])  # of the main input and of the others
GRIDS = ("patch_merging", "swin_pair", "to_image", "window_attention")  # refused
LAST = {"output": "last"}
BOTH = {"bidirectional": True}
NODES = {"f": {"op": "linear", "from": ["x", "h_prev_0"]}, "h_new_0": {"op": "tanh", "from": "f"}}
CELL = {
    "nodes": [
        [{"from": 0, "op": "conv"}, {"from": 1, "op": "identity"}],
        [{"from": 2, "op": {"pool": {"kind": "avg", "kernel": 3, "stride": 1}}}, {"from": 1, "op": {"norm": {"kind": "group"}}}],
    ],
    "inputs": 2,
    "output": "concat",
}
MORE: dict[str, list[tuple[Any, dict[str, Any]]]] = {  # beside the examples of the contracts
    "attention": [((16, 8), {"heads": 2, "window": w, "causal": c}) for w in (None, 0, 3) for c in (False, True)],
    "attend": [
        (shapes, {"score": score, "join": join})
        for score in ("dot", "scaled", "general", "additive", "location")
        for shapes in (((16, 8), (16, 8)), ((8,), (16, 8)), ((16, 8),))
        for join in ("context", "concat")
    ],
    "cell": [(((16, 8), (16, 8)), CELL), ((16, 8), {"nodes": [[{"from": 0, "op": "conv"}]], "join": "mean"})],
    "conv": [
        ((16, 6), {"out": 4, "kernel": k, "stride": s, "pad": pad, "dilation": d, "norm": norm, "preact": preact})
        for k, s, d, pad in ((3, 1, 1, "same"), (4, 2, 1, "same"), (3, 2, 2, [2, 1]), (3, 1, 3, "causal"), (4, 3, 1, "valid"), (3, 1, 1, "tf"))
        for norm in ("batch", "layer", "group", "instance", "none")
        for preact in (False, True)
    ],
    "deconv": [
        ((16, 6), {"out": 4, "kernel": k, "stride": s, "pad": pad, "norm": norm})
        for k, s, pad in ((2, 2, "same"), (3, 2, "same"), (4, 2, 1), (3, 1, "same"), (3, 3, "valid"))
        for norm in ("batch", "group")
    ],
    "dense": [((16, 4), {"layers": ["conv", {"gru": {"hidden": 3, **BOTH}}]})],
    "gru": [((16, 6), {"hidden": 4, **BOTH, "layers": 3}), ((16, 6), {"hidden": 4, **BOTH, **LAST, "reset": "before", "layers": 2})],
    "lstm": [((16, 6), {"hidden": 4, **BOTH, **LAST, "layers": 2, "merge": merge}) for merge in ("concat", "add")]
    + [((16, 6), {"hidden": 4, **BOTH, **LAST, "cell": cell}) for cell in ("peephole", "no_forget")],
    "rnn": [((16, 6), {"hidden": 4, **BOTH, **LAST}), ((16, 6), {"hidden": 4, "layers": 2, **LAST})],
    "recurrent_cell": [((16, 6), {"hidden": 4, **LAST, "nodes": NODES})],
    "norm": [((16, 8), {"kind": kind, "affine": affine}) for kind in ("batch", "layer", "group", "instance") for affine in (True, False)],
    "parallel": [
        ((16, 8), {"branches": ["conv", {"pool": {"kernel": 3, "stride": 1}}], "join": join, "split": split})
        for join in ("concat", "add", "mean", "max", "mul", "gate")
        for split in (False, True)
    ]
    + [((16, 8), {"branches": [[{"pool": {"kernel": 2}}, "upsample", {"pool": {}}], [{"pool": {"kind": "avg"}}]]})],
    "pool": [
        ((16, 6), {"kind": kind, **window})
        for kind in ("max", "avg", "min", "mixed", "lp", "stochastic")
        for window in ({}, {"kernel": 2}, {"kernel": 3, "stride": 2}, {"kernel": 3, "stride": 2, "ceil": True}, {"kernel": 4, "pad": 1, "ceil": True})
    ],
    "residual": [((16, 8), {"body": [{"conv": {"out": 6, "stride": 2}}], "shortcut": kind}) for kind in ("auto", "pool", "none")],
    "take": [((16, 6), {"index": index}) for index in ("first", "last", 1, -3)],
    "time_distributed": [((16, 6), {"block": [{"linear": {"out": 4}}, "norm", "relu"]})],
    "upsample": [((16, 6), {"mode": mode, **size}) for mode in ("nearest", "bilinear") for size in ({}, {"scale": 3}, {"size": 10}, {"size": 23})],
}  # fmt: skip


def as_sequences(given: Any) -> tuple[Any, ...]:
    """The shapes of an example, with sequences of STEPS steps for texts, sequences, images and videos."""
    shapes = given if isinstance(given[0], tuple) else (given,)
    return tuple(Tokens(STEPS, s.vocab) if isinstance(s, Tokens) else s if len(s) == 1 else _long(s) for s in shapes)


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (STEPS, shape[-1] if len(shape) == 2 else shape[0])


def archs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every example whose block reads sequences, as an architecture of one block."""
    for name in BLOCKS:
        for i, (given, args) in enumerate([*{**SEQUENCE, **CONV}[name], *MORE.get(name, [])]):
            shapes = as_sequences(given)
            arch = spelled(name, args, shapes)
            if any(isinstance(shape, Tokens) or len(shape) == 2 for shape in shapes) and builds(arch):
                yield f"{name}-{i}", arch


def spelled(name: str, args: dict[str, Any], shapes: tuple[Any, ...]) -> dict[str, Any]:
    inputs = {f"x{i}": {"tokens": s.vocab, "length": s.length} if isinstance(s, Tokens) else list(s) for i, s in enumerate(shapes)}
    return {"input": inputs, "classes": 5, "body": [{name: copy.deepcopy(args), "from": list(inputs)}]}


def builds(arch: dict[str, Any]) -> bool:
    try:
        build(arch, "meta")
    except UserError:
        return False
    return True


def shifts(arch: Any) -> bool:
    """Whether a block pads as TensorFlow does at a stride: the windows of a sequence then depend on its length."""
    if isinstance(arch, dict):
        strided = max([arch.get("stride", arch.get("kernel", 1))], default=1) != 1
        return (arch.get("pad") == "tf" and strided) or any(map(shifts, arch.values()))
    return isinstance(arch, list) and any(map(shifts, arch))


ALL = dict(archs())
READ = {name: arch for name, arch in ALL.items() if name.rpartition("-")[0] not in GRIDS and not shifts(arch)}


# ---------------------------------------------------------------- batches and single sequences


def shortened(arch: dict[str, Any], lengths: tuple[int, ...]) -> dict[str, Any]:
    """The architecture for inputs of these lengths, which are full."""

    def short(spec: Any, length: int) -> Any:
        if isinstance(spec, dict):
            return {**spec, "length": length}
        return [length, spec[1]] if len(spec) == 2 else spec

    inputs = {name: short(spec, length) for (name, spec), length in zip(arch["input"].items(), lengths, strict=True)}
    return {**arch, "input": inputs, "padding": False}


def lengths_of(arch: dict[str, Any]) -> list[list[int]]:
    """The lengths of each input: the same where inputs are joined step by step."""
    together = set(arch["body"][0]) & {"add", "cell", "concat"}
    return [LENGTHS[0] if i == 0 or together else LENGTHS[1] for i in range(len(arch["input"]))]


def batch(arch: dict[str, Any]) -> list[Tensor]:
    """Random inputs, NaN or -1 beyond the end of each sequence."""
    generator = torch.Generator().manual_seed(1)
    xs = []
    for shape, lengths in zip(input_shapes(arch).values(), lengths_of(arch), strict=True):
        if isinstance(shape, Tokens):
            x = torch.randint(shape.vocab, (len(lengths), shape.length), generator=generator)
        else:
            x = torch.randn(len(lengths), *shape, generator=generator)
        for i, length in enumerate(lengths):
            if isinstance(shape, Tokens) or len(shape) == 2:
                x[i, length:] = torch.nan if x.is_floating_point() else -1
        xs.append(x)
    return xs


def scattered(network: nn.Module) -> nn.Module:
    """The network with weights and statistics that no constructor gives."""
    generator = torch.Generator().manual_seed(2)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand(value.shape, generator=generator)
            value.copy_(noise + 0.5 if "running_var" in name else value + 0.4 * (noise - 0.5))
    return network.eval()


def cut(value: Tensor, shape: torch.Size) -> Tensor:
    """The first entries along each axis: what is left of weights for each step, and of an output."""
    return value[tuple(slice(n) for n in shape)]


def alone(arch: dict[str, Any], network: nn.Module, xs: list[Tensor], i: int) -> tuple[nn.Module, Tensor] | None:
    """The network for the full sequence `i` with the same weights, and its output; None where it is too short for it."""
    lengths = tuple(lengths[i] for lengths in lengths_of(arch))
    short = shortened(arch, lengths)
    if not builds(short):
        return None
    single = build(short).eval()
    state = network.state_dict()
    if set(state) != set(single.state_dict()):  # a single step needs no projection
        return None
    single.load_state_dict({name: cut(state[name], value.shape) for name, value in single.state_dict().items()})
    return single, single(*(x[i : i + 1, : n if x.ndim == 3 or not x.is_floating_point() else None] for x, n in zip(xs, lengths, strict=True)))


@pytest.mark.parametrize("name", READ)
def test_a_padded_batch_gives_what_the_single_sequences_give_and_their_gradients(name: str) -> None:
    arch = {**READ[name], "padding": True}
    network, xs = scattered(build(arch)), batch(arch)
    y = network(*xs)
    assert torch.isfinite(y).all()
    summed = {key: torch.zeros_like(p) for key, p in network.named_parameters()}
    counted = torch.zeros_like(y, dtype=torch.bool)
    compared = []
    for i in range(len(y)):
        found = alone(READ[name], network, xs, i)
        if found is None:
            continue
        single, expected = found
        compared.append(i)
        torch.testing.assert_close(cut(y[i], expected[0].shape), expected[0], rtol=1e-5, atol=1e-5)
        cut(counted[i], expected[0].shape).fill_(True)
        if expected.requires_grad:
            expected.square().sum().backward()
            for key, p in single.named_parameters():
                cut(summed[key], p.shape).add_(0 if p.grad is None else p.grad)
    assert len(compared) >= 2
    assert not y[compared][~counted[compared]].any()  # zero beyond the end
    if y.requires_grad:
        y[compared].square().sum().backward()
        for key, p in network.named_parameters():
            grad = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(grad, summed[key], rtol=1e-4, atol=1e-4 * max(1.0, float(summed[key].abs().max())))
