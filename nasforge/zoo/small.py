"""The form of a documented network for small images: a yardstick for searches on 8 x 8 to 64 x 64 inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasforge.arch import SECTIONS, WIRES, Arch, Node, chain, lines, split
from nasforge.blocks import BLOCKS
from nasforge.build import output, steps
from nasforge.errors import UserError

LEAST_SIDE = 3  # of the last feature map
WIDEST_HIDDEN = 512  # of full layers before the classifier


def small(arch: Arch, shape: tuple[int, ...], classes: int) -> Arch:
    """The architecture for images of `shape` (channels, height, width) and another number of classes.

    Rule, from the input on: a reduction is taken out, one at a time, until the last feature map is at least 3 on a side. A strided
    convolution gets stride 1 (and a kernel above 3 becomes 3), a strided stage or block stride 1, a pooling layer goes. Padding is
    `same` everywhere, hidden full layers are at most 512 wide, auxiliary heads go. For 3 x 32 x 32 this gives the usual CIFAR forms:
    ResNet with a 3x3 stem and no pool, MobileNetV2 with stride 1 in the stem and in its second stage.
    Raises UserError for networks that do not read one image.
    """
    native = arch.get("input")
    if not (isinstance(native, list | tuple) and len(native) == 3 and len(shape) == 3):
        raise UserError(f"small: needs a network of one image [channels, height, width] and such a shape, got {native!r} and {list(shape)}")
    out = {k: v for k, v in arch.items() if k not in ("published", "aux", "note")}
    out.update({section: [_padded(line) for line in chain(arch[section])] for section in SECTIONS if section in arch})
    out.update(name=f"small_{arch.get('name', 'network')}", input=list(shape), classes=classes)
    while _last_side(out) < LEAST_SIDE:
        less = _with_less(out, list(native))
        if less is None:
            break
        out = less
    return out


def _padded(node: Node) -> Node:
    """The blocks without their padding (which is then `same`), full layers at most 512 wide."""
    if isinstance(node, list | tuple):
        return [_padded(part) for part in node]
    if not isinstance(node, Mapping):
        return node
    name, args, wires = split(node)
    if name in ("conv", "pool"):
        return {name: {k: v for k, v in args.items() if k not in ("pad", "ceil")}, **wires}
    if name == "vector_head":
        return {name: {**args, "hidden": [min(width, WIDEST_HIDDEN) for width in args["hidden"]]}, **wires}
    if name == "linear" and isinstance(args.get("out"), int):
        return {name: {**args, "out": min(args["out"], WIDEST_HIDDEN)}, **wires}
    return {name: {k: _padded(v) if _is_block(v) else v for k, v in args.items()}, **wires}


def _is_block(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(v, Mapping | list) for v in value))


def _last_side(arch: Arch) -> int:
    """The smaller side of the last feature map; 0 where a map is too small for its layer."""
    side = 0
    try:
        for step in steps(arch):
            for shape in (*step.shapes, *step.probe.shapes):
                side = min(shape[1:]) if len(shape) == 3 else side
    except UserError:
        return 0
    return side


def _with_less(arch: Arch, native: list[int]) -> Arch | None:
    """The architecture without its first removable reduction; None where there is none."""
    for step in steps({**arch, "input": native}):
        section = step.where.partition(".")[0]
        if section in SECTIONS and _halves(step.shapes[0], step.probe.shapes[-1]):
            kept = _unstrided(step.node, step.shapes, arch["classes"])
            if kept is not None:
                paths, nodes = zip(*lines(arch, section), strict=True)
                i = paths.index(step.where)
                return {**arch, section: [*nodes[:i], *_wired(kept, nodes[i]), *nodes[i + 1 :]]}
    return None


def _wired(nodes: list[Node], line: Node) -> list[Node]:
    """The blocks that take the place of a line, with its wires: the first reads what it read, the last has its name."""
    wires = {k: line[k] for k in WIRES if isinstance(line, Mapping) and k in line}
    if not wires:
        return nodes
    parts = [node if isinstance(node, Mapping) else {node: {}} for node in nodes or ["identity"]]
    parts[0] = {**parts[0], **{k: v for k, v in wires.items() if k == "from"}}
    parts[-1] = {**parts[-1], **{k: v for k, v in wires.items() if k == "as"}}
    return parts


def _halves(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    return len(before) == 3 and len(after) == 3 and after[1] <= 0.6 * before[1]


def _unstrided(node: Node, shapes: tuple[Any, ...], classes: int) -> list[Node] | None:
    """The chain of a block without its first reduction; None where it cannot be taken out."""
    parts = chain(node)
    if isinstance(node, list | tuple):
        for i, part in enumerate(parts):
            after = output(part, shapes, classes)[-1]
            if _halves(shapes[0], after):
                kept = _unstrided(part, shapes, classes)
                return None if kept is None else [*parts[:i], *kept, *parts[i + 1 :]]
            shapes = (after, *shapes[1:])
        return None
    name, args, _ = split(node)
    if name == "pool":
        return []
    if isinstance(args.get("stride"), int) and args["stride"] > 1:
        own_one = BLOCKS[name].params["stride"].default == 1
        plain = {**{k: v for k, v in args.items() if k != "stride"}, **({} if own_one else {"stride": 1})}
        large = name == "conv" and isinstance(args.get("kernel"), int) and args["kernel"] > 3
        return [{name: {**plain, "kernel": 3} if large else plain}]
    if name in BLOCKS and BLOCKS[name].kind == "motif":
        return _unstrided(BLOCKS[name].make(**args), shapes, classes)
    return None
