"""One network on the page: its picture and the table of its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nasforge.networks.cost import Row, layer_table
from nasforge.report.diagram import arch_picture, shape_words
from nasforge.report.format import short, whole
from nasforge.report.html import Cell, paragraph, table
from nasforge.report.svg import tag
from nasforge.spaces.arch import Arch

LONG = 40  # layers above which the table is folded


def drawn(arch: Arch, name: str) -> str:
    """Return the totals of an architecture, its picture, and beside it the table of its layers."""
    rows = layer_table(arch)
    label = f"picture of {name}"
    picture = tag("figure", tag("div", arch_picture(arch, name), cls="tall", tabindex="0", role="region", aria_label=label))
    layers = _layers(rows)
    if len(rows) > LONG:
        layers = tag("details", tag("summary", f"All {len(rows)} layers"), layers)
    return _totals(rows) + tag("div", picture, tag("div", layers), cls="net")


def _totals(rows: Sequence[Row]) -> str:
    params, macs = sum(r.params for r in rows), sum(r.macs for r in rows)
    weights = f"{short(4 * params)}B as 32-bit floats"
    return paragraph(f"{whole(params)} parameters ({weights}), {whole(macs)} multiply-adds for one sample.")


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
    note = "sees: receptive field in input positions. Blue: share of all parameters, grey: of all multiply-adds."
    return table(head, body) + paragraph(note, "note")


def _kernel(row: Row) -> str:
    if not row.kernel:
        return ""
    return "×".join(map(str, row.kernel)) + (f" /{row.stride[0]}" if row.stride and max(row.stride) > 1 else "")


def _field(field: float | None) -> str:
    if field is None:
        return ""
    return "all" if math.isinf(field) else f"{field:.0f}"
