"""The section of the page with what the winner answers: recall of each class, confusions, single examples."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from nasforge.files import parsed_file
from nasforge.report.answers import MATRIX, WORDS, Answers, answers_of
from nasforge.report.format import many, percent, tied, whole
from nasforge.report.html import Cell, paragraph, section, table
from nasforge.report.run import Run
from nasforge.report.svg import tag

MOST_ROWS = 12  # of a table, where the classes are too many for a matrix
MOST_LABELS = 60
LONG_NAME = 5  # letters of a class, from which on the heads of a matrix stand upright
MOST_PICTURES = 8  # of each kind
MOST_LETTERS = 40_000  # of one picture
FAINT, STEEP = 12.0, 3.0  # a mistake is shaded by 12 % and three times its share of the class, so that rare ones are seen


def answers(run: Run) -> str:
    """Return recall and confusions of the winner by class, and some examples; nothing where its task has no classes."""
    best, found = run.best(), answers_of(run)
    if best is None or not found:
        return ""
    seeds = len(best["test_seeds"])
    parts = [_target(one, f", {many(seeds, 'training')} together" if seeds > 1 else "", len(found) > 1) for one in found]
    return section(f"What {best['name']} answers", *parts, _examples(run, str(best["name"]), found[0]))


def _target(one: Answers, trainings: str, several: bool) -> str:
    """Recall and confusions of one target."""
    heading = tag("h3", escape(one.target)) if several else ""
    if one.samples is not None:
        return heading + _labels(one, trainings)
    largest = f"The largest class, {one.classes[one.largest]}, is {percent(one.largest_share)} of it."
    shown = _matrix(one) if len(one.classes) <= MATRIX else _tables(one)
    return heading + paragraph(f"On {WORDS[one.part]}{trainings}. {largest}", "note") + shown


def _labels(one: Answers, trainings: str) -> str:
    """Precision, recall, F1 and support of each label, the worst F1 first."""

    def cell(share: float | None) -> Cell:
        return Cell.number("–" if share is None else percent(share))

    found = [(*one.quality(i), i) for i in range(len(one.classes))]
    found.sort(key=lambda row: (row[2] is None, row[2] or 0.0))
    body: list[list[Cell | str]] = [
        [one.classes[i], Cell.bars(f1 or 0.0), *map(cell, (precision, recall, f1)), Cell.number(whole(one.total[i]))]
        for precision, recall, f1, i in found
    ]
    note = (
        "Precision: of the samples to which the label was given, the share that has it. Recall: of those that have it, the share to which "
        "it was given. F1: their harmonic mean, drawn as a bar. Support: samples that have it"
    )
    note += ", counted once for each training." if trainings else "."
    drawn = table(["label", "", "precision", "recall", "F1", "support"], body[:MOST_LABELS], cls="bars")
    over = f"On {WORDS[one.part]}{trainings}: {whole(one.samples or 0)} samples" if not trainings else f"On {WORDS[one.part]}{trainings}"
    left = f"; the {MOST_LABELS} worst of {len(body)} labels" if len(body) > MOST_LABELS else ""
    return paragraph(f"{over}{left}. A label is given where its logit is above 0.", "note") + drawn + paragraph(note, "note")


def _matrix(one: Answers) -> str:
    """The whole confusion matrix: a row a class, shaded by its share of the row."""
    counts = {(true, answer): count for true, answer, count in one.confused} | {(i, i): n for i, n in enumerate(one.right)}
    body: list[list[Cell | str]] = []
    for i, name in enumerate(one.classes):
        cells = [_shaded(counts.get((i, j), 0), one.total[i], i == j) for j in range(len(one.classes))]
        body.append([name, *cells, Cell.number(whole(one.total[i])), _recall(one, i)])
    note = "A row is a class, a column what was answered. Blue is right, orange is mistaken."
    upright = max(map(len, one.classes)) > LONG_NAME
    heads = [Cell(name, "upright") if upright else name for name in one.classes]
    return table(["class", *heads, "all", "recall"], body, cls="matrix") + paragraph(note, "note")


def _shaded(count: int, total: int, right: bool) -> Cell:
    if not count:
        return Cell("·", "num none")
    share = 100 * count / max(1, total)
    strength = 0.55 * min(100.0, share if right else FAINT + STEEP * share)
    style = f"background: color-mix(in srgb, var(--{'search' if right else 'control'}) {strength:.0f}%, transparent)"
    return Cell(tag("span", whole(count), style=style), "num shade", html=True)


def _recall(one: Answers, i: int) -> Cell:
    recall = one.recall[i]
    return Cell.number("–" if recall is None else percent(recall))


def _tables(one: Answers) -> str:
    """The classes that are recognized worst, and the most frequent confusions."""
    worst: list[list[Cell | str]] = [
        [one.classes[i], Cell.bars(one.recall[i] or 0.0), _recall(one, i), Cell.number(whole(one.total[i]))] for i in one.worst[:MOST_ROWS]
    ]
    pairs: list[list[Cell | str]] = [
        [one.classes[true], one.classes[answer], Cell.number(whole(count)), Cell.number(percent(count / max(1, one.total[true])))]
        for true, answer, count in one.confused[:MOST_ROWS]
    ]
    left = tag("div", tag("h3", "Recognized worst"), table(["class", "", "recall", "samples"], worst, cls="bars"))
    right = tag("div", tag("h3", "Confused most"), table(["class", "taken for", "times", "of the class"], pairs)) if pairs else ""
    return tag("div", left, right, cls="pair")


# ---------------------------------------------------------------- single answers


def _examples(run: Run, name: str, one: Answers) -> str:
    """Pictures of the surest mistakes and of some right answers on val; nothing where none were kept."""
    try:
        found = parsed_file(run.folder / "finalists" / f"{name}.examples.json")
        rows = {words: _pictures(found[kind], one) for words, kind in (("The surest mistakes", "wrong"), ("Right answers", "right"))}
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):  # absent, or no longer what was written
        return ""
    shown = [tag("h3", words) + tag("div", *pictures, cls="pictures") for words, pictures in rows.items() if pictures]
    note = "On validation, by the weights that are kept: the class, what it was taken for, and how sure the network was."
    return "".join(shown) + (paragraph(note, "note") if shown else "")


def _pictures(rows: Sequence[Mapping[str, Any]], one: Answers) -> list[str]:
    out = []
    for row in rows[:MOST_PICTURES]:
        png, true, answer = str(row["png"]), one.classes[row["class"]], one.classes[row["answer"]]
        if _is_png(png):
            words = true if true == answer else f"{true}, taken for {answer}"
            image = f'<img src="data:image/png;base64,{png}" alt="{escape(words)}">'
            out.append(tag("figure", image, tag("figcaption", tag("b", escape(words)), tied(f" {percent(float(row['confidence']), 0)}"))))
    return out


def _is_png(text: str) -> bool:
    if len(text) > MOST_LETTERS or not re.fullmatch(r"[A-Za-z0-9+/=]+", text):
        return False
    try:
        return base64.b64decode(text, validate=True).startswith(b"\x89PNG\r\n\x1a\n")
    except binascii.Error:
        return False
