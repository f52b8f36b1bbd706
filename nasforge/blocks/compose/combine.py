"""Combinators: blocks made of blocks. Each keeps its constructor arguments as attributes of the same names."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.core.activation import Act, activation
from nasforge.blocks.core.shapes import Make, Node, Nodes, Shape, alike, channels, run


class Chain(Layer):
    """Blocks one after the other."""

    reads = "all"
    free = True

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        for block in self.blocks:
            x = run(block, x[-1] if isinstance(x, tuple) else x, context)  # of several outputs the last goes on
        return x


class Parallel(Combinator):
    """Branches that read the same input, joined.

    join: concat (channels), add, mean, max, mul, or gate (a learned softmax weight per branch).
    `split`: each branch reads its share of the channels instead of all of them.
    """

    reads = "all"
    free = True

    def __init__(self, branches: list[nn.Module], join: str, axis: int, split: bool = False) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.join, self.axis, self.split = join, axis, split
        self.gates = nn.Parameter(torch.zeros(len(branches))) if join == "gate" else None

    @classmethod
    def build(
        cls,
        make: Make,
        shapes: tuple[Shape, ...],
        branches: Nodes,
        join: Literal["concat", "add", "mean", "max", "mul", "gate"] = "concat",
        split: bool = False,
    ) -> Parallel:
        shape = shapes[0]
        if not branches:
            raise ValueError("parallel needs at least one branch")
        axis = -1 if len(shape) <= 2 else 1
        inner: Shape = shape
        if split:
            if channels(shape) % len(branches):
                raise ValueError(f"split needs channels divisible by the {len(branches)} branches, got {tuple(shape)}")
            share = channels(shape) // len(branches)
            inner = alike(shape, (*shape[:-1], share) if len(shape) <= 2 else (share, *shape[1:]))
        made = [make(branch, inner, f"branches.{i}") for i, branch in enumerate(branches)]
        sizes = {tuple(s[1:] if axis == 1 else s[:-1]) for _, s in made}
        if len(sizes) > 1 or (join != "concat" and len({tuple(s) for _, s in made}) > 1):
            raise ValueError(f"the branches must end in one size to be joined by {join}, got {[tuple(s) for _, s in made]}")
        return cls([m for m, _ in made], join, axis, split)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        branches = [canon(b) for b in args.get("branches", [])]
        join = args.get("join", "concat")
        if len(branches) == 1 and join != "gate":
            return branches[0]
        if join in ("add", "mean", "max", "mul") and not args.get("split"):
            branches = sorted(branches, key=repr)
        return [{"parallel": {**args, "branches": branches}}]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        inputs = x.chunk(len(self.branches), self.axis) if self.split else [x] * len(self.branches)
        return self.joined([run(branch, part, context) for branch, part in zip(self.branches, inputs, strict=True)])

    def joined(self, outs: list[Tensor]) -> Tensor:
        """Return the outputs of the branches as one."""
        if self.join == "concat":
            return torch.cat(outs, self.axis)
        if self.gates is not None:
            weights = self.gates.softmax(0)
            outs = [weight * out for weight, out in zip(weights, outs, strict=True)]
        total = outs[0]
        for out in outs[1:]:
            total = torch.maximum(total, out) if self.join == "max" else total * out if self.join == "mul" else total + out
        return total / len(outs) if self.join == "mean" else total


class ZeroPad(Layer):
    """The parameter-free shortcut: every `stride`-th position, new channels zero. Source: He et al. 2016, section 3.3, option A."""

    free = True

    def __init__(self, shape: Shape, out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.extra = stride, out - channels(shape)
        if len(shape) != 3 or self.extra < 0:
            raise ValueError(f"a zero padded shortcut needs an image and channels that do not shrink, got {tuple(shape)} -> {out} channels")

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.extra))


class Residual(Combinator):
    """y = act(shortcut(x) + scale * body(x)).

    shortcut: auto (identity where the shape stays, else projection), match (identity where the shape stays, else none),
    identity, projection (1x1 convolution), pool (2x2 average, then 1x1), pad (zero padded), none, or a block.
    drop_path: the probability that a sample's body is left out of a training step (stochastic depth, Huang et al. 2016).
    """

    reads = "all"
    free = True

    def __init__(self, body: nn.Module, shortcut: nn.Module | None, act: str = "none", scale: float = 1.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut
        self.act, self.scale, self.drop_path = act, scale, drop_path
        self.nonlinear = activation(act)

    @classmethod
    def build(
        cls,
        make: Make,
        shapes: tuple[Shape, ...],
        body: Node,
        shortcut: Node = "auto",
        act: Act = "none",
        scale: float = 1.0,
        drop_path: float = 0.0,
    ) -> Residual:
        shape = shapes[0]
        inner, after = make(body, shape, "body")
        skip = _shortcut(shortcut, tuple(shape), tuple(after))
        if skip is None:
            return cls(inner, None, act, scale, drop_path)
        module, end = make(skip, shape, "shortcut")
        if tuple(end) != tuple(after):
            raise ValueError(f"the shortcut gives {tuple(end)} and the body {tuple(after)}: both must have one shape")
        return cls(inner, module, act, scale, drop_path)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        shortcut = args.get("shortcut", "auto")
        kept = {k: v for k, v in args.items() if k not in ("body", "shortcut")}
        if not (isinstance(shortcut, str) and shortcut in SHORTCUTS):
            kept["shortcut"] = canon(shortcut)
        elif "shortcut" in args:
            kept["shortcut"] = shortcut
        return [{"residual": {"body": canon(args.get("body")), **kept}}]

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        y = self.weighed(run(self.body, x, context))
        return self.nonlinear(y if self.shortcut is None else run(self.shortcut, x, context) + y)

    def weighed(self, y: Tensor) -> Tensor:
        """Return the output of the body times `scale`; in training, where there is a shortcut, zeros for some samples."""
        if self.scale != 1:
            y = y * self.scale
        if self.shortcut is not None and self.training and self.drop_path > 0:
            keep = torch.rand([y.shape[0]] + [1] * (y.ndim - 1), device=y.device) >= self.drop_path
            y = y * keep.to(y.dtype) / (1 - self.drop_path)
        return y


SHORTCUTS = ("auto", "match", "identity", "projection", "pool", "pad", "none")


def _shortcut(kind: Any, before: Shape, after: Shape) -> Any:
    """Return the block of a shortcut kind; None where there is no shortcut."""
    if kind is None:
        return []
    if not (isinstance(kind, str) and kind in SHORTCUTS):
        return kind
    if kind == "none" or (kind == "match" and before != after):
        return None
    if kind in ("auto", "match") and before == after:
        return []
    if kind == "identity":
        if before != after:
            raise ValueError(f"shortcut: identity needs a body that keeps the shape, got {before} -> {after}; use auto, projection or pad")
        return []
    if len(before) == 1:
        return {"linear": {"out": after[0]}}
    sizes = (before[:1], after[:1]) if len(before) == 2 else (before[1:], after[1:])
    stride = max(-(-a // b) for a, b in zip(*sizes, strict=True))
    if kind == "pad":
        return {"zero_pad": {"out": channels(after), "stride": stride}}
    project = {"conv": {"out": channels(after), "kernel": 1, "stride": stride, "act": "none"}}
    if kind == "pool" and stride > 1:
        project["conv"]["stride"] = 1
        return [{"pool": {"kind": "avg", "kernel": stride, "ceil": True}}, project]
    return project


class Dense(Combinator):
    """Layers that read everything before them, concatenated. Source: Huang et al. 2017, equation 2."""

    reads = "all"
    free = True

    def __init__(self, layers: list[nn.Module], axis: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.axis = axis

    @classmethod
    def build(cls, make: Make, shapes: tuple[Shape, ...], layers: Nodes) -> Dense:
        shape = shapes[0]
        made, now, last = [], shape, len(shape) <= 2
        for i, node in enumerate(layers):
            module, out = make(node, now, f"layers.{i}")
            if (out[:-1] if last else out[1:]) != (now[:-1] if last else now[1:]):
                raise ValueError(f"layer {i} of dense must keep the size, got {tuple(now)} -> {tuple(out)}")
            made.append(module)
            now = alike(shape, (*now[:-1], now[-1] + out[-1]) if last else (now[0] + out[0], *now[1:]))
        return cls(made, -1 if last else 1)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        layers = [canon(node) for node in args.get("layers", [])]
        return [{"dense": {"layers": layers}}] if layers else []

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, run(layer, x, context)], self.axis)
        return x


DEEPEST = 2000  # repeats of a stage


def identity() -> list:
    """Nothing: the output is the input."""
    return []


def stage(
    block: Node = None,
    depth: int = 1,
    stride: int = 1,
    out: int | None = None,
    blocks: Nodes = None,  # type: ignore[assignment]
    draw: Literal["once", "each"] = "once",
) -> list:
    """`depth` times a block; the first has the stride, all have the width `out` where it is given.

    `blocks` lists the repeats one by one (what `draw: each` of a space gives). `draw` says whether the domains of the block are
    drawn once for all repeats or for each of them; where nothing is open it changes nothing.
    """
    if (blocks is None) == (block is None) or not 0 <= depth <= DEEPEST:
        raise ValueError(f"a stage takes either `block` with a depth from 0 to {DEEPEST} or `blocks`, got depth={depth}, blocks={blocks!r}")
    repeats = [block] * depth if blocks is None else list(blocks)
    if out is not None:
        repeats = [_with(node, "out", out, -1) for node in repeats]
    if stride != 1 and repeats:
        repeats[0] = _with(repeats[0], "stride", stride, 0)
    return repeats


def _with(node: Any, name: str, value: int, position: int) -> Any:
    """Return the block with one more argument; of a chain its first or last block gets it."""
    if node is None or isinstance(node, list):
        if not node:
            raise ValueError(f"an empty block cannot take {name}: {value}")
        copy = list(node)
        copy[position] = _with(copy[position], name, value, position)
        return copy
    if not isinstance(node, str | dict):
        raise ValueError(f"a block is a name or {{name: arguments}}, got {node!r}")
    kind, args = (node, {}) if isinstance(node, str) else next(iter(node.items()))
    args = args or {}
    if name in args:
        raise ValueError(f"{name} stands both in the stage ({value}) and in its block {kind} ({args[name]}); keep one")
    return {kind: {**args, name: value}}


BLOCKS = {"zero_pad": ZeroPad, "parallel": Parallel, "residual": Residual, "dense": Dense, "identity": identity, "stage": stage}
