"""Growth of an architecture as data: deeper stages, wider blocks, a finer input; more groups, a steeper pyramid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from nasforge.blocks import BLOCKS
from nasforge.blocks.core.shapes import divisible
from nasforge.errors import UserError
from nasforge.networks.cost import layer_table
from nasforge.spaces.arch import SECTIONS, WIRES, Arch, Node, chain

WIDTHS = (  # numbers of maps, features or hidden units
    "out", "width", "widths", "mid", "growth", "squeeze", "e1", "e3", "b1", "b3", "b5", "single", "double", "triple", "hidden",
)  # fmt: skip
RULES = {"regnet": ("w_0", "w_a"), "pyramid": ("alpha",)}  # widths that a rule rounds itself
DEPTHS = {  # numbers of repeats
    "stage": "depth", "dense_block": "depth", "cell_stack": "depth", "regnet": "depth", "pyramid": "depths", "hourglass": "depths",
    "hr_stage": "modules", "tcn": "levels", "lstm": "layers", "gru": "layers", "rnn": "layers", "residual_recurrent": "layers",
}  # fmt: skip
SHARES = ("groups", "norm_groups", "group_width")  # what a width must be a multiple of
PATHS = ("bottleneck", "resnext")  # their groups are paths of a width of their own: any number of them fits
TILED = {"patches": "size", "space_to_depth": "block"}  # blocks that must tile their map, by what
FARTHEST = 64  # that a side may be from the wanted one, beyond twice that
Fits = Callable[[int, int], bool]  # a side, and its axis: 0 height, 1 width
GRADED = ("dual_path",)  # more groups of the same width: `mid` grows with them


@dataclass(frozen=True)
class Growth:
    """Factors of one growth. units: (before, after) of numbers of heads and groups that a width must stay a multiple of."""

    depth: float = 1.0
    width: float = 1.0
    cardinality: float = 1.0
    steepness: float = 1.0
    divisor: int = 8
    heads: tuple[int, int] = (1, 1)
    units: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    finer: tuple[Fraction, ...] = ()  # height and width of the input, new by old


def grow(
    arch: Arch, depth: float = 1.0, width: float = 1.0, resolution: float = 1.0, *, cardinality: float = 1.0, steepness: float = 1.0,
    divisor: int = 8,
) -> Arch:  # fmt: skip
    """Return the architecture with depths, widths, sides of the input, numbers of groups and the pyramid's alpha multiplied.

    Depth: a stage of d blocks gets ceil(d * depth); so do dense blocks, stacks of cells that do not reduce, and layers of recurrent nets.
    Width: every argument that is a number of maps (WIDTHS), written or default, is multiplied and rounded to a multiple of `divisor` (of
    the part of `divisor` that it is a multiple of now: 12 stays a multiple of 4), never below 90 %, and stays divisible by heads and
    groups. Heads become more as well: their own width stays about the same. Relative widths (`expand`, ratios) stay, and so does the
    classifier: the last line of the head, and separate heads. Height and width of an image are rounded to whole numbers, those that
    patches tile and of which grids of tokens stay whole.
    """
    out = {k: v for k, v in arch.items() if k != "published"}
    fits = _fitting(arch) if resolution != 1 and _has_grid(arch) else None
    out["input"] = _resize(arch.get("input"), resolution, fits)
    finer = _ratios(arch.get("input"), out["input"])
    last = next((s for s in reversed(SECTIONS) if arch.get(s)), None)
    parts: dict[str, tuple[list[Node], list[Node]]] = {}
    for section in SECTIONS:
        if section in arch:
            lines = chain(arch[section])
            end = len(lines) - 1 if section == last and section == "head" else len(lines)
            parts[section] = lines[:end], lines[end:]
    growth = _growth([line for grown, _ in parts.values() for line in grown], depth, width, cardinality, steepness, divisor)
    growth = replace(growth, finer=finer)
    return out | {section: [_node(line, growth) for line in grown] + kept for section, (grown, kept) in parts.items()}


def holds(arch: Arch, *names: str) -> bool:
    """Return whether any of the named blocks is written in the architecture."""
    return any(name in names for section in SECTIONS for name, _ in blocks_in(arch.get(section)))


def blocks_in(node: Node) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, arguments) of each block written in a block, itself included."""
    if isinstance(node, str):
        yield node, {}
    elif isinstance(node, list | tuple):
        for part in node:
            yield from blocks_in(part)
    elif isinstance(node, Mapping):
        for name, args in node.items():
            if name in WIRES:
                continue
            args = args if isinstance(args, Mapping) else {}
            yield name, args
            for key, value in args.items():
                if key == "nodes" and _holds_blocks(name, key) is None:
                    yield from blocks_in([edge.get("op") for edges in value for edge in edges])
                elif _holds_blocks(name, key):
                    yield from blocks_in(value)


