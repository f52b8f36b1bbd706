"""Streams of several resolutions side by side, which exchange what they know: HRNet."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nasforge.blocks.base import Combinator, Layer
from nasforge.blocks.core.conv import needed
from nasforge.blocks.core.shapes import Make, Node, Shape, need_rank
from nasforge.blocks.vision.pyramids import fine_to_coarse


class Exchange(Layer):
    """y_i = relu(sum over j of link_ij(body_j(x_j))): each stream on its own, then each gets the sum of all."""

    reads = "all"
    free = True

    def __init__(self, bodies: list[nn.Module], links: list[list[nn.Module]]) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(bodies)
        self.links = nn.ModuleList(nn.ModuleList(row) for row in links)

    def forward(self, *xs: Tensor) -> tuple[Tensor, ...]:
        xs = tuple(body(x) for body, x in zip(self.bodies, xs, strict=True))
        outs = []
        for row in self.links:
            parts = [link(x) for link, x in zip(row.children(), xs, strict=True)]
            outs.append(sum(parts[1:], parts[0]).relu())
        return tuple(outs)


class Streams(Combinator):
    """A stage of HRNet: n maps from fine to coarse -> len(widths) maps, each half as large as the one before.

    Streams that are new start from the coarsest input by 3x3 convolutions with stride 2; then come `modules` exchanges, in each of
    which a stream runs `depth` blocks. Coarse to fine: 1x1 convolution, norm, enlarged; fine to coarse: 3x3 convolutions with stride 2.
    A line of its own: `from: [fine, coarse]`, `as: [fine, coarse, coarser]`. Source: Wang et al. 2020 (HRNet), figures 2 and 3.
    """

    reads = "all"
    free = True

    def __init__(self, starts: list[nn.Module], exchanges: list[nn.Module]) -> None:
        super().__init__()
        self.starts = nn.ModuleList(starts)
        self.exchanges = nn.ModuleList(exchanges)

    @classmethod
    def build(
        cls, make: Make, shapes: tuple[Shape, ...], widths: list[int], modules: int = 1, depth: int = 4, block: Node = "basic"
    ) -> Streams:
        if len(widths) < max(2, len(shapes)) or min(modules, depth) < 1:
            raise ValueError(f"hr_stage needs modules and depth >= 1 and a width for each of its {len(shapes)} inputs, got {widths}")
        for shape in shapes:
            need_rank(shape, (3,), "hr_stage")
        made = [make(_start(tuple(shapes), i, width), shapes[min(i, len(shapes) - 1)], f"starts.{i}") for i, width in enumerate(widths)]
        now = tuple(shape for _, shape in made)
        return cls([module for module, _ in made], [_exchange(make, now, depth, block, i) for i in range(modules)])

    @classmethod
    def canonical(cls, args: dict[str, Any], canon: Any) -> list[Any] | None:
        return [{"hr_stage": {**args, "block": canon(args["block"])} if "block" in args else args}]

    def forward(self, *xs: Tensor) -> tuple[Tensor, ...]:
        xs = tuple(start(xs[min(i, len(xs) - 1)]) for i, start in enumerate(self.starts))
        for exchange in self.exchanges:
            xs = exchange(*xs)
        return xs


def _start(shapes: tuple[Shape, ...], i: int, width: int) -> list[Node]:
    """Return what makes stream i of the inputs: nothing where it is there with its width."""
    if i < len(shapes):
        return [] if shapes[i][0] == width else [{"conv": {"out": width}}]
    steps = i - len(shapes) + 1
    return [{"conv": {"out": width if step == steps - 1 else shapes[-1][0], "stride": 2}} for step in range(steps)]


def _exchange(make: Make, shapes: tuple[Shape, ...], depth: int, block: Node, number: int) -> Exchange:
    made = [make([block] * depth, shape, f"exchanges.{number}.bodies.{i}") for i, shape in enumerate(shapes)]
    if any(tuple(after) != tuple(shape) for (_, after), shape in zip(made, shapes, strict=True)):
        raise ValueError(f"the block of hr_stage must keep the shape, got {[tuple(after) for _, after in made]} for {list(shapes)}")
    links = [
        [make(_link(shapes, i, j), shapes[j], f"exchanges.{number}.links.{i}.{j}")[0] for j in range(len(shapes))]
        for i in range(len(shapes))
    ]
    return Exchange([module for module, _ in made], links)


def _link(shapes: tuple[Shape, ...], i: int, j: int) -> list[Node]:
    """Return how stream i reads stream j."""
    if i == j:
        return []
    to = shapes[i][0]
    if j > i:
        return [{"conv": {"out": to, "kernel": 1, "act": "none"}}, {"upsample": {"size": list(shapes[i][1:])}}]
    down: list[Node] = [{"conv": {"stride": 2}} for _ in range(i - j - 1)]
    return [*down, {"conv": {"out": to, "stride": 2, "act": "none"}}]


class Gathered(Combinator):
    """The head of HRNet: all maps, each through a bottleneck, added on the way from fine to coarse; then 1x1 to `out` channels.

    Shapes: n maps from fine to coarse -> (out, H_n, W_n). Source: Wang et al. 2020 (HRNet), appendix (classification).
    """

    reads = "all"
    free = True

    def __init__(self, blocks: list[nn.Module], downs: list[nn.Module], last: nn.Module) -> None:
        super().__init__()
        self.blocks, self.downs, self.last = nn.ModuleList(blocks), nn.ModuleList(downs), last

    @classmethod
    def build(cls, make: Make, shapes: tuple[Shape, ...], widths: list[int], out: int | None = None) -> Gathered:
        fine_to_coarse(shapes, "hr_gather")
        if len(widths) != len(shapes):
            raise ValueError(f"hr_gather needs one width for each of its {len(shapes)} maps, got {widths}")
        made = [
            make({"bottleneck": {"out": width}}, shape, f"blocks.{i}") for i, (width, shape) in enumerate(zip(widths, shapes, strict=True))
        ]
        downs = []
        for i, width in enumerate(widths[1:]):
            down, after = make({"conv": {"out": width, "stride": 2, "bias": True}}, made[i][1], f"downs.{i}")
            if tuple(after) != tuple(made[i + 1][1]):
                raise ValueError(f"each map of hr_gather must be half as large as the one before, got {list(shapes)}")
            downs.append(down)
        last, _ = make({"conv": {"out": needed(out, "hr_gather"), "kernel": 1, "bias": True}}, made[-1][1], "last")
        return cls([module for module, _ in made], downs, last)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        maps = [block(part) for block, part in zip(self.blocks, (x, *context), strict=True)]
        total = maps[0]
        for down, part in zip(self.downs, maps[1:], strict=True):
            total = down(total) + part
        return self.last(total)


BLOCKS = {"hr_stage": Streams, "hr_gather": Gathered}
