"""The report as one HTML page that needs nothing else: no scripts, no files beside it, nothing from the network."""

from __future__ import annotations

from html import escape
from pathlib import Path

from nasforge.files import without_collector, write_whole
from nasforge.report.format import lower, many, score, word
from nasforge.report.html import paragraph, plain
from nasforge.report.run import Run, collect
from nasforge.report.sections_answers import answers
from nasforge.report.sections_context import account, failed, going_on, insights, made_with
from nasforge.report.sections_network import network
from nasforge.report.sections_results import finals, fronts, progress
from nasforge.report.style import STYLE
from nasforge.report.svg import tag
from nasforge.report.verdict import title, verdict

SECTIONS = (going_on, fronts, finals, answers, network, progress, insights, failed, account, made_with)
HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: nasforge report</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body><main>
"""  # without an icon of its own a browser asks for one


def report(run: Path, storage: str | None = None) -> Path:
    """Write the page into the run's folder and return its path; `storage` as for `collect`."""
    found = collect(run, storage)
    return write_page(found, found.folder / "report.html")


def write_page(run: Run, path: Path) -> Path:
    """Write the page of a run into a file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page(run))
    return path


@without_collector()
def page(run: Run) -> str:
    """Return the whole page."""
    parts = [_top(run), *(section(run) for section in SECTIONS)]
    head = HEAD.format(name=escape(run.folder.resolve().name), style=STYLE)
    return head + "\n".join(part for part in parts if part) + "\n</main></body></html>\n"


def _top(run: Run) -> str:
    told = run.manifest
    asked = ", ".join(f"{'high' if o.maximize else 'low'} {word(o.metric)}" for o in run.objectives)
    limits = f", with {' and '.join(told['constraints'])}" if told["constraints"] else ""
    how = f"{asked}{limits}; {told['strategy']}, {many(run.asked, 'trial')}"
    over = f"Search {run.folder.resolve().name} on {told['data']['spec']}: {how}"
    first, semicolon, rest = title(run).partition(";")  # the first part has the most weight
    heading = tag("h1", plain(first), tag("span", plain(semicolon + rest)) if rest else "")
    sentences = tag("ul", *(tag("li", plain(s)) for s in verdict(run)), cls="said")
    return paragraph(over, "over") + heading + sentences + _footnote(run)


def _footnote(run: Run) -> str:
    best, notes = run.best(), []
    if best is not None and best["test_seeds"]:
        if len(best["test_seeds"]) > 1:
            notes.append(f"± is the standard deviation over {many(len(best['test_seeds']), 'training')} with different seeds.")
        notes.append("Networks were chosen on validation data; test data were read once, at the end.")
    if best is not None:
        notes += [f"Answering the largest class always gives {score(name, share)} on test." for name, share in run.constant().items()]
    if lower(run.score):
        notes.append(f"The lower the {word(run.score)}, the better the network: in the plots, good networks are at the bottom.")
    return paragraph(" ".join(notes), "note") if notes else ""
