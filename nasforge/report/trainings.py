"""The page of single trainings, as `nasforge train` leaves them: their curves in one plot, their costs and test scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from nasforge.errors import UserError
from nasforge.files import parsed_file, write_whole
from nasforge.objectives.metrics import Known, metric_or_value, names
from nasforge.report.format import brief, cap, clock, lower, many, score, tick, value, word
from nasforge.report.html import Cell, figure, paragraph, section, table
from nasforge.report.page import HEAD
from nasforge.report.plot_curves import beside, drawn_path, on_val, titled, whole_tick
from nasforge.report.style import STYLE
from nasforge.report.svg import CHAR, frame, inside, line, picture, plot_axes, plot_height, tag

RESULT = "result.json"
Training = dict[str, Any]
ABOUT = "on validation after each epoch. Test was read once, at the end; networks on one page may have different recipes."


def trainings(folder: Path) -> list[Training]:
    """Return what was trained in a folder, or in the folders in it: metric by metric the best first, of equals the smaller.

    Raises:
        UserError: a result cannot be read.
    """
    found = []
    for path in sorted([*folder.glob(RESULT), *folder.glob(f"*/{RESULT}")]):
        try:
            one = parsed_file(path)
            metric = one.get("metric") or min(one["test"], key=_place)
            found.append({
                "name": Path(str(one["arch"])).stem, "data": str(one["data"]), "metric": metric, "params": int(one["params"]),
                "macs": int(one["macs"]), "test": float(one["test"][metric]), "seconds": float(one["seconds"].get("training", 0.0)),
                "curve": [float(v) for v in on_val(one["curve"], metric)],
            })  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(f"{path}: is no result of `nasforge train` ({type(error).__name__}: {error}); train it again") from None

    def order(one: Training) -> tuple[Any, ...]:
        loss = -one["test"] if metric_or_value(one["metric"]).maximize else one["test"]
        return _place(one["metric"]), one["metric"], loss, one["params"]

    return sorted(found, key=order)


def _place(metric: str) -> int:
    """The place of a metric among the trained ones of the table."""
    known, base = names(Known.TRAINED), metric.partition("@")[0]
    return known.index(base) if base in known else len(known)


def write_trainings(folder: Path, found: Sequence[Training]) -> Path:
    """Write the page into the folder and return its path."""
    name = folder.resolve().name
    data = ", ".join(sorted({one["data"] for one in found}))
    by = " and ".join(dict.fromkeys(word(one["metric"]) for one in found))
    top = paragraph(f"Trainings in {name} on {data}", "over") + tag("h1", escape(f"{many(len(found), 'network')} by {by} on test"))
    curves = figure("Learning curves", f"{word(found[0]['metric'])} {ABOUT}", partial(_curves, found))
    parts = [top, curves, section("Test", _table(found))]
    path = folder / "report.html"
    write_whole(path, HEAD.format(name=escape(name), style=STYLE) + "\n".join(parts) + "\n</main></body></html>\n")
    return path


def _curves(found: Sequence[Training], width: float) -> str:
    shown = [one for one in found if len(one["curve"]) > 1 and one["metric"] == found[0]["metric"]]
    if not shown:
        return ""
    metric = shown[0]["metric"]
    right = max(CHAR * len(brief(one["name"])) + 18 for one in shown)
    every = [v for one in shown for v in one["curve"]]
    x, y = plot_axes([1, max(len(one["curve"]) for one in shown)], every, width, cap=cap(metric), right=right)
    lines = [line(drawn_path(one["curve"], x, y), f"curve bold {_role(i)}", one["name"]) for i, one in enumerate(shown)]
    named = beside([(x(len(one["curve"])), y(one["curve"][-1]), brief(one["name"]), _role(i)) for i, one in enumerate(shown)], x, y)
    words = titled(f"{word(metric)} (validation)", lower(metric), width)
    axes = frame(x, y, ("epoch", whole_tick), (words, partial(tick, metric)))
    return picture(width, plot_height(width), "learning curves", axes, inside(x, y, *lines), named)


def _role(place: int) -> str:
    """The colour of a curve: that of finalists for the best, that of baselines for the others."""
    return "finalist" if place == 0 else "baseline"


def _table(found: Sequence[Training]) -> str:
    metric, mixed = found[0]["metric"], len({one["metric"] for one in found}) > 1
    rows = [
        [one["name"], one["data"], *(Cell.number(value(cost, one[cost])) for cost in ("params", "macs")),
         Cell.number((score if mixed else value)(one["metric"], one["test"])), Cell.number(clock(one["seconds"]))]
        for one in found
    ]  # fmt: skip
    head = ("network", "data", word("params"), word("macs"), "test" if mixed else f"test {word(metric)}{lower(metric)}", "training")
    return table(head, rows, winner=0 if len(rows) > 1 and not mixed else None)
