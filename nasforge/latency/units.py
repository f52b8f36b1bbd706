"""The blocks of a network as a latency profile names them, and the amounts of work in each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from nasforge.blocks import BLOCKS
from nasforge.blocks.core.shapes import Shape, Tokens
from nasforge.networks.build import output, steps
from nasforge.networks.cost import layer_table
from nasforge.spaces.arch import Arch, Node, chain, split

AMOUNTS = ("layers", "dense_macs", "grouped_macs", "bytes")

Units = Counter[str]  # block texts and how often they stand in a network


def units_of(arch: Arch) -> Units:
    """Return the blocks of a network and how often they stand in it; lines that were met before are remembered."""
    found: Units = Counter()
    classes = int(arch.get("classes", 0))
    for step in steps(arch):
        if not step.where.startswith("aux."):  # these run in training only
            tokens = tuple(isinstance(s, Tokens) for s in step.shapes)
            for text, n in _line(_Line(step.node, step.shapes), step.shapes, tokens, classes):
                found[text] += n
    return found


def units(arch: Arch) -> Iterator[str]:
    """Return the text of every block with its input shapes and the classes; chains and stages are taken apart."""
    return units_of(arch).elements()


class _Line(str):
    """A line as text, the name of a memory; its block and shapes travel along."""

    node: Node
    shapes: tuple[Shape, ...]

    def __new__(cls, node: Node, shapes: tuple[Shape, ...]) -> _Line:
        self = super().__new__(cls, repr(node))
        self.node, self.shapes = node, shapes
        return self


@lru_cache(maxsize=100_000)
def _line(line: _Line, shapes: tuple[Shape, ...], tokens: tuple[bool, ...], classes: int) -> tuple[tuple[str, int], ...]:
    return tuple(Counter(_open(line.node, line.shapes, classes)).items())


def _open(node: Node, shapes: tuple[Shape, ...], classes: int) -> Iterator[str]:
    if node is None or isinstance(node, list | tuple):
        for part in chain(node):
            yield from _open(part, shapes, classes)
            shapes = (output(part, shapes, classes)[-1], *shapes[1:])
        return
    name, args, _ = split(node)
    if name == "stage":
        yield from _open(BLOCKS["stage"].make(**args), shapes, classes)
    else:  # shapes as an architecture file writes them
        specs = [{"tokens": s.vocab, "length": s.length} if isinstance(s, Tokens) else list(s) for s in shapes]
        yield json.dumps([node, specs, classes])


@lru_cache(maxsize=100_000)
def amounts(block: str) -> tuple[float, float, float, float]:
    """Layers, multiply-adds in dense and in grouped convolutions, bytes read and written by the block of a text."""
    node, specs, classes = json.loads(block)
    name, args, _ = split(node)
    inputs = {f"x{i}": spec for i, spec in enumerate(specs)}
    rows = layer_table({"input": inputs, "classes": max(classes, 1), "body": [{name: args, "from": list(inputs)}]})
    grouped = sum(row.macs for row in rows if row.args.get("groups", 1) != 1)
    moved = sum(row.input_bytes + row.output_bytes + row.parameter_bytes for row in rows)
    return float(len(rows)), float(sum(row.macs for row in rows) - grouped), float(grouped), float(moved)


@lru_cache(maxsize=100_000)
def labels(block: str) -> tuple[str, ...]:
    """Return what a correction may hang on: the block at its shapes, its name, and each of its scalar arguments but the width."""
    name, args, _ = split(json.loads(block)[0])
    scalars = {k: v for k, v in args.items() if k != "out" and isinstance(v, bool | int | float | str)}
    return (block, name, *(f"{name}.{k}={v}" for k, v in scalars.items()))
