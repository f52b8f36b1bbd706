"""A block diagram of an architecture: its sections, blocks opened where there is room, shapes on the arrows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nasforge.blocks import BLOCKS
from nasforge.blocks.core.shapes import Shape, Tokens
from nasforge.networks.build import Step, input_shapes, output, steps
from nasforge.report.diagram_boxes import Box, beside, group, leaf, place, skip, stack
from nasforge.report.diagram_graph import graph
from nasforge.report.insights import layer_word
from nasforge.report.svg import picture
from nasforge.spaces.arch import Arch, Node, chain, split

WIDE = ("conv", "deconv", "linear")  # layers whose width is worth saying also where it is derived
TALLEST = 2400.0  # pixels; a taller diagram is drawn again with its blocks closed
Shapes = tuple[Shape, ...]


def arch_picture(arch: Arch, name: str) -> str:
    """Return the block diagram of an architecture as SVG."""
    box = _arch(arch, Walk(int(arch.get("classes", 0)), True))
    if box.height > TALLEST:
        box = _arch(arch, Walk(int(arch.get("classes", 0)), False))
    return picture(box.width + 8, box.height + 8, f"block diagram of {name}", place(box, 4, 4))


def shape_words(shape: Shape) -> str:
    """Return a shape without the batch: 16 × 8 × 8."""
    return f"{shape.length} tokens of {shape.vocab}" if isinstance(shape, Tokens) else " × ".join(map(str, shape))


def _arch(arch: Arch, walk: Walk) -> Box:
    inputs = ", ".join(f"{name} {shape_words(shape)}" for name, shape in input_shapes(arch).items())
    boxes, notes = [leaf(inputs, cls="end")], [""]
    sections: dict[str, list[Step]] = {}
    for step in steps(arch):
        if step.where.startswith(("heads", "aux")) or step.reads != ("last",) or step.writes or list(_parts(step.node)):
            sections.setdefault(step.where.split(".")[0], []).append(step)
    for name, lines in sections.items():
        if name in ("heads", "aux"):
            inner = beside([group(line.where, walk.chain(line.node, line.shapes)[0]) for line in lines], "outputs")
        else:
            parts, shapes = zip(*[(_line(line, walk), line.shapes[0]) for line in lines], strict=True)
            inner = stack(parts, ["", *(_change(a, b) for a, b in pairwise(shapes))])
        boxes.append(group(name, inner, "section"))
        notes.append(shape_words(lines[0].shapes[0]) if len(boxes) > 2 else "")
    last = sections.get("heads") or list(sections.values())[-1]
    ends = ", ".join(shape_words(line.probe.shapes[-1]) for line in (last if "heads" in sections else last[-1:]))
    return stack([*boxes, leaf(f"output {ends}", cls="end")], [*notes, ""])


def _line(line: Step, walk: Walk) -> Box:
    box = walk.chain(line.node, line.shapes)[0]
    wires = [f"reads {', '.join(line.reads)}"] * (line.reads != ("last",)) + [f"gives {', '.join(line.writes)}"] * bool(line.writes)
    return group("; ".join(wires), box) if wires else box


def _change(before: Shape, after: Shape) -> str:
    return "" if tuple(before) == tuple(after) else shape_words(after)


@dataclass(frozen=True)
class Walk:
    """Draws blocks; `detail`: motifs are opened."""

    classes: int
    detail: bool

    def chain(self, node: Node, shapes: Shapes) -> tuple[Box, Shape]:
        """Return the drawing of a chain that reads `shapes`, and the shape that it gives."""
        runs: list[tuple[str, Shapes, Shape, int]] = []
        for one in _parts(node):
            after = output(one, shapes, self.classes)[-1]
            text = json.dumps(one)
            if runs and runs[-1][:3] == (text, shapes, after):
                runs[-1] = (text, shapes, after, runs[-1][3] + 1)
            else:
                runs.append((text, shapes, after, 1))
            shapes = (after, *shapes[1:])
        boxes = []
        for text, before, after, count in runs:
            box = self.block(json.loads(text), before, after)
            boxes.append(group(f"× {count}", box, "repeat") if count > 1 else box)
        return stack(boxes, ["", *(_change(a[1][0], b[1][0]) for a, b in pairwise(runs))]), shapes[0]

    def block(self, node: Node, shapes: Shapes, after: Shape) -> Box:
        """Return the drawing of one block that is no chain."""
        name, args, _ = split(node)
        block = BLOCKS[name]
        if block.kind == "motif" and self.detail:
            inner = list(_parts(block.make(**args)))
            if len(inner) == 1 and BLOCKS[split(inner[0])[0]].kind == "layer":
                return self.block(inner[0], shapes, after)
            return group(name, self.chain(inner, shapes)[0])
        draw = {
            "residual": self.residual,
            "residual_unit": self.unit,
            "parallel": self.parallel,
            "dense": self.dense,
            "cell": self.cell,
        }
        if name in draw and block.kind == "combinator":
            return draw[name](args, shapes, after)
        return _leaf(name, args, shapes[0], after)

    def residual(self, args: dict[str, Any], shapes: Shapes, after: Shape) -> Box:
        body = self.chain(args.get("body"), shapes)[0]
        shortcut, same = args.get("shortcut", "auto"), tuple(shapes[0]) == tuple(after)
        if not isinstance(shortcut, str):
            way = self.chain(shortcut, shapes)[0] if list(_parts(shortcut)) else None
        elif shortcut == "none" or (shortcut == "match" and not same):
            return body
        else:
            way = None if shortcut == "identity" or (same and shortcut != "projection") else leaf("1×1" if shortcut == "auto" else shortcut)
        act = args.get("act", "none")
        return skip(body, way, "+" if act == "none" else f"+ {act}")

    def unit(self, args: dict[str, Any], shapes: Shapes, after: Shape) -> Box:
        before = list(_parts(args.get("before")))
        inner = {**args, "body": [*before, *_parts(args["body"])]}
        if tuple(shapes[0]) == tuple(after) or not before:
            return self.residual(inner, shapes, after)
        first, middle = self.chain(before, shapes)
        return stack([first, self.residual({**args, "shortcut": args.get("shortcut", "auto")}, (middle, *shapes[1:]), after)])

    def parallel(self, args: dict[str, Any], shapes: Shapes, after: Shape) -> Box:
        if args.get("split"):
            return _leaf("parallel", {"split": True, "branches": len(args["branches"])}, shapes[0], after)
        join = args.get("join", "concat")
        return beside([self.chain(branch, shapes)[0] for branch in args["branches"]], {"add": "+", "mul": "×"}.get(join, join))

    def dense(self, args: dict[str, Any], shapes: Shapes, after: Shape) -> Box:
        boxes, now = [], shapes[0]
        for layer in args["layers"]:
            box, out = self.chain(layer, (now, *shapes[1:]))
            boxes.append(skip(box, None, "concat"))
            now = (*now[:-1], now[-1] + out[-1]) if len(now) <= 2 else (now[0] + out[0], *now[1:])
        return stack(boxes)

    def cell(self, args: dict[str, Any], shapes: Shapes, after: Shape) -> Box:
        inputs, axes = args.get("inputs", 1), max(1, len(shapes[0]) - 1)
        edges = [
            (int(e["from"]) % (inputs + i), inputs + i, _brief(e.get("op"), axes)) for i, node in enumerate(args["nodes"]) for e in node
        ]
        edges = [(a, b, words) for a, b, words in edges if words != "zero"]
        last = inputs + len(args["nodes"]) - 1
        read = {a for a, _, _ in edges}
        outputs = [last] if args.get("output", "last") == "last" else [i for i in range(inputs, last + 1) if i not in read]
        names = ["in" if inputs == 1 else f"in{i}" for i in range(inputs)] + [
            {"add": "+", "concat": "cat"}.get(args.get("join", "add"), args.get("join", "add"))
        ] * len(args["nodes"])
        return group("cell", graph(edges, names, outputs))


def _parts(node: Node) -> Iterator[Node]:
    """The blocks of a chain in order, with chains in chains, stages and identities opened."""
    for one in chain(node):
        if one is None or isinstance(one, list | tuple):
            yield from _parts(one)
            continue
        name, args, _ = split(one)
        if name in ("stage", "identity"):
            yield from _parts(BLOCKS[name].make(**args))
        elif BLOCKS[name].kind == "motif" and not list(_parts(BLOCKS[name].make(**args))):  # a block of no layers, as it was drawn
            continue
        else:
            yield {name: args} if args else name


def _leaf(name: str, args: dict[str, Any], before: Shape, after: Shape) -> Box:
    words = layer_word(name, args, max(1, len(before) - 1))
    width = after[0] if len(after) > 2 else after[-1]
    if "out" in args or name in WIDE:
        words += f", {width}"
    said = ("out", "kernel", "kind", "groups" if args.get("groups") == "depthwise" else "")
    defaults = {key: param.default for key, param in BLOCKS[name].params.items()}
    rest = {k: v for k, v in args.items() if k not in said and v is not None and (k not in defaults or defaults[k] != v)}
    below = ", ".join(k + " " + (v if isinstance(v, str) else json.dumps(v).replace('"', "")) for k, v in rest.items())
    hint = f"{name} {json.dumps(args)}: {shape_words(before)} to {shape_words(after)}"
    return leaf(
        words,
        below if len(below) <= 44 else below[:42] + " …",
        hint,
        "layer" if BLOCKS[name].kind == "layer" else "block",
    )


def _brief(op: Node, axes: int) -> str:
    """An operation of a cell in a word or two."""
    parts = list(_parts(op))
    if not parts:
        return "identity"
    words = [layer_word(*split(p)[:2], axes) for p in parts]
    return words[0] if len(words) == 1 else f"{words[0]} …"
