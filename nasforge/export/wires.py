"""The steps of a network as straight lines of Python: which variables each reads and writes."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Shape, is_uneven
from nasforge.networks.build import Step, steps
from nasforge.networks.network import Network
from nasforge.spaces.arch import SECTIONS, Arch

CALLED = ("cleared", "each_step", "with_lengths")  # the functions that lines among sequences that may end early call
LAST = "last"  # the name under which an architecture reads the output of the line above


@dataclass(frozen=True)
class Line:
    """`writes = self.name(reads)`; the last variable written holds what the next line reads by default.

    uneven: what it gives are sequences that may end early; stepwise: it reads such sequences and knows of their values only.
    """

    name: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    shape: Shape
    uneven: bool
    stepwise: bool


@dataclass(frozen=True)
class Straight:
    """The variable of each input by its name, the lines in order, the steps that no output depends on, the heads as lines.

    uneven: the variables of inputs that are sequences that may end early.
    """

    inputs: dict[str, str]
    lines: list[Line]
    dead: list[str]
    heads: list[Line]
    uneven: tuple[str, ...]


def straight(arch: Arch, network: Network) -> Straight:
    """Return the forward pass of a network without named wires: an output that no later line asks for by name is `x`."""
    every_row = list(steps(arch))
    rows = [step for step in every_row if step.where.partition(".")[0] in SECTIONS]
    modules = network.steps.items()
    all_read = [isinstance(module, Layer) and module.reads == "all" for module in network.steps.values()]
    reads = [row.reads if every else row.reads[:1] for row, every in zip(rows, all_read, strict=True)]
    ends = {word for words in network.head_reads.values() for word in words}
    variables = _variables([*network.inputs, *(word for row in rows for word in row.writes)])
    if len(network.inputs) == 1 and not any(network.inputs[0] in words for words in reads):
        variables[network.inputs[0]] = "x"
    now = variables[network.inputs[0]]
    lines = []
    for i, (row, (name, module)) in enumerate(zip(rows, modules, strict=True)):
        later = {word for words in reads[i + 1 :] for word in words} | ends
        named = [variables[w] if w in later and w != LAST else "_" for w in row.writes]
        count = len(row.probe.shapes)
        writes = (named + ["_"] * count)[:count]
        writes[-1] = "x" if writes[-1] == "_" else writes[-1]
        lines.append(_line(row, name, module, writes, [now if r == LAST else variables[r] for r in reads[i]]))
        now = writes[-1]
    heads = []
    for row in (step for step in every_row if step.where.startswith("heads.")):
        name = row.where.partition(".")[2]
        heads.append(_line(row, name, network.heads[name], [], [now if r == LAST else variables[r] for r in row.reads]))
    kept = _live(lines, {v for head in heads for v in head.reads} or {now})
    names = {line.name for line in kept}
    inputs = {name: variables[name] for name in network.inputs}
    uneven = tuple(variable for name, variable in inputs.items() if name in network.uneven)
    return Straight(inputs, kept, [name for name, _ in modules if name not in names], heads, uneven)


def _line(row: Step, name: str, module: nn.Module, writes: list[str], reads: list[str]) -> Line:
    shape = row.probe.shapes[-1]
    stepwise = is_uneven(row.shapes[0]) and not getattr(module, "padded", False)
    return Line(name, tuple(writes), tuple(reads), shape, is_uneven(shape), stepwise)


def _live(lines: list[Line], needed: set[str]) -> list[Line]:
    """Return the lines that the variables `needed` at the end depend on."""
    kept: list[Line] = []
    for line in reversed(lines):
        if needed & set(line.writes):
            kept.append(line)
            needed = (needed - set(line.writes)) | set(line.reads)
    return kept[::-1]


def _variables(names: Iterable[str]) -> dict[str, str]:
    """Return a Python name for each name, all different, none of them `self`, `x` or one of Python's own."""
    out: dict[str, str] = {}
    for name in dict.fromkeys(names):
        word = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "wire"
        word = f"wire_{word}" if word[0].isdigit() else word
        while word in out.values() or word in ("self", "x", *CALLED) or keyword.iskeyword(word) or hasattr(builtins, word):
            word += "_"
        out[name] = word
    return out
