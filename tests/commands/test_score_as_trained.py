"""A network of a run is scored on other data as it was trained: by the moments, columns and classes of its own."""

from __future__ import annotations

import csv
from pathlib import Path
from random import Random
from typing import Any

import pytest

import nasforge as nf
from nasforge.errors import UserError


def table(path: Path, head: list[str], row: Any) -> str:
    rng = Random(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for _ in range(300):
            a, b = rng.gauss(0, 1), rng.gauss(0, 1)
            writer.writerow(row(a, b, "yes" if a > 0 else "no"))
    return str(path)


def test_other_data_are_read_as_those_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = table(tmp_path / "u.csv", ["a", "b", "label"], lambda a, b, y: [a, b, y])
    brief: dict[str, Any] = {"trials": 2, "epochs": 8, "final_epochs": 8, "finalists": 1, "final_seeds": 1, "strategy": "random"}
    run = nf.search(data=own, run="run", show=False, page=False, runner="inline", **brief)
    assert nf.score("run").metrics["accuracy"] == pytest.approx(run.summary["best"]["test_mean"])
    shifted = table(tmp_path / "shift.csv", ["a", "b", "label"], lambda a, b, y: [a + 5, b, y])
    answers = nf.predict("run", shifted)
    assert sum(row["class"] == "yes" for row in answers) > 250  # a is above 0 nearly everywhere now
    assert nf.score("run", shifted).metrics["accuracy"] < 0.7 < nf.score("run").metrics["accuracy"]
    swapped = table(tmp_path / "swap.csv", ["b", "a", "label"], lambda a, b, y: [b, a, y])
    with pytest.raises(UserError, match="run: has learned input of columns a, b, swap has b, a; give data as it was trained on"):
        nf.score("run", swapped)
    renamed = table(tmp_path / "names.csv", ["a", "b", "label"], lambda a, b, y: [a, b, {"yes": "A", "no": "B"}[y]])
    with pytest.raises(UserError, match="has learned label of names no, yes, names has A, B"):
        nf.score("run", renamed)
    with pytest.raises(UserError, match="run: has learned input of kind table"):
        nf.score("run", "digits")
