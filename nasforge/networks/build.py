"""From architecture data to a torch module, shapes derived on the way; and the cost of each block, counted on meta.

`probe` is the one place where a block's output shape, parameters and multiply-adds come from: the block is built and run once on
the meta device, and remembered by (block, input shape). Of a combinator only its own operations are run: the blocks in it, each
probed before, are stood in for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import torch
from torch import nn

from nasforge.blocks import BLOCKS
from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.compose.combine import Chain, Residual
from nasforge.blocks.core.shapes import Shape, Tokens, alike, example, is_uneven, run, uneven
from nasforge.blocks.padded import padded, refused
from nasforge.errors import UserError, is_out_of_memory
from nasforge.networks.network import Network
from nasforge.networks.probe import Meter, Probe, StandIn
from nasforge.spaces import arch as plain
from nasforge.spaces.arch import SECTIONS, Arch, Node, split
from nasforge.spaces.check import check_arch, check_node

Part = Callable[[Node, tuple[Shape, ...], int, str], nn.Module]  # the module of a block inside another

# ---------------------------------------------------------------- blocks to modules


def make(node: Node, shapes: tuple[Shape, ...], classes: int, where: str, part: Part | None = None) -> nn.Module:
    """Return the module of a block that reads inputs of `shapes` (the first is the main one). Raise UserError with the path.

    `part` makes the blocks inside a combinator, in place of this function; then the module is one for sequences of full length.
    """
    if node is None or isinstance(node, list | tuple):
        modules, joins = [], padded(Chain, shapes)
        for i, one in enumerate(plain.chain(node)):
            modules.append(make(one, shapes, classes, f"{where}.{i}"))
            shapes = (*output(one, shapes, classes, f"{where}.{i}")[-1:], *shapes[1:])
        return modules[0] if len(modules) == 1 else joins(modules)
    name, args, wires = split(node, where)
    if wires:
        raise UserError(f"{where}: `as` and `from` stand on the lines of stem, body, neck and head, not inside other blocks")
    check_node(node, BLOCKS, where)
    args = _filled(name, args, classes, where)
    block, path = BLOCKS[name], f"{where}.{name}"
    if isinstance(args.get("out"), int | float) and args["out"] < 1:
        raise UserError(f"{path}.out: must be at least 1, got {args['out']}")
    try:
        if block.kind == "motif":
            return make(block.make(**args), shapes, classes, path)
        given = cast(type[Layer], block.make)
        cls: type[Layer] = given if part else padded(given, shapes)
        if not issubclass(cls, Combinator):
            module = cls(shapes if cls.reads == "all" else shapes[0], **args)
            module.made_with = (shapes, args)
            return _allowed(module, given, shapes, args)

        def child(inner: Node, shape: Shape, name: str) -> tuple[nn.Module, Shape]:
            inside = (shape, *shapes[1:])
            return (part or make)(inner, inside, classes, f"{path}.{name}"), output(inner, inside, classes, f"{path}.{name}")[-1]

        return _allowed(cls.build(child, shapes, **args), given, shapes, args)
    except UserError:
        raise
    except (ValueError, TypeError, RuntimeError, IndexError, AssertionError, ArithmeticError) as error:
        cause = error if is_out_of_memory(error) else None  # a search reacts to it
        raise UserError(f"{path}: {error}; its input is {_show(shapes)}, its arguments {args}") from cause


def _allowed(module: nn.Module, cls: type[Layer], shapes: tuple[Shape, ...], args: dict[str, Any]) -> nn.Module:
    """Return the module. Raise ValueError where it would misread sequences that end early."""
    why = refused(cls, shapes, args)
    if why:
        raise ValueError(f"{why} (padding: true)")
    return module


def _filled(name: str, args: dict[str, Any], classes: int, where: str) -> dict[str, Any]:
    """Return the arguments as plain values, with the number of classes where they, or the defaults, ask for it."""
    asked = {k: "classes" for k, p in BLOCKS[name].params.items() if isinstance(p.default, str) and p.default == "classes"}
    filled = {**asked, **{k: plain.plain_value(v) for k, v in args.items()}}
    wanted = [k for k, v in filled.items() if isinstance(v, str) and v == "classes"]
    if wanted and not classes:
        raise UserError(
            f"{where}.{name}.{wanted[0]}: is the number of classes, which the file does not give; write `classes: 10`, say, at its top"
        )
    return {**filled, **dict.fromkeys(wanted, classes)}


def _show(shapes: tuple[Shape, ...]) -> str:
    return ", ".join(repr(s) if isinstance(s, Tokens) else str(list(s)) for s in shapes)


def output(node: Node, shapes: tuple[Shape, ...], classes: int, where: str = "block") -> tuple[Shape, ...]:
    """Return the output shapes of a block."""
    return probe(node, shapes, classes, where).shapes


def probe(node: Node, shapes: tuple[Shape, ...], classes: int, where: str = "block") -> Probe:
    """Return what a block gives and costs; built once on meta for each (block, input shapes), then remembered."""
    return _probe(Text(node, where), shapes, tuple(map(type, shapes)), classes)


class Text(str):
    """A block as text, the name of a memory; its data and its path travel along without being part of its identity.

    The text is `repr`, not JSON: screening makes nothing but such texts, and this takes less than half the time.
    """

    node: Node
    where: str

    def __new__(cls, node: Node, where: str) -> Text:
        self = super().__new__(cls, repr(node))
        self.node, self.where = node, where
        return self

    def data(self) -> Node:
        """Return a copy of the block of its own, in lists and mappings."""
        return json.loads(json.dumps(self.node))


@lru_cache(maxsize=200_000)
def _probe(text: Text, shapes: tuple[Shape, ...], kinds: tuple[type, ...], classes: int) -> Probe:
    node, where = text.data(), text.where
    if node is None or isinstance(node, list):
        found = Probe.nothing(shapes)
        for i, part in enumerate(plain.chain(node)):
            found = found.then(probe(part, shapes, classes, f"{where}.{i}"))
            shapes = (found.shapes[-1], *shapes[1:])
        return found
    name, args, _ = split(node, where)
    if name in BLOCKS and BLOCKS[name].kind == "motif":
        check_node(node, BLOCKS, where)
        try:
            inner = BLOCKS[name].make(**_filled(name, args, classes, where))
        except (ValueError, TypeError) as error:
            raise UserError(f"{where}.{name}: {error}") from None
        return probe(inner, shapes, classes, f"{where}.{name}")
    meter = Meter()

    def stand_in(inner: Node, inside: tuple[Shape, ...], classes: int, path: str) -> nn.Module:
        return StandIn(probe(inner, inside, classes, path), meter)

    with torch.device("meta"):
        module = make(node, shapes, classes, where, stand_in).eval()
    try:
        inputs = [example(s, 1, "meta") for s in shapes]
        with meter:
            out = run(module, inputs[0], tuple(inputs[1:]))
    except (ValueError, TypeError, RuntimeError, IndexError, NotImplementedError) as error:
        raise UserError(f"{where}.{name}: {str(error).splitlines()[0]}; its input is {_show(shapes)}, its arguments {args}") from None
    found = meter.read(module, inputs, out)
    found = replace(found, shapes=tuple(alike(shapes[0], s) for s in found.shapes)) if is_uneven(shapes[0]) else found
    if any(side < 1 for s in found.shapes for side in s):
        given = f"its output would be empty, {_show(found.shapes)}, for the input {_show(shapes)}"
        raise UserError(f"{where}.{name}: {given}; use a smaller stride or kernel")
    return found


# ---------------------------------------------------------------- architectures to networks


@dataclass(frozen=True)
class Step:
    """One line of an architecture: where it stands, its block, the names and shapes it reads, the names it writes, its cost."""

    where: str
    node: Node
    reads: tuple[str, ...]
    shapes: tuple[Shape, ...]
    writes: tuple[str, ...]
    probe: Probe


def input_shapes(arch: Arch) -> dict[str, Shape]:
    """Return the shape of each input by name; a single input is called `input`. With `padding` sequences may end early."""
    spec = arch.get("input")
    named = spec if isinstance(spec, dict) and spec and "tokens" not in spec else None
    shapes = {str(name): _shape(one, f"input.{name}") for name, one in named.items()} if named else {"input": _shape(spec, "input")}
    if not arch.get("padding"):
        return shapes
    shapes = {name: uneven(shape) for name, shape in shapes.items()}
    if not any(map(is_uneven, shapes.values())):
        raise UserError("padding: is for inputs that are sequences, [time, features], or tokens; no input is one; leave it out")
    return shapes


def _shape(spec: Any, where: str) -> Shape:
    if isinstance(spec, dict) and set(spec) == {"tokens", "length"} and all(isinstance(v, int) and v > 0 for v in spec.values()):
        return Tokens(spec["length"], spec["tokens"])
    if (
        isinstance(spec, list | tuple)
        and 1 <= len(spec) <= 4
        and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in spec)
    ):
        return tuple(spec)
    raise UserError(
        f"{where}: must be [channels, height, width], [time, features], [features] or {{tokens: vocabulary, length: time}}, got {spec!r}"
    )


def steps(arch: Arch) -> Iterator[Step]:
    """Yield the live lines of stem, body, neck and head, then the heads and auxiliary heads, each with its shapes and cost."""
    known = input_shapes(arch)
    shapes: dict[str, Shape] = {**known, "last": next(iter(known.values()))}
    classes, layers = int(arch.get("classes", 0)), 0
    for line in plain.live_lines(arch):
        step = _read(line.node, line.reads or ("last",), line.writes, line.where, shapes, classes)
        layers += step.probe.layers
        if layers > plain.MOST_BLOCKS:
            most = f"a network must have at most {plain.MOST_BLOCKS:,} blocks"
            raise UserError(f"{line.where}: {most}, got {layers:,}; lower the depth of a stage")
        yield step
    for name, node in (arch.get("heads") or {}).items():
        nodes, reads = plain.head_lines(node)
        yield _read(nodes, reads, (), f"heads.{name}", dict(shapes), classes)
    for name, node in (arch.get("aux") or {}).items():
        yield _read(plain.chain(node), (name,), (), f"aux.{name}", dict(shapes), classes)


def _read(node: Node, reads: tuple[str, ...], writes: tuple[str, ...], where: str, shapes: dict[str, Shape], classes: int) -> Step:
    """Return the step of a block that reads and writes named outputs; `shapes` is brought up to date."""
    missing = [r for r in reads if r not in shapes]
    if missing:
        raise UserError(f"{where}.from: no output above is called {missing[0]!r}; there are {', '.join(shapes)}")
    inside = tuple(shapes[r] for r in reads)
    found = probe(node, inside, classes, where)
    shapes.update(zip(writes, found.shapes, strict=False))
    shapes["last"] = found.shapes[-1]
    return Step(where, node, reads, inside, writes, found)


def build(arch: Arch, device: str | torch.device = "cpu") -> Network:
    """Return the network of an architecture, its weights drawn from torch's generator. Raise UserError with the path of a mistake."""
    check_arch(arch, BLOCKS)
    parts: dict[str, dict[str, nn.Module]] = {"steps": {}, "heads": {}, "aux": {}}
    reads: list[list[str]] = []
    writes: list[list[str]] = []
    head_reads: dict[str, list[str]] = {}
    classes = int(arch.get("classes", 0))
    with torch.device(device):
        for step in steps(arch):
            kind, name = step.where.split(".", 1)
            module = make(step.node, step.shapes, classes, step.where)
            if kind in SECTIONS:
                parts["steps"][f"{kind}{name.replace('.', '_')}"] = module
                reads.append(list(step.reads))
                writes.append(list(step.writes))
            else:
                if not name or "." in name or hasattr(nn.ModuleDict, name):
                    own = f"not one of torch's own such as {name!r}"
                    raise UserError(f"{step.where}: the name of a head is a word without dots, and {own}; choose another")
                parts[kind][name] = module
                head_reads |= {name: list(step.reads)} if kind == "heads" else {}
    if not parts["steps"]:
        raise UserError("body: an architecture needs at least one block in stem, body, neck or head")
    inputs = input_shapes(arch)
    ends = frozenset(name for name, shape in inputs.items() if is_uneven(shape))
    network = Network(list(inputs), parts["steps"], reads, writes, parts["heads"], parts["aux"], head_reads, ends)
    _spread_drop_path(network, float(arch.get("drop_path", 0.0)))
    return network


