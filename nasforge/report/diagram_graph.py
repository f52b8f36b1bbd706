"""The drawing of a cell: nodes below each other, edges between neighbours straight, others as bows at both sides."""

from __future__ import annotations

from collections.abc import Sequence

from nasforge.report.diagram_boxes import Box, arrow, leaf, place
from nasforge.report.svg import line, tag, text

Edge = tuple[int, int, str]  # from node, to node, what it does
NODE = 22.0  # height of a node
STEP = 84.0  # from node to node


def graph(edges: Sequence[Edge], nodes: Sequence[str], outputs: Sequence[int]) -> Box:
    """Return a directed graph whose edges lead to later nodes; `nodes` are names, `outputs` lead out at the bottom."""
    straight = [e for e in edges if e[1] == e[0] + 1]
    lanes = _lanes([e for e in edges if e[1] > e[0] + 1] + [(o, len(nodes), "") for o in outputs if o < len(nodes) - 1])
    center = max([leaf(w).width for _, _, w in straight] + [60.0]) / 2
    reach = [[max([leaf(w).width for *_, w in lane if w] + [8.0]) for lane in side] for side in lanes]
    right, left = (center + sum(w + 12 for w in side) for side in reach)
    parts = []
    for i, name in enumerate(nodes):
        shape = tag("rect", x=left - 14, y=i * STEP, width=28, height=NODE, rx=11)
        parts.append(tag("g", shape, text(left, i * STEP + 15.5, name, "middle", "small"), cls="box join"))
    height = len(nodes) * STEP - STEP + NODE + 16
    for source, target, words in straight:
        start, end = source * STEP + NODE, target * STEP
        parts.append(arrow(left, start, end) + _edge([(left, start), (left, end - 4)], words, left, (start + end) / 2))
    for side, sign in enumerate((1, -1)):
        x, near = left + sign * center, left + sign * 14
        for lane, width in zip(lanes[side], reach[side], strict=True):
            x += sign * (12 + width / 2)
            for source, target, words in lane:
                start, out = source * STEP + NODE / 2, target == len(nodes)
                end = height - 6 if out else target * STEP + NODE / 2
                way = [(near, start), (x, start), (x, end), (left if out else near + 4 * sign, end)]
                parts.append(_edge(way, words, x, (start + end) / 2))
                parts.append("" if out else tag("path", d=f"M{near:.1f} {end:.1f}l{7 * sign} -4v8z", cls="head"))
            x += sign * width / 2
    parts.append(line([(left, height - 16), (left, height)], "wire"))
    return Box(left + right, height, left, "".join(parts))


def _edge(way: list[tuple[float, float]], words: str, x: float, y: float) -> str:
    if not words:
        return line(way, "wire skip")
    box = leaf(words)
    return line(way, "wire") + place(box, x - box.width / 2, y - box.height / 2)


def _lanes(edges: Sequence[Edge]) -> tuple[list[list[Edge]], list[list[Edge]]]:
    """Edges shared out over lanes at the right and the left, none over another in its lane; short ones lie inside."""
    sides: tuple[list[list[Edge]], list[list[Edge]]] = ([], [])
    for edge in sorted(edges, key=lambda e: (e[1] - e[0], e[0])):
        free = [lane for lane in (*sides[0], *sides[1]) if all(edge[0] >= o[1] or edge[1] <= o[0] for o in lane)]
        if free:
            free[0].append(edge)
        else:
            min(sides, key=len).append([edge])
    return sides
