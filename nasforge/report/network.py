"""One network on the page: its picture and the table of its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from nasforge.arch import Arch
from nasforge.cost import Row, layer_table
from nasforge.report.figures import short, value, whole
from nasforge.report.picture import arch_picture, shape_words
from nasforge.report.svg import tag
from nasforge.report.tables import Cell, bars, table

LONG = 40  # layers above which the table is folded


def network(arch: Arch, name: str) -> str:
    """The picture of an architecture beside the table of its layers."""
    rows = layer_table(arch)
    drawing = tag("figure", tag("div", arch_picture(arch, name), cls="tall", tabindex="0", role="region", aria_label=f"picture of {name}"))
    layers = _layers(rows)
    if len(rows) > LONG:
        layers = tag("details", tag("summary", f"All {len(rows)} layers"), layers)
    return _facts(rows) + tag("div", drawing, tag("div", layers), cls="net")


def _facts(rows: Sequence[Row]) -> str:
    params, macs = sum(r.params for r in rows), sum(r.macs for r in rows)
    words = f"{whole(params)} parameters ({short(4 * params)}B as 32-bit floats), {whole(macs)} multiply-adds for one sample."
    return tag("p", escape(words))


def _layers(rows: Sequence[Row]) -> str:
    params, macs = max(1, sum(r.params for r in rows)), max(1, sum(r.macs for r in rows))
    head = ["layer", "type", "output", "kernel", "sees", "params", "MACs", "share of both"]
    body: list[list[Cell | str]] = []
    for r in rows:
        kernel = "×".join(map(str, r.kernel or ())) + (f" /{r.stride[0]}" if r.kernel and r.stride and max(r.stride) > 1 else "")
        body.append([
            r.path, r.type, ", ".join(map(shape_words, r.outputs)), kernel, _field(r.receptive_field),
            Cell.number(whole(r.params)), Cell.number(value("macs", r.macs)), Cell(bars([r.params / params, r.macs / macs]), "bar", True),
        ])  # fmt: skip
    note = "sees: receptive field in input positions. Bars: blue is the layer's share of the parameters, grey of the multiply-adds."
    return table(head, body) + tag("p", escape(note), cls="note")


def _field(field: float | None) -> str:
    if field is None:
        return ""
    return "all" if math.isinf(field) else f"{field:.0f}"