def _spread_drop_path(network: nn.Module, rate: float) -> None:
    """Set rates that grow linearly with depth up to `rate`. Source: Huang et al. 2016, equation 4."""
    residuals = [m for m in network.modules() if isinstance(m, Residual) and m.shortcut is not None]
    for i, module in enumerate(residuals):
        if rate and not module.drop_path:
            module.drop_path = rate * (i + 1) / len(residuals)


# ---------------------------------------------------------------- keys


@lru_cache(maxsize=200_000)
def _opened(text: Text) -> list[Node]:
    return plain.canonical_blocks(text.data(), BLOCKS)


@lru_cache(maxsize=200_000)
def _named(text: Text) -> list[str]:
    return [plain.digest(block) for block in _opened(text)]


def forget() -> None:
    """Forget what is known of blocks: one of a name that stood for nothing may be in the table now."""
    for memory in (_probe, _opened, _named):
        memory.cache_clear()


def opened(node: Node) -> list[Node]:
    """Return the canonical chain of one block, remembered."""
    return _opened(Text(node, "block"))


def key(arch: Arch) -> str:
    """Return the name of the function that an architecture computes; equal for architectures that differ only in form or in dead parts.

    Each canonical block stands in the hash by its own, so that a known block costs a look into the memory.
    """
    try:
        return plain.key(arch, lambda node: _named(Text(node, "block")))
    except (ValueError, TypeError, KeyError):
        check_arch(arch, BLOCKS)  # what cannot be built has no key: say why
        list(steps(arch))
        raise