# ---------------------------------------------------------------- what must stay divisible


def _growth(lines: list[Node], depth: float, width: float, cardinality: float, steepness: float, divisor: int) -> Growth:
    blocks = list(blocks_in(lines))
    heads = {_given(name, args, "heads") for name, args in blocks if _takes(name, "heads") and args.get("head_width") is None}
    whole = math.gcd(*heads) if heads else 1
    more = whole if whole == 1 else max(1, round(whole * width))  # one head stays one; several keep their ratios
    units = {(n, n // whole * more) for n in heads}
    units |= {(n, n) for name, args in blocks if name not in PATHS for n in _shares(name, args)}
    return Growth(depth, width, cardinality, steepness, divisor, (whole, more), frozenset(units))


def _shares(name: str, args: Mapping[str, Any]) -> Iterator[int]:
    """What the maps of a block must be a multiple of, for the groups in it."""
    for key in SHARES:
        number: Any = _given(name, args, key) if _takes(name, key) else None
        if _whole(number) and number > 1:
            ratio: Any = _given(name, args, "ratio") if _takes(name, "ratio") else 1.0
            yield round(number / ratio) if isinstance(ratio, float) and 0 < ratio < 1 and (number / ratio).is_integer() else number


def _takes(name: str, key: str) -> bool:
    return name in BLOCKS and key in BLOCKS[name].params


def _given(name: str, args: Mapping[str, Any], key: str) -> Any:
    return args.get(key, BLOCKS[name].params[key].default)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# ---------------------------------------------------------------- blocks


def _node(node: Node, growth: Growth) -> Node:
    if isinstance(node, list | tuple):
        return [_node(part, growth) for part in node]
    if isinstance(node, str):
        args = _args(node, {}, growth)
        return {node: args} if args else node
    if not isinstance(node, Mapping):
        return node
    return {name: args if name in WIRES else _args(name, args, growth) if isinstance(args, Mapping | None) else args
            for name, args in node.items()}  # fmt: skip


def _args(name: str, args: Mapping[str, Any] | None, growth: Growth) -> dict[str, Any]:
    """The arguments of a block, grown; a default that grows is written."""
    given = dict(args or {})
    defaults = {key: param.default for key, param in BLOCKS[name].params.items()} if name in BLOCKS else {}
    out = {}
    for key, value in {**{k: v for k, v in defaults.items() if k not in given and _whole(v)}, **given}.items():
        new = _value(name, key, value, {**defaults, **given}, growth)
        if key in given or new != value:
            out[key] = new
    return out


def _value(name: str, key: str, value: Any, args: Mapping[str, Any], growth: Growth) -> Any:
    if key in RULES.get(name, ()):
        factor = growth.width * (growth.steepness if (name, key) == ("pyramid", "alpha") else 1.0)
        return value if factor == 1 else max(1, round(value * factor)) if _whole(value) else value * factor
    if key in WIDTHS or (key == "pool" and name.startswith("inception")) or (name, key) == ("pyramid", "start"):
        paths = _rounded(args["groups"], growth.cardinality) if name in GRADED and key == "mid" else 1.0
        return _widen(value, growth.width * paths, growth)
    if key == DEPTHS.get(name):
        fixed = (name == "cell_stack" and args["stride"] != 1) or args.get("blocks") is not None  # a reduction is one cell
        return value if fixed else _deepen(value, growth.depth)
    if key == "size" and growth.finer and _is_grid(value):
        return [max(1, round(side * ratio)) for side, ratio in zip(value, growth.finer, strict=True)]
    if key == "heads" and _whole(value):
        free = args.get("head_width") is not None
        return max(1, round(value * growth.width)) if free else value // growth.heads[0] * growth.heads[1]
    if key == "groups" and name in (*PATHS, *GRADED) and _whole(value) and value > 1:
        return round(value * _rounded(value, growth.cardinality))
    if name == "stage" and key == "blocks" and isinstance(value, list):
        blocks = [_node(part, growth) for part in value]
        return [blocks[min(i, len(blocks) - 1)] for i in range(_deepen(len(blocks), growth.depth))] if blocks else blocks
    if key == "nodes" and _holds_blocks(name, key) is None:
        return [[{**edge, "op": _node(edge["op"], growth)} if "op" in edge else edge for edge in node] for node in value]
    return _node(value, growth) if _holds_blocks(name, key) else value


def _rounded(groups: int, factor: float) -> float:
    """The factor that gives a whole number of groups."""
    return max(1, round(groups * factor)) / groups


def _holds_blocks(name: str, key: str) -> bool | None:
    """Whether an argument is a block or blocks; None for the nodes of a cell, which hold them in their edges."""
    if key == "nodes" and name in ("cell", "cell_stack"):
        return None
    hint = BLOCKS[name].params[key].hint if _takes(name, key) else None
    return any(kind in getattr(hint, "__metadata__", ()) for kind in ("block", "blocks"))


# ---------------------------------------------------------------- numbers


def _resize(spec: Any, factor: float, fits: Fits | None = None) -> Any:
    """Height and width of an image [C, H, W] or video [C, T, H, W] times the factor; other inputs as they are.

    fits: whether a side, of an axis, can be read; the nearest one that can is taken.
    """
    if isinstance(spec, list | tuple) and len(spec) >= 3:
        return [*spec[:-2], *(_side(side * factor, axis, fits) for axis, side in enumerate(spec[-2:]))]
    if isinstance(spec, Mapping) and "tokens" not in spec:
        return {name: _resize(one, factor, fits) for name, one in spec.items()}
    return spec


def _side(wanted: float, axis: int, fits: Fits | None) -> int:
    """The whole number nearest to a side that can be read; the nearest one where none can."""
    near = max(1, round(wanted))
    if fits is None:
        return near
    able = [side for side in range(1, 2 * near + FARTHEST) if fits(side, axis)]
    return min(able, key=lambda side: abs(side - wanted), default=near)


def _is_grid(value: Any) -> bool:
    """Whether an argument `size` is that of a grid of tokens."""
    return isinstance(value, list) and len(value) == 2 and all(map(_whole, value))


def _has_grid(arch: Arch) -> bool:
    blocks = [block for section in SECTIONS for block in blocks_in(arch.get(section))]
    return any(name in TILED or _is_grid(args.get("size")) for name, args in blocks)


def _fitting(arch: Arch) -> Fits:
    """Whether patches and blocks of pixels tile a side of the input, and grids of tokens stay whole; for an input of one image."""
    spec = arch.get("input")
    if not isinstance(spec, list | tuple):
        return lambda side, axis: True
    rules: list[tuple[int, int, int, int]] = []  # axis, maps by input, tile, padding
    grids = [args["size"] for section in SECTIONS for _, args in blocks_in(arch.get(section)) if _is_grid(args.get("size"))]
    for row in layer_table(arch):
        if row.type not in TILED or row.args.get("stride") is not None:
            continue
        tile = _given(row.type, row.args, TILED[row.type])
        for axis, (whole, side) in enumerate(zip(spec[-2:], row.inputs[0][-2:], strict=True)):
            if whole % side == 0:
                rules.append((axis, whole // side, tile, row.args.get("pad", 0)))

    def fits(side: int, axis: int) -> bool:
        tiled = all(side % by == 0 and side // by + 2 * pad >= tile and (side // by + 2 * pad) % tile == 0
                    for at, by, tile, pad in rules if at == axis)  # fmt: skip
        return tiled and all(side * grid[axis] % spec[axis - 2] == 0 for grid in grids)

    return fits


def _ratios(before: Any, after: Any) -> tuple[Fraction, ...]:
    """New by old height and width of an image."""
    if not isinstance(before, list | tuple) or len(before) < 3:
        return ()
    return tuple(Fraction(new, old) for new, old in zip(after[-2:], before[-2:], strict=True))


def _deepen(depth: Any, factor: float) -> Any:
    if isinstance(depth, list):
        return [_deepen(one, factor) for one in depth]
    return math.ceil(depth * factor - 1e-9)  # 5 * 1.2 is 6, also where floats make it a little more


def _widen(value: Any, factor: float, growth: Growth) -> Any:
    if isinstance(value, list):
        return [_widen(one, factor, growth) for one in value]
    if not _whole(value) or value < 1 or factor == 1:
        return value
    step = math.gcd(value, growth.divisor)
    for before, after in growth.units:
        step = math.lcm(step, after) if value % before == 0 else step
    return divisible(value * factor, step)


def check_factors(where: str, **factors: float) -> None:
    """Raise UserError for a factor that is not a number above 0."""
    for name, value in factors.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not (value > 0 and math.isfinite(value)):
            raise UserError(f"{where}.{name}: must be a number above 0, got {value!r}")
