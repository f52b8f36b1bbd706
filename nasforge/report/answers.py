"""What the winner answered for each class, from the summary of a run, and what of it is worth a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nasforge.report.format import percent, whole
from nasforge.report.run import Run
from nasforge.spaces.check import fits

MATRIX = 20  # classes of which a confusion matrix is shown whole
MOST_NAMED = 6  # classes in a sentence
UNEQUAL = 1.5  # times its even share, from which on the largest class makes the others small
WORDS = {"test": "test", "val": "validation"}
KINDS: dict[str, Any] = {
    "classes": list[str], "total": list[int], "right": list[int], "answered": list[int], "recall": list[float | None],
    "confused": list[list], "largest": int, "largest_share": float,
}  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """The answers to one target on one part of the data, all final trainings of the winner together.

    Attributes:
        total, right, answered: samples of each class, those recognized, and those that were taken for it.
        confused: (class, answer, how many), the most frequent first.
        recall: the share of each class that was recognized, None where it has no sample.
        largest, largest_share: the class with the most samples, and its share of all.
        samples: how many there are where one has several labels, None where each has one class.
    """

    target: str
    part: str
    classes: list[str]
    total: list[int]
    right: list[int]
    answered: list[int]
    recall: list[float | None]
    confused: list[list[int]]
    largest: int
    largest_share: float
    samples: int | None = None

    @property
    def noun(self) -> str:
        """What its classes are called."""
        return "classes" if self.samples is None else "labels"

    def quality(self, i: int) -> tuple[float | None, float | None, float | None]:
        """Return precision, recall and F1 of a class; None where nothing tells it."""
        total, right, answered = self.total[i], self.right[i], self.answered[i]
        parts = ((right, answered), (right, total), (2 * right, total + answered))
        precision, recall, f1 = (a / b if b else None for a, b in parts)
        return precision, recall, f1

    @property
    def never(self) -> list[str]:
        """The classes that have samples and were never answered."""
        return [name for name, total, answered in zip(self.classes, self.total, self.answered, strict=True) if total and not answered]

    @property
    def worst(self) -> list[int]:
        """The classes that have samples, those recognized worst first, of equal ones the largest."""
        found = [(recall, -self.total[i], i) for i, recall in enumerate(self.recall) if recall is not None]
        return [i for _, _, i in sorted(found)]


def answers_of(run: Run) -> list[Answers]:
    """Return the answers to each target, on test where there is such a part; empty for tasks without classes and runs of older versions."""
    told = (run.summary or {}).get("answers")
    if not isinstance(told, dict):
        return []
    part = "test" if told.get("test") else "val"
    targets = told.get(part)
    if not isinstance(targets, dict):
        return []
    return [
        Answers(str(key), part, **{name: one[name] for name in KINDS}, samples=one.get("samples"))
        for key, one in targets.items() if _whole(one)
    ]  # fmt: skip


def _whole(one: Any) -> bool:
    """Whether the answers are as a search writes them."""
    if not isinstance(one, dict) or not all(fits(one.get(name), kind) for name, kind in KINDS.items()):
        return False
    k = len(one["classes"])
    same = all(len(one[name]) == k for name in ("total", "right", "answered", "recall")) and 0 <= one["largest"] < k
    same = same and fits(one.get("samples"), int | None)
    return same and all(fits(row, list[int]) and len(row) == 3 and 0 <= row[0] < k and 0 <= row[1] < k for row in one["confused"])


def never_answered(run: Run) -> list[str]:
    """Return a sentence on the classes that the winner never answers, for each target where there are such."""
    best, out = run.best(), []
    for one in answers_of(run) if best is not None else ():
        if one.never and best is not None:
            left = len(one.never) - MOST_NAMED
            names = ", ".join(one.never[:MOST_NAMED]) + (f" and {left} more" if left > 0 else "")
            said = f"{best['name']} never answers {len(one.never)} of the {len(one.classes)} {one.noun} on {WORDS[one.part]}: {names}."
            unequal = one.largest_share * len(one.classes) > UNEQUAL
            if one.samples is not None:
                weigh, unequal = " class_weights: balanced, in the recipe, weighs rare ones more.", True
            else:
                weigh = " The classes are of unequal size; class_weights or sampling, in the recipe, weigh them alike."
            out.append(said + weigh * unequal)
    return out


def told(run: Run) -> list[str]:
    """Return recall by class and the most frequent confusions in words, a few lines for each target."""
    lines, found = [], answers_of(run)
    for one in found:
        of = f" ({one.target})" if len(found) > 1 else ""
        if one.samples is not None:
            lines.append(_by_label(one, of))
            continue
        shown = one.worst if len(one.classes) <= MATRIX else one.worst[:MOST_NAMED]
        recalls = ", ".join(f"{one.classes[i]} {percent(one.recall[i] or 0.0)}" for i in shown)
        words = "recall by class" if len(shown) == len(one.worst) else f"recall of the worst of {len(one.classes)} classes"
        lines.append(f"{words} on {WORDS[one.part]}{of}: {recalls}")
        if one.confused:
            pairs = "; ".join(f"{one.classes[a]} taken for {one.classes[b]} {whole(n)} x" for a, b, n in one.confused[:4])
            lines.append(f"confused most{of}: {pairs}")
        lines.append(f"largest class{of}: {one.classes[one.largest]}, {percent(one.largest_share)} of {WORDS[one.part]}")
    return lines


def _by_label(one: Answers, of: str) -> str:
    """F1 of each label in words, the worst first."""
    known = sorted((f1, i) for i in range(len(one.classes)) if (f1 := one.quality(i)[2]) is not None)
    shown = known if len(known) <= MATRIX else known[:MOST_NAMED]
    words = "F1 by label" if len(shown) == len(known) else f"F1 of the worst of {len(one.classes)} labels"
    return f"{words} on {WORDS[one.part]}{of}: " + ", ".join(f"{one.classes[i]} {percent(f1)}" for f1, i in shown)
