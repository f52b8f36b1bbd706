"""Stacks of found cells: each cell reads the outputs of the two cells before it.

- conv: {out: 96, act: none}
  as: before
- cell_stack: {nodes: [...], out: 32, depth: 6}                 # node 0 is the last output, node 1 the one before it
  from: [last, before]
  as: [before, now]
- cell_stack: {nodes: [...], out: 64, stride: 2}                # a reduction: edges that read 0 or 1 get the stride
  from: [last, before]
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.compose.cell import Cell, Edges, Join
from nasforge.blocks.compose.cell_graph import alive, canonical_order, edges_of, is_identity, is_zero, merged
from nasforge.blocks.core.shapes import Make, Node, Shape, need_rank, run

INPUTS = 2
DEEPEST = 2000


class SearchCell(Layer):
    """A cell of two inputs, each first brought to the width and size of the cell."""

    reads = "all"

    def __init__(self, current: nn.Module, before: nn.Module, cell: nn.Module) -> None:
        super().__init__()
        self.current, self.before, self.cell = current, before, cell

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        return run(self.cell, run(self.current, x, ()), (run(self.before, before, ()),))


class CellStack(Combinator):
    """`depth` cells of one design; gives the last two outputs. Shapes: (C, H, W) and (C', H', W') -> the same of new widths.

    Each input first goes through activation, 1x1 convolution to `out` maps and norm; where the older one is larger, through
    `factorized_reduction`. With `raw` the older input of the first cell goes in as it is, and operations on it change its width.
    `stride`: of the first cell, on edges that read an input; an identity becomes a 1x1 convolution or a factorized reduction (`skip`).
    `pad`: of the operations with the stride.
    The output is what no other node reads, and the nodes (or inputs) listed in `also`, concatenated in the order of their numbers.
    Let one edge read node 0: a cell that does not leaves the cell before it to the one after it.
    Sources: Zoph et al. 2018, section 3 and its reference code; Liu et al. 2019 (DARTS), section 2.1.
    """

    reads = "all"
    free = True

    def __init__(self, cells: list[nn.Module]) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)

    @classmethod
    def build(
        cls,
        make: Make,
        shapes: tuple[Shape, ...],
        nodes: Edges,
        out: int,
        depth: int = 1,
        stride: int = 1,
        also: list[int] | None = None,
        join: Join = "add",
        skip: Literal["conv", "factorized"] = "conv",
        raw: bool = False,
        drop_path: float = 0.0,
        pad: Literal["same", "tf"] = "same",
    ) -> nn.Module:
        if not 1 <= len(shapes) <= INPUTS or not 0 <= depth <= DEEPEST or out < 1 or stride < 1:
            found = f"{len(shapes)} inputs, depth={depth}, out={out}, stride={stride}"
            raise ValueError(
                f"cell_stack reads one or two outputs, and has a depth from 0 to {DEEPEST}, out and stride from 1 on, got {found}"
            )
        now, before = tuple(shapes[0]), tuple(shapes[-1])
        need_rank(now, (3,), "cell_stack")
        need_rank(before, (3,), "cell_stack")
        cells: list[nn.Module] = []
        ends = _ends(nodes, also)
        read = _read(nodes, ends)
        for i in range(depth):
            first, current = make(_squeeze(out) if 0 in read else [], now, f"{i}.current")
            second, older = make(_fit(before, now, out, raw and i == 0) if 1 in read else [], before, f"{i}.before")
            graph, outputs = dressed(nodes, ends, (current[0], older[0]), out, stride if i == 0 else 1, skip, pad)
            cell, after = Cell.made(make, (current, older), graph, INPUTS, outputs, join, drop_path)
            cells.append(SearchCell(first, second, cell))
            before, now = now, after
        return cls(cells)

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        live, outputs = alive(edges_of(args["nodes"], INPUTS), INPUTS, _ends(args["nodes"], args.get("also")))
        # an operation that reads an input may be given a stride or a width: it is not the same as elsewhere
        marked = {n: [(s, [{"input": canon(op)}] if s < INPUTS else canon(op)) for s, op in edges] for n, edges in live.items()}
        live, outputs = merged(marked, outputs, INPUTS, args.get("join") == "weighted")
        rest = {k: v for k, v in args.items() if k not in ("nodes", "also")}
        return [{"cell_stack": {**rest, "graph": canonical_order(live, outputs, INPUTS, args.get("join") != "concat")}}]

    def forward(self, x: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
        before = context[0] if context else x
        for cell in self.cells:
            before, x = x, cell(x, before)
        return before, x


# ---------------------------------------------------------------- inputs and outputs


def _ends(nodes: list[Any], also: list[int] | None) -> list[int]:
    """Return the numbers of the outputs: nodes that no other reads, and those of `also`."""
    last = INPUTS + len(nodes) - 1
    if not nodes or not all(0 <= n <= last for n in also or []):
        raise ValueError(f"a cell needs nodes, and `also` takes numbers of nodes from 0 to {last}, got {len(nodes)} nodes and {also}")
    used = {source for node in edges_of(nodes, INPUTS) for source, _ in node}
    return sorted({n for n in range(INPUTS, last + 1) if n not in used} | set(also or []))


def _read(nodes: list[Any], ends: list[int]) -> set[int]:
    """Return the inputs that the outputs depend on. Raise ValueError where there is none."""
    live, outputs = alive(edges_of(nodes, INPUTS), INPUTS, ends)
    if not outputs:
        raise ValueError("no node of the cell's output is reached from an input; give it an operation other than zero")
    return {s for edges in live.values() for s, _ in edges} | set(outputs)


def _squeeze(width: int) -> Node:
    return [{"act": {"kind": "relu"}}, {"conv": {"out": width, "kernel": 1, "act": "none"}}]


def _fit(before: Shape, now: Shape, width: int, raw: bool) -> Node:
    """Return the block that brings the older input to the size of the newer one and the width of the cell."""
    if before[1:] != now[1:]:
        return {"factorized_reduction": {"out": width, "stride": max(-(-a // b) for a, b in zip(before[1:], now[1:], strict=True))}}
    return [] if raw else _squeeze(width)


# ---------------------------------------------------------------- strides and widths of edges


def dressed(
    nodes: list[Any], ends: list[int], widths: tuple[int, int], out: int, stride: int, skip: str, pad: str = "same"
) -> tuple[list[Any], list[int]]:
    """Return the nodes and outputs of a cell whose edges from an input of `widths` maps have the stride and give `out` maps."""
    made: list[Any] = []
    for node in edges_of(nodes, INPUTS):
        edges = [(s, op, widths[s] if s < INPUTS else out, stride if s < INPUTS else 1) for s, op in node if not is_zero(op)]
        made.append([{"from": s, "op": _operation(op, before, out, step, skip, pad)} for s, op, before, step in edges])
    outputs = []
    for number in ends:
        if number < INPUTS and (stride > 1 or widths[number] != out):  # an input among the outputs takes their size and width
            made.append([{"from": number, "op": _end(out, stride)}])
            number = INPUTS + len(made) - 1
        outputs.append(number)
    return made, outputs


def _end(out: int, stride: int) -> Node:
    if stride > 1:
        return {"factorized_reduction": {"out": out, "stride": stride, "act": "none"}}
    return {"conv": {"out": out, "kernel": 1, "act": "none"}}


def _operation(op: Node, before: int, out: int, stride: int, skip: str, pad: str) -> Node:
    """Return the operation with a stride and its padding, and from `before` to `out` maps, for which a pool gets a 1x1 convolution."""
    if is_identity(op):
        if stride > 1 and skip == "factorized":
            return {"factorized_reduction": {"out": out, "stride": stride}}
        same = stride == 1 and before == out
        return [] if same else [{"act": {"kind": "relu"}}, {"conv": {"out": out, "kernel": 1, "stride": stride, "act": "none"}}]
    first, *rest = op if isinstance(op, list) else [op]
    if stride > 1 or _name(first) == "pool":
        first = _with(first, "stride", stride)
    if stride > 1 and pad != "same":
        first = _with(first, "pad", pad)
    parts = [first, *rest]
    if before == out:
        return parts
    if _name(parts[-1]) == "pool":
        return [*parts, _end(out, 1)]
    return [*parts[:-1], _with(parts[-1], "out", out)]


def _name(op: Node) -> str:
    return op if isinstance(op, str) else next(iter(op))


def _with(op: Node, argument: str, value: Any) -> Node:
    args = {} if isinstance(op, str) else op[_name(op)] or {}
    return {_name(op): {**args, argument: value}}


BLOCKS = {"cell_stack": CellStack}
