"""The form of a documented network for small images or videos: a yardstick for searches on 8 x 8 to 64 x 64 inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

from nasforge.blocks import BLOCKS
from nasforge.errors import UserError
from nasforge.networks.build import output, steps
from nasforge.spaces.arch import SECTIONS, WIRES, Arch, Node, chain, lines, split

LEAST_SIDE = 3  # of the last feature map
WIDEST_HIDDEN = 512  # of full layers before the classifier
PICTURES = (3, 4)  # axes of an image and of a video
PADDING = ("pad", "ceil")
INNER = {
    "parallel": ("branches",),
    "residual": ("body", "shortcut"),
    "residual_unit": ("before", "body", "shortcut"),
    "dual": ("body", "shortcut"),
}


def small(arch: Arch, shape: tuple[int, ...], classes: int) -> Arch:
    """Return the architecture for images of `shape` (channels, height, width) and another number of classes; its `note` says what changed.

    A network of videos gets a shape (channels, frames, height, width); reductions are those of height and width.

    Rule, from the input on: a reduction is taken out, one at a time, until the last feature map is at least 3 on a side. A strided
    convolution gets stride 1 (and a kernel above 3 becomes 3), a strided stage or block stride 1, a pooling layer goes; branches that
    halve the size side by side all cease to. Padding is `same` everywhere, hidden full layers are at most 512 wide, auxiliary heads go.
    For 3 x 32 x 32 this gives the usual CIFAR forms: ResNet with a 3x3 stem and no pool, MobileNetV2 with stride 1 in the stem and in
    its second stage. Raises UserError for networks that do not read one image or video.
    """
    native = arch.get("input")
    if not (isinstance(native, list | tuple) and len(native) == len(shape) and len(shape) in PICTURES):
        need = "a network of one image [channels, height, width] or video [channels, frames, height, width] and such a shape"
        raise UserError(f"small: needs {need}, got {native!r} and {list(shape)}")
    out = {k: v for k, v in arch.items() if k not in ("published", "aux", "note")}
    out |= {section: [_padded(line) for _, line in lines(arch, section)] for section in SECTIONS if section in arch}
    out.update(name=f"small_{arch.get('name', 'network')}", input=list(shape), classes=classes)
    places = {section: [where for where, _ in lines(arch, section)] for section in SECTIONS if section in arch}
    removed: list[str] = []
    while _last_side(out) < LEAST_SIDE:
        less = _with_less(out, list(native), places)
        if less is None:
            break
        out, where = less
        removed.append(where)
    return {**out, "note": _note(arch, shape, removed)}


def _note(arch: Arch, shape: tuple[int, ...], removed: list[str]) -> str:
    """What differs from the documented network, in words."""
    sides = " x ".join(map(str, shape))
    gone = f"without the reduction of {', '.join(removed)}" if removed else "with all its reductions"
    aux = ", no auxiliary heads" if arch.get("aux") else ""
    return f"{arch.get('name', 'the network')} for {sides}: {gone}; padding same, hidden full layers at most {WIDEST_HIDDEN} wide{aux}"


# ---------------------------------------------------------------- padding and widths


def _padded(node: Node) -> Node:
    """The blocks without their padding (which is then `same`), full layers at most 512 wide."""
    if isinstance(node, list | tuple):
        return [_padded(part) for part in node]
    if not isinstance(node, Mapping):
        return node
    name, args, wires = split(node)
    if name not in BLOCKS:
        return node
    params = BLOCKS[name].params
    same = "pad" in params and params["pad"].default == "same"
    kept = {k: _padded(v) if _holds_blocks(params[k].hint) else v for k, v in args.items() if not (same and k in PADDING)}
    if name == "vector_head":
        kept["hidden"] = [min(width, WIDEST_HIDDEN) for width in kept["hidden"]]
    if name == "linear" and isinstance(kept.get("out"), int):
        kept["out"] = min(kept["out"], WIDEST_HIDDEN)
    return {name: kept, **wires}


def _holds_blocks(hint: Any) -> bool:
    return get_origin(hint) is Annotated and get_args(hint)[1] in ("block", "blocks")


# ---------------------------------------------------------------- reductions


def _last_side(arch: Arch) -> int:
    """The smaller side of the last feature map; 0 where a map is too small for its layer."""
    side = 0
    try:
        for step in steps(arch):
            for shape in (*step.shapes, *step.probe.shapes):
                side = min(shape[-2:]) if len(shape) in PICTURES else side
    except UserError:
        return 0
    return side


def _with_less(arch: Arch, native: list[int], places: dict[str, list[str]]) -> tuple[Arch, str] | None:
    """The architecture without its first removable reduction, and where that stood; None where there is none.

    `places` are the paths of the lines in the documented network; it is brought up to date.
    """
    for step in steps({**arch, "input": native}):
        section, _, index = step.where.partition(".")
        if section not in SECTIONS or not _halves(step.shapes[0], step.probe.shapes[-1]):
            continue
        kept = _unstrided(step.node, step.shapes, arch["classes"])
        if kept is None:
            continue
        i, nodes = int(index), arch[section]
        new = _wired(kept, nodes[i])
        less = {**arch, section: [*nodes[:i], *new, *nodes[i + 1 :]]}
        if _builds({**less, "input": native}):
            where = places[section][i]
            places[section][i : i + 1] = [where] * len(new)
            return less, f"{where} ({split(step.node)[0]})"
    return None


def _builds(arch: Arch) -> bool:
    try:
        return bool(list(steps(arch)))
    except UserError:
        return False


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
    return len(before) in PICTURES and len(after) == len(before) and after[-2] <= 0.6 * before[-2]


def _unstrided(node: Node, shapes: tuple[Any, ...], classes: int, beside: bool = False) -> list[Node] | None:
    """The chain of a block without its first reduction; None where it cannot be taken out. `beside`: other branches keep their size."""
    parts = chain(node)
    if isinstance(node, list | tuple):
        for i, part in enumerate(parts):
            after = output(part, shapes, classes)[-1]
            if _halves(shapes[0], after):
                kept = _unstrided(part, shapes, classes, beside)
                return None if kept is None else [*parts[:i], *kept, *parts[i + 1 :]]
            shapes = (after, *shapes[1:])
        return None
    name, args, _ = split(node)
    if name == "pool":
        return [{"pool": {**args, "kernel": 3, "stride": 1}}] if beside else []
    if isinstance(args.get("stride"), int) and args["stride"] > 1:
        own_one = BLOCKS[name].params["stride"].default == 1
        plain = {**{k: v for k, v in args.items() if k != "stride"}, **({} if own_one else {"stride": 1})}
        if name == "cell_stack":
            plain["nodes"] = [[{**edge, "op": _centered(edge["op"])} for edge in node] for node in plain["nodes"]]
        large = name == "conv" and isinstance(args.get("kernel"), int) and args["kernel"] > 3
        return [{name: {**plain, "kernel": 3} if large else plain}]
    if name in INNER:
        return _unstrided_inside(name, args, shapes, classes)
    if name in BLOCKS and BLOCKS[name].kind == "motif":
        return _unstrided(BLOCKS[name].make(**args), shapes, classes, beside)
    return None


def _centered(op: Node) -> Node:
    """The operation of an edge, a pool of 2 x 2 as one of 3 x 3, which can keep the size."""
    name, args = split(op)[:2] if isinstance(op, Mapping) else ("", {})
    return {name: {**args, "kernel": 3}} if name == "pool" and args.get("kernel") == 2 else op


def _unstrided_inside(name: str, args: dict[str, Any], shapes: tuple[Any, ...], classes: int) -> list[Node] | None:
    """A combinator whose parts reduce no more; None where one of them must."""
    if args.get("split"):
        return None
    new = dict(args)
    for part in INNER[name]:
        many = args.get(part, []) if part == "branches" else [args[part]] if isinstance(args.get(part), Mapping | list) else []
        kept: list[list[Node] | None] = []
        for one in many:
            reduces = _halves(shapes[0], output(chain(one), shapes, classes)[-1])
            kept.append(_unstrided(chain(one), shapes, classes, True) if reduces else chain(one))
        if None in kept:
            return None
        if many:
            new[part] = kept if part == "branches" else kept[0]
    return [{name: new}]
