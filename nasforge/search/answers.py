"""What the winner answers for each class: the counts of its final trainings together, in the summary of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nasforge.data import Target
from nasforge.data.dataset import PARTS

MOST_CONFUSED = 400  # pairs of classes that are kept, as in one training


def answers_of(results: Iterable[Mapping[str, Any]], targets: Mapping[str, Target]) -> dict[str, Any]:
    """Return the answers of trainings by part of the data and target, added up; nothing where no task has classes.

    Each has `classes` (names, or numbers as words), `total`, `right`, `answered` and `confused` as `Task.answers` has them; `recall` of
    each class, None where it has no sample; `largest`, the class with the most samples, and `largest_share`.
    Where a sample has several labels, `samples` says how many there were.
    """
    out: dict[str, Any] = {}
    told = [result.get("answers") or {} for result in results]
    for part in PARTS:
        for key, target in targets.items():
            found = [answers[part][key] for answers in told if key in answers.get(part, {})]
            if found:
                out.setdefault(part, {})[key] = _added(found, target)
    return out


def _added(found: Sequence[Mapping[str, Any]], target: Target) -> dict[str, Any]:
    columns = {name: zip(*(one[name] for one in found), strict=True) for name in ("total", "right", "answered")}
    total, right, answered = ([sum(counts) for counts in column] for column in columns.values())
    pairs = Counter[tuple[int, int]]()
    for one in found:
        for true, answer, count in one["confused"]:
            pairs[true, answer] += count
    samples = sum(one["samples"] for one in found) if all("samples" in one for one in found) else None
    largest = max(range(len(total)), key=lambda i: total[i])
    return {
        "classes": list(target.names) or [str(i) for i in range(len(total))],
        "total": total, "right": right, "answered": answered,
        "recall": [r / t if t else None for r, t in zip(right, total, strict=True)],
        "largest": largest, "largest_share": total[largest] / max(1, sum(total) if samples is None else samples),
        "confused": [[*pair, count] for pair, count in pairs.most_common(MOST_CONFUSED)],
        **({} if samples is None else {"samples": samples}),
    }  # fmt: skip
