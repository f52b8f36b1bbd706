"""What a classifier answers for each class, in whole numbers, and the single images that are kept to be shown."""

from __future__ import annotations

import io
from base64 import b64decode
from pathlib import Path

import pytest
import torch
from support import going_on

from nasforge.data import IGNORE, Batch, Target, load
from nasforge.evaluation.base import Context, Job
from nasforge.evaluation.train import Train, examples_file
from nasforge.tasks.classification import Classification
from nasforge.tasks.examples import MOST, SIDE, Examples, png
from nasforge.tasks.heads import Heads
from nasforge.tasks.regression import Regression
from nasforge.tasks.segmentation import Segmentation

NET = {"input": [1, 8, 8], "classes": 10, "body": ["flatten", {"linear": {"out": 16, "act": "relu"}}], "head": ["linear"]}


def logits_for(answers: list[int], classes: int, sure: float = 5.0) -> torch.Tensor:
    return sure * torch.nn.functional.one_hot(torch.tensor(answers), classes).float()


def test_answers_are_the_confusion_matrix() -> None:
    task = Classification("label", Target("label", 3))
    scorer = task.scorer()
    truth, answers = [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 0, 1, 1, 1]
    for cut in (slice(0, 3), slice(3, 8)):
        scorer.update(logits_for(answers[cut], 3), Batch({"input": torch.zeros(len(truth[cut]), 1)}, {"label": torch.tensor(truth[cut])}))
    assert task.answers(scorer) == {"label": {
        "total": [3, 2, 3], "right": [1, 1, 0], "answered": [2, 6, 0], "confused": [[2, 1, 3], [0, 1, 2], [1, 0, 1]],
    }}  # fmt: skip
    assert sum(task.answers(scorer)["label"]["right"]) / 8 == scorer.result()["accuracy"]


def test_pixels_that_are_ignored_have_no_answer() -> None:
    task = Segmentation("mask", Target("mask", 2))
    scorer = task.scorer()
    mask = torch.tensor([[[0, 1], [1, IGNORE]]])
    scorer.update(torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)], 1), Batch({"input": torch.zeros(1, 3, 2, 2)}, {"mask": mask}))
    assert task.answers(scorer)["mask"] == {"total": [1, 2], "right": [0, 2], "answered": [0, 3], "confused": [[0, 1, 1]]}


def test_heads_answer_for_those_that_have_classes() -> None:
    size = Regression("size", Target("value", 1, mean=(0.0,), std=(1.0,)))
    task = Heads({"kind": Classification("kind", Target("label", 2)), "size": size})
    scorer, batch = task.scorer(), Batch({"input": torch.zeros(2, 1)}, {"kind": torch.tensor([0, 1]), "size": torch.zeros(2, 1)})
    scorer.update({"kind": logits_for([0, 0], 2), "size": torch.zeros(2, 1)}, batch)
    assert task.answers(scorer) == {"kind": {"total": [1, 1], "right": [1, 0], "answered": [2, 0], "confused": [[1, 0, 1]]}}


def test_the_surest_mistakes_are_kept_over_batches() -> None:
    examples, generator = Examples("label"), torch.Generator().manual_seed(0)
    sureness = [float(i) for i in range(1, 21)]
    for part in (sureness[::2], sureness[1::2]):
        logits = torch.cat([logits_for([1], 3, sure) for sure in part])
        x = torch.rand(len(part), 1, 4, 4, generator=generator)
        examples.update(logits, Batch({"input": x}, {"label": torch.zeros(len(part), dtype=torch.long)}))
    found = examples.result()["wrong"]
    kept = logits_for([1] * MOST, 3, 1.0) * torch.tensor(sorted(sureness, reverse=True)[:MOST])[:, None]
    assert [one["confidence"] for one in found] == pytest.approx(kept.softmax(1)[:, 1].tolist(), abs=1e-4)
    assert all((one["class"], one["answer"]) == (0, 1) for one in found) and examples.result()["right"] == []


def test_one_right_answer_of_each_class_is_kept() -> None:
    examples, labels = Examples("label"), [2, 2, 0, 0, 1]
    x = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    examples.update(logits_for(labels, 3), Batch({"input": x}, {"label": torch.tensor(labels)}))
    assert [one["class"] for one in examples.result()["right"]] == [2, 0, 1] and examples.result()["wrong"] == []


@pytest.mark.parametrize("shape", [(5, 3), (5, 7, 3), (5, 4, 6, 6)])
def test_what_is_no_image_is_passed_over(shape: tuple[int, ...]) -> None:
    examples = Examples("label")
    examples.update(torch.zeros(5, 2), Batch({"input": torch.zeros(shape)}, {"label": torch.zeros(5, dtype=torch.long)}))
    assert examples.result() == {"wrong": [], "right": []}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_a_png_of_its_pixels(channels: int) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    opened = image.open(io.BytesIO(png(pixels)))
    assert opened.mode == ("L" if channels == 1 else "RGB") and opened.size == (7, 5)
    assert list(opened.tobytes()) == pixels.permute(1, 2, 0).flatten().tolist()


def test_large_images_become_small_pictures() -> None:
    examples = Examples("label")
    examples.update(logits_for([1], 2), Batch({"input": torch.rand(1, 3, 200, 100)}, {"label": torch.tensor([0])}))
    header = b64decode(examples.result()["wrong"][0]["png"])[16:24]
    assert (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")) == (SIDE // 2, SIDE)


def test_a_final_training_reads_test_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, read = load("digits", limit=200), []
    whole = type(data).batches

    def counted(self: object, part: str, *args: object, **options: object) -> object:
        read.append(part)
        return whole(self, part, *args, **options)

    monkeypatch.setattr(type(data), "batches", counted)
    evaluator = Train()
    evaluator.prepare(Context(dataset=data))
    job = Job(NET, full=True, test=True, recipe={"epochs": 2}, weights=str(tmp_path / "w.safetensors"))
    result = evaluator.evaluate(job, going_on)
    assert result.error is None and read.count("test") == 1
    for part, metrics in (("val", result.metrics), ("test", result.test)):
        told = result.answers[part]["label"]
        assert sum(told["total"]) == sum(told["answered"]) == data.size(part)
        assert sum(told["right"]) / data.size(part) == pytest.approx(metrics["accuracy"])
        assert sum(count for _, _, count in told["confused"]) == data.size(part) - sum(told["right"])
    assert examples_file(job.weights or "").is_file()


def test_a_training_of_the_search_keeps_no_answers(tmp_path: Path) -> None:
    evaluator = Train()
    evaluator.prepare(Context(dataset=load("digits", limit=200)))
    result = evaluator.evaluate(Job(NET, recipe={"epochs": 1}, weights=str(tmp_path / "w.safetensors")), going_on)
    assert result.error is None and result.answers == {} and not examples_file(tmp_path / "w.safetensors").exists()
