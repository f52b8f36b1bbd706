"""The section of the page with one network: its picture and the table of its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nasforge.networks.cost import Row, layer_table
from nasforge.report.diagram import arch_picture, shape_words
from nasforge.report.format import short, whole
from nasforge.report.html import Cell, paragraph, section, table
from nasforge.report.run import Run
from nasforge.report.svg import tag

LONG = 40  # layers above which the table is folded


def network(run: Run) -> str:
    """Return totals, picture and layers of the winner, or of the best so far."""
    leader, best = run.leader(), run.best()
    if leader is None:
        return ""
    name = best["name"] if best else f"trial {leader.number}"
    baseline = f", the baseline {leader.baseline}" if leader.baseline else ""
    origin = f"{name} is trial {leader.number} of the search{baseline}." if best else "The best network so far."
    arch = run.arch(leader)
    rows = layer_table(arch)
    params, macs = sum(r.params for r in rows), sum(r.macs for r in rows)
    weights = f"{short(4 * params)}B as 32-bit floats"
    totals = paragraph(f"{whole(params)} parameters ({weights}), {whole(macs)} multiply-adds for one sample.")
    label = f"picture of {name}"
    scroll = tag("figcaption", "The whole network; scroll in the frame where it is larger.")
    picture = tag("figure", scroll, tag("div", arch_picture(arch, name), cls="tall", tabindex="0", role="region", aria_label=label))
    layers = _layers(rows)
    if len(rows) > LONG:
        layers = tag("details", tag("summary", f"All {len(rows)} layers"), layers)
    drawn = tag("div", picture, tag("div", layers), cls="net")
    return section(f"The network: {name}", paragraph(origin), totals + drawn)


def _layers(rows: Sequence[Row]) -> str:
    params, macs = max(1, sum(r.params for r in rows)), max(1, sum(r.macs for r in rows))
    head = ["layer", "type", "output", "kernel", "sees", "params", "MACs", "share of both"]
    body: list[list[Cell | str]] = [
        [
            r.path,
            r.type,
            ", ".join(map(shape_words, r.outputs)),
            _kernel(r),
            _field(r.receptive_field),
            Cell.number(whole(r.params)),
            Cell.number(whole(r.macs)),
            Cell.bars(r.params / params, r.macs / macs),
        ]
        for r in rows
    ]
    note = (
        "layer: its place in the architecture. output: channels × height × width, or as the data are. kernel: its sides, /2 a stride of 2. "
        "sees: receptive field in input positions. params: parameters. MACs: multiply-adds for one sample. Blue: share of all parameters, "
        "grey: of all multiply-adds."
    )
    return table(head, body) + paragraph(note, "note")


def _kernel(row: Row) -> str:
    if not row.kernel:
        return ""
    return "×".join(map(str, row.kernel)) + (f" /{row.stride[0]}" if row.stride and max(row.stride) > 1 else "")


def _field(field: float | None) -> str:
    if field is None:
        return ""
    return "all" if math.isinf(field) else f"{field:.0f}"
