"""What the winner answers for each class: in the summary, on the page, in words; and what is left out where nothing is known of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import DATA, SMALL_SPACE, Balanced, made_up_run

from nasforge.api.search import search
from nasforge.data import Target
from nasforge.report import Run, collect, words
from nasforge.report.answers import answers_of, never_answered
from nasforge.report.page import page
from nasforge.report.verdict import verdict
from nasforge.search.answers import answers_of as added


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose networks were trained."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    search(
        SMALL_SPACE, DATA.spec, data_limit=DATA.limit, run=folder, show=False, strategy="random", trials=2, epochs=2, finalists=1,
        final_seeds=2, final_epochs=3, runner="inline",
    )  # fmt: skip
    return collect(folder)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return collect(made_up_run(tmp_path_factory.mktemp("runs") / "made-up"))


def with_answers(run: Run, k: int, **changes: Any) -> Run:
    """The run with answers of k classes of 10 samples each: of class i, i % 4 are taken for the next one."""
    wrong = [i % 4 for i in range(k)]
    told = {
        "classes": [f"kind-{i}" for i in range(k)], "total": [10] * k, "right": [10 - n for n in wrong],
        "answered": [10 - wrong[i] + wrong[i - 1] for i in range(k)], "recall": [1 - n / 10 for n in wrong], "largest": 0,
        "largest_share": 1 / k, "confused": sorted(([i, (i + 1) % k, n] for i, n in enumerate(wrong) if n), key=lambda one: -one[2]),
    }  # fmt: skip
    assert run.summary is not None
    return replace(run, summary={**run.summary, "answers": {"test": {"label": {**told, **changes}}}})


def text_on(run: Run) -> str:
    return " ".join(Balanced(page(run).replace("<img ", "<meta ")).words.replace("\u00a0", " ").split())


def test_the_summary_adds_the_seeds_up(trained: Run) -> None:
    best = trained.best()
    assert best is not None and trained.summary is not None
    told = trained.summary["answers"]["test"]["label"]
    assert sum(told["right"]) / sum(told["total"]) == pytest.approx(best["test_mean"]) and len(best["test_seeds"]) == 2
    val = trained.summary["answers"]["val"]["label"]
    assert sum(val["right"]) / sum(val["total"]) == pytest.approx(best["val"])
    assert told["recall"] == [r / t for r, t in zip(told["right"], told["total"], strict=True)]
    assert told["largest_share"] == max(told["total"]) / sum(told["total"]) == trained.constant()["accuracy"]
    assert json.loads((trained.folder / "summary.json").read_text())["answers"] == trained.summary["answers"]


def test_classes_without_samples_have_no_recall() -> None:
    one = {"total": [2, 0], "right": [1, 0], "answered": [1, 1], "confused": [[0, 1, 1]]}
    training = {"answers": {"test": {"label": one}}}
    found = added([training, training, {}], {"label": Target("label", 2, ("a", "b"))})
    assert found == {"test": {"label": {
        "classes": ["a", "b"], "total": [4, 0], "right": [2, 0], "answered": [2, 2], "recall": [0.5, None], "largest": 0,
        "largest_share": 1.0, "confused": [[0, 1, 2]],
    }}}  # fmt: skip


def test_the_page_shows_matrix_and_pictures_and_stays_small(trained: Run) -> None:
    html, best = page(trained), trained.best()
    assert best is not None and f"What {best['name']} answers" in html and 'class="matrix"' in html and "The surest mistakes" in html
    pictures = [a for name, a in Balanced(html.replace("<img ", "<meta ")).tags if name == "meta" and "src" in a]
    assert 0 < len(pictures) <= 16 and all((a["src"] or "").startswith("data:image/png;base64,iVBOR") for a in pictures)
    assert len(html.encode()) < 1_000_000


def test_many_classes_are_told_by_the_worst(made_up: Run) -> None:
    few, many = with_answers(made_up, 20), with_answers(made_up, 21)
    assert 'class="matrix"' in page(few) and "Confused most" not in page(few)
    assert 'class="matrix"' not in page(many) and "Recognized worst" in page(many) and "Confused most" in page(many)
    assert "kind-3kind-4330.0 %" in text_on(many)


def test_classes_that_are_never_answered_are_named(made_up: Run) -> None:
    run = with_answers(made_up, 4, answered=[13, 27, 0, 0], total=[10, 10, 20, 0], right=[10, 10, 0, 0], recall=[1.0, 1.0, 0.0, None])
    best = run.best()
    assert best is not None
    assert never_answered(run)[0].startswith(f"{best['name']} never answers 1 of the 4 classes on test: kind-2.")
    assert never_answered(run)[0] in verdict(run) and "never answers" in words(run)
    assert never_answered(with_answers(made_up, 4)) == []


def test_words_name_recall_and_confusions(made_up: Run) -> None:
    said = " ".join(words(with_answers(made_up, 4)).split())
    assert "recall by class on test: kind-3 70.0 %, kind-2 80.0 %, kind-1 90.0 %, kind-0 100.0 %" in said
    assert "confused most: kind-3 taken for kind-0 3 x; kind-2 taken for kind-3 2 x" in said and "largest class: kind-0, 25.0 %" in said


@pytest.mark.parametrize("changes", [{"total": [1, 2]}, {"confused": [[0, 99, 1]]}, {"largest": 40}, {"classes": None}, {"recall": "x"}])
def test_answers_that_are_none_are_left_out(made_up: Run, changes: dict[str, Any]) -> None:
    run = with_answers(made_up, 4, **changes)
    assert answers_of(run) == [] and page(run) == page(made_up)


def test_pictures_that_are_none_are_left_out(trained: Run, tmp_path: Path) -> None:
    best = trained.best()
    assert best is not None
    run, file = replace(trained, folder=tmp_path), tmp_path / "finalists" / f"{best['name']}.examples.json"
    file.parent.mkdir()
    good = json.loads((trained.folder / "finalists" / file.name).read_text())["wrong"]
    for rows in ([{**good[0], "png": '"><script>'}], [{**good[0], "png": "QUJD"}], [{**good[0], "class": 999}], [7], None):
        file.write_text(json.dumps({"wrong": rows, "right": []}))
        assert "<img" not in page(run) and "<script" not in page(run)
    file.write_text(json.dumps({"wrong": good, "right": []}))
    assert page(run).count("<img") == len(good)


def test_long_names_of_classes_stand_upright(made_up: Run) -> None:
    assert page(with_answers(made_up, 4)).count('<span class="upright">kind-') == 4
    assert 'class="upright"' not in page(with_answers(made_up, 4, classes=["a", "b", "c", "d"]))


def test_labels_have_precision_recall_f1_and_support(made_up: Run) -> None:
    three = {"classes": ["sea", "dunes", "rare"], "total": [40, 10, 2], "right": [30, 9, 0], "answered": [50, 9, 0], "confused": []}
    run = with_answers(made_up, 3, **three, recall=[0.75, 0.9, 0.0], samples=60, largest=0, largest_share=40 / 60)
    said = text_on(run)
    table = "label precision recall F1 support rare – 0.0 % 0.0 % 2 sea 60.0 % 75.0 % 66.7 % 40 dunes 100.0 % 90.0 % 94.7 % 10"
    assert table.replace(" ", "") in said.replace(" ", "")
    assert "A row is a class" not in said and "The largest class" not in said.partition("answers On")[2]
    assert "F1 by label on test: rare 0.0 %, sea 66.7 %, dunes 94.7 %" in words(run)
    (never,) = never_answered(run)
    assert "never answers 1 of the 3 labels on test: rare. class_weights: balanced" in never
    assert answers_of(with_answers(made_up, 3, samples="many")) == []


def test_labels_are_counted_one_by_one() -> None:
    from nasforge.data import Batch
    from nasforge.tasks.multilabel import Multilabel

    task = Multilabel("tags", Target("labels", 3, ("a", "b", "c")))
    y = torch.tensor([[1, 0, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.float)
    logits = torch.tensor([[2.0, -1, -1], [1, -3, -2], [3, 4, -1], [-1, -1, -1]])
    scorer = task.scorer()
    for rows in (slice(0, 2), slice(2, 4)):
        scorer.update(logits[rows], Batch({"input": y[rows]}, {"tags": y[rows]}))
    told = task.answers(scorer)["tags"]
    assert told == {"total": [2, 2, 1], "right": [2, 1, 0], "answered": [3, 1, 0], "confused": [], "samples": 4}
    found = added([{"answers": {"test": {"tags": told}}}] * 2, {"tags": task.target})["test"]["tags"]
    assert found["samples"] == 8 and found["largest_share"] == 0.5 and found["total"] == [4, 4, 2]


def test_names_of_classes_are_text(made_up: Run) -> None:
    html = page(with_answers(made_up, 2, classes=["<b>bold", "a & b"]))
    assert "<b>bold" not in html and "&lt;b&gt;bold" in html and "a &amp; b" in html
