"""What an architecture costs: totals from remembered blocks, a table of its layers, and the table of the lecture notes.

Multiply-adds are those of convolutions, matrix products and attention (torch's count halved); biases, norms, activations and pooling
count nothing, as in the papers. Bytes are of 32-bit floats and one sample. Auxiliary heads run in training only and are left out.
Sequences that may end early (`padding: true`) are counted at their full length, and what keeps them apart is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from nasforge.blocks import BLOCKS
from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, example
from nasforge.errors import UserError
from nasforge.networks.build import Step, build, input_shapes, steps
from nasforge.networks.memory import SavedBytes
from nasforge.networks.probe import FLOAT_BYTES, size_bytes
from nasforge.networks.receptive_field import ReceptiveField, field_of, mark_everywhere, mark_input, mark_spread
from nasforge.spaces.arch import Arch

# ---------------------------------------------------------------- totals


@dataclass(frozen=True)
class Cost:
    """Parameters, multiply-adds of one sample, bytes of the weights, most bytes of feature maps alive at once in inference.

    `activation_bytes` (kept for the backward pass, for one more sample in the batch) costs a pass of its own: it is
    counted when it is first asked for.
    """

    params: int
    macs: int
    peak_bytes: int
    arch: Arch = field(repr=False, compare=False)

    @property
    def weight_bytes(self) -> int:
        """The bytes of the parameters."""
        return FLOAT_BYTES * self.params

    @cached_property
    def activation_bytes(self) -> int:
        """The bytes that each sample of a batch adds to what autograd keeps for the backward pass."""
        network = build(_full(self.arch), "meta").train()
        return _saved_bytes(network, self.arch, 3) - _saved_bytes(network, self.arch, 2)  # norms keep some bytes for a batch


def _full(arch: Arch) -> Arch:
    """Return the architecture for sequences of full length."""
    return {**arch, "padding": False}


def count(arch: Arch) -> Cost:
    """Return the cost of an architecture: the sum over its lines, each counted once on meta and remembered."""
    lines = [step for step in steps(arch) if not step.where.startswith("aux.")]
    params = macs = 0
    for line in lines:
        params += line.probe.params
        macs += line.probe.macs
    return Cost(params, macs, _peak_bytes(arch, lines), arch)


def _peak_bytes(arch: Arch, lines: list[Step]) -> int:
    """Return the most bytes alive at one line: what it needs itself, and named outputs that a later line reads."""
    if not any(line.writes or line.reads != ("last",) for line in lines) and "heads" not in arch:
        return max((line.probe.peak_bytes for line in lines), default=0)
    names: dict[str, tuple[int, int]] = {name: (-1, i) for i, name in enumerate(input_shapes(arch))}  # name -> one value
    sizes = dict(zip(names.values(), map(size_bytes, input_shapes(arch).values()), strict=True))
    names["last"] = (-1, 0)
    reads: list[list[tuple[int, int]]] = []
    for i, line in enumerate(lines):
        reads.append([names[name] for name in line.reads])
        sizes |= {(i, j): size_bytes(shape) for j, shape in enumerate(line.probe.shapes)}
        names |= {name: (i, j) for j, name in enumerate(line.writes)}
        if not line.where.startswith("heads."):  # every head reads the output of the body
            names["last"] = (i, len(line.probe.shapes) - 1)
    final = {(i, 0) for i, line in enumerate(lines) if line.where.startswith("heads.")}
    peak = 0
    for i, line in enumerate(lines):
        later = final.union(*reads[i + 1 :])
        held = sum(size for value, size in sizes.items() if value[0] < i and value in later and value not in reads[i])
        peak = max(peak, line.probe.peak_bytes + held)
    return peak


def _saved_bytes(network: nn.Module, arch: Arch, batch: int) -> int:
    inputs = [example(shape, batch, "meta") for shape in input_shapes(arch).values()]
    saved = SavedBytes(network)
    with saved:
        network(*inputs)
    return saved.total


# ---------------------------------------------------------------- the table of layers


@dataclass(frozen=True)
class Row:
    """One layer as it runs: shapes without the batch, padding in all per axis, field in input positions (infinite: everything)."""

    path: str
    type: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    padding: tuple[int, ...] | None
    params: int
    macs: int
    input_bytes: int
    parameter_bytes: int
    output_bytes: int
    receptive_field: float | None
    args: dict[str, Any] = field(default_factory=dict, repr=False)


def layer_table(arch: Arch) -> list[Row]:
    """Return the layers of an architecture in the order in which they run in inference; their sums are those of `count`.

    A combinator has a row only where it holds parameters or multiplies itself.
    """
    network = build(_full(arch), "meta").eval()
    inputs = [example(shape, 1, "meta") for shape in input_shapes(arch).values()]
    for x in inputs:
        if x.is_floating_point() and x.ndim > 2:
            mark_input(x)
    with torch.no_grad(), FlopCounterMode(display=False) as flops, ReceptiveField():
        recorder = _Recorder(lambda: flops.get_total_flops() // 2)
        recorder.watch(network, "")
        network(*inputs)
    return recorder.rows


class _Recorder:
    """Rows of the layers below a module, written by hooks while it runs."""

    def __init__(self, macs_now: Callable[[], int]) -> None:
        self.rows: list[Row] = []
        self.macs_now = macs_now
        self.open: list[list[int]] = []  # for each running module: macs at its start, macs of its children

    def watch(self, module: nn.Module, path: str) -> None:
        leaf = isinstance(module, Layer) and module.made_with is not None
        module.register_forward_pre_hook(lambda _, inputs: self.open.append([self.macs_now(), 0]))
        module.register_forward_hook(lambda _, inputs, output: self.close(module, path, leaf, inputs, output))
        for name, child in module.named_children() if not leaf else ():
            self.watch(child, f"{path}.{name}" if path else name)

    def close(self, module: nn.Module, path: str, leaf: bool, inputs: Any, output: Any) -> None:
        start, below = self.open.pop()
        spent = self.macs_now() - start
        if self.open:
            self.open[-1][1] += spent
        if isinstance(module, Layer) and module.scope == "global":
            mark_everywhere(output)
        if isinstance(module, Layer) and module.unpools_to is not None:
            side: Any = module.stride
            mark_spread(output, side, 1 if module.unpools_to == "corner" else side)
        params = sum(p.numel() for p in module.parameters(recurse=leaf))
        if leaf or params or spent > below:
            self.rows.append(_row(module, path, tree_leaves(inputs), tree_leaves(output), params, spent - below))


def _row(module: nn.Module, path: str, inputs: list[Tensor], outputs: list[Tensor], params: int, macs: int) -> Row:
    kernel, stride = (_numbers(getattr(module, name, None)) for name in ("kernel", "stride"))
    args = module.made_with[1] if isinstance(module, Layer) and module.made_with is not None else {}
    return Row(
        re.sub(r"^steps\.(\D+)(\d+)", r"\1.\2", path).replace(".blocks.", "."),  # steps.body0.blocks.1.body is body.0.1.body in a file
        next((name for name, block in BLOCKS.items() if block.make is type(module)), type(module).__name__),
        tuple(tuple(x.shape[1:]) for x in inputs),
        tuple(tuple(y.shape[1:]) for y in outputs),
        kernel,
        stride,
        _padding(getattr(module, "padding", None)),
        params,
        macs,
        sum(x.nbytes for x in inputs),
        FLOAT_BYTES * params,
        sum(y.nbytes for y in outputs),
        field_of(outputs),
        dict(args),
    )


def _numbers(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, list | tuple) and value and all(isinstance(v, int) for v in value) else None


def _padding(value: Any) -> tuple[int, ...] | None:
    """Return both sides together, from one number per axis (the same on both sides) or a pair per axis."""
    if not isinstance(value, list | tuple):
        return None
    return tuple(sum(side) if isinstance(side, tuple) else 2 * side for side in value)


# ---------------------------------------------------------------- the table of the lecture notes


@dataclass(frozen=True)
class TextbookRow:
    """One operation of a serial network in the convention of `textbook_rows`; all memory in elements."""

    layer: int
    type: str
    channels_in: int
    side: int
    padding: int
    kernel: int
    stride: int
    channels_out: int
    macs: int
    in_map: int
    parameters: int
    out_map: int

    @property
    def memory(self) -> int:
        """Everything read or written."""
        return self.in_map + self.parameters + self.out_map


def textbook_rows(arch: Arch) -> list[TextbookRow]:
    """Return the operations of a serial network as the AlexNet cost table of the lecture notes counts them.

    Conv: Lo^2 No (F^2 Ni + 1) operations and F^2 Ni No + Lo^2 No parameters: the bias is one operation and, untied, one parameter
    per output *element*. Full: Ni No + No of both. Pool: Lo^2 Ni F^2. Norm (local response over F maps): elements (2F - 1).
    Nonl: elements. All memory in elements, in + parameters + out. Flatten and dropout cost nothing and have no row.
    Source: Redfern, Design, table "In Map" (AlexNet per layer). Raise UserError for a layer that the table does not know.
    """
    rows: list[TextbookRow] = []
    layer = 0
    for row in layer_table(arch):
        args = {name: param.default for name, param in BLOCKS[row.type].params.items()} | row.args if row.type in BLOCKS else {}
        layer += row.type in ("conv", "linear")
        rows += _operations(row, args, layer)
    return rows


def _operations(row: Row, args: dict[str, Any], layer: int) -> list[TextbookRow]:
    if row.type in ("flatten", "dropout"):
        return []
    if row.type not in ("conv", "linear", "pool", "lrn", "act") or args.get("norm", "none") != "none":
        raise UserError(f"{row.path}: the table knows conv, linear, pool, lrn and act, all without norm; got {row.type} {row.args}")
    shape, out = row.inputs[0], row.outputs[0]
    before, after = prod(shape), prod(out)
    channels, side = shape[0], shape[-1] if len(shape) > 1 else 1
    kernel, stride, padding = (values[0] if values else 0 for values in (row.kernel, row.stride, row.padding))
    if row.type == "act":
        return [TextbookRow(layer, "Nonl", channels, side, 0, 0, 0, 0, before, before, 0, after)]
    if row.type == "lrn":
        size = args["size"]
        return [TextbookRow(layer, "Norm", channels, side, 0, size, 0, 0, before * (2 * size - 1), before, 0, after)]
    if row.type == "pool":
        window = prod(row.kernel or shape[1:])
        return [TextbookRow(layer, "Pool", channels, side, padding, kernel, stride, 0, after * window, before, 0, after)]
    if row.type == "linear":
        kind, cost, weights, kernel, stride = "Full", row.params, row.params, 1, 1
    else:
        fan_in = prod(row.kernel or ()) * channels // (channels if args["groups"] == "depthwise" else args["groups"])
        bias = row.params > fan_in * out[0]
        kind, cost, weights = "Conv", after * (fan_in + bias), fan_in * out[0] + after * bias
    rows = [TextbookRow(layer, kind, channels, side, padding, kernel, stride, out[0], cost, before, weights, after)]
    if args["act"] != "none":
        rows.append(TextbookRow(layer, "Nonl", out[0], out[-1] if len(out) > 1 else 1, 0, 0, 0, 0, after, after, 0, after))
    return rows
