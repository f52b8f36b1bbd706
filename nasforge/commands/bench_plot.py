"""nasforge bench --plot: regret against evaluations, one line a strategy with its confidence band, as an SVG file of its own."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from scipy.special import stdtrit

from nasforge.report.svg import CHAR, Axis, frame, inside, line, picture, plot_axes, plot_height, tag, text
from nasforge.search.simulate import Trace

WIDTH = 760.0
LEAST = 0.01  # points: the axis goes no lower, a regret of nothing is drawn there
# after Okabe & Ito 2008 and Tol 2021, dark enough for lines on white and light enough on a dark page
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a6761d", "#56b4e9", "#7570b3", "#e6ab02", "#888888", "#aa3377")
STYLE = """
svg { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
text { fill: #57606a; } .grid { stroke: #8884; fill: none; } .axis { stroke: #888; fill: none; }
.curve { fill: none; stroke-width: 2; } .leader { stroke: #888; stroke-width: .8; fill: none; } .label { font-weight: 600; }
@media (prefers-color-scheme: dark) { text { fill: #a3adb8; } }
"""

Curve = list[tuple[float, float]]  # after each evaluation: mean regret, half the width of its 95 % interval


def curve(traces: Sequence[Trace], best: float, evals: int) -> Curve:
    """Return the regret of some runs after each evaluation."""
    quantile = float(stdtrit(len(traces) - 1, 0.975)) if len(traces) > 1 else 0.0
    out = []
    for n in range(1, evals + 1):
        regrets = [abs(best - t.best[t.at(n)]) for t in traces]
        spread = statistics.stdev(regrets) if len(regrets) > 1 else 0.0
        out.append((statistics.fmean(regrets), quantile * spread / math.sqrt(len(regrets))))
    return out


def plot(curves: Mapping[str, Curve], words: str) -> str:
    """Return the drawing, on logarithmic axes."""
    longest = max(len(c) for c in curves.values())
    first = max(1, longest // 20)  # before it all strategies draw at random
    means = [max(m, LEAST) for c in curves.values() for m, _ in c[first - 1 :]]
    x, y = plot_axes([first, longest], means, WIDTH, (True, True), right=CHAR * max(map(len, curves)) + 28)
    bands, lines, named = [], [], []
    for name, points in curves.items():
        shade = f"s{list(curves).index(name)}"
        upper = [(x(n), y(max(m + half, LEAST))) for n, (m, half) in enumerate(points, 1)]
        lower = [(x(n), y(max(m - half, LEAST))) for n, (m, half) in enumerate(points, 1)]
        corners = " ".join(f"{px:.1f},{py:.1f}" for px, py in (*upper, *reversed(lower)))
        bands.append(tag("polygon", points=corners, cls=f"band {shade}"))
        lines.append(
            line([(x(n), y(max(m, LEAST))) for n, (m, _) in enumerate(points, 1)], f"curve {shade}", f"{name}: {points[-1][0]:.3f}")
        )
        named.append((x(longest), y(max(points[-1][0], LEAST)), name, shade))
    colors = "".join(
        f".curve.s{i} {{ stroke: {COLORS[i % len(COLORS)]}; }} .band.s{i} {{ fill: {COLORS[i % len(COLORS)]}26; }} "
        f".label.s{i} {{ fill: {COLORS[i % len(COLORS)]}; }}\n"
        for i in range(len(curves))
    )
    drawing = picture(
        WIDTH, plot_height(WIDTH), words, tag("style").replace("></style>", f">{STYLE}{colors}</style>"),
        frame(x, y, ("evaluations", "{:g}".format), (words, "{:g}".format)), inside(x, y, *bands, *lines),
        _names(named, y),
    )  # fmt: skip
    return drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def _names(wanted: Sequence[tuple[float, float, str, str]], y: Axis) -> str:
    """The names beside the ends of their lines, pushed apart where these meet."""
    parts, floor = [], y.end
    ordered = sorted(wanted, key=lambda w: w[1])
    for i, (px, py, name, shade) in enumerate(ordered):
        left = len(ordered) - 1 - i
        place = min(max(py, floor), y.start + 12 - 15 * left)
        floor = place + 15
        parts.append(text(px + 8, place + 4, name, cls=f"label {shade}"))
    return "".join(parts)
