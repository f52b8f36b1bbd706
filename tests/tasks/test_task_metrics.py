"""Metrics against scikit-learn and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor, nn

from nasforge.data import Batch, DataSpec, Target, TensorDataset
from nasforge.tasks import TASKS, Task
from nasforge.tasks.classification import area_under_roc
from nasforge.tasks.multilabel import mean_average_precision
from nasforge.tasks.segmentation import mean_iou
from nasforge.train import score

N, K = 200, 7


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def task_for(name: str, size: int, **values: Any) -> Task:
    kind = TASKS[name].kind
    return TASKS[name](kind, Target(kind, size, **values))


def scores(task: Task, output: np.ndarray, y: np.ndarray, size: int = 64) -> dict[str, float]:
    """The metrics of an output, taken in by batches."""
    scorer = task.scorer()
    whole = Batch({"input": torch.zeros(len(y), 1)}, {task.key: torch.from_numpy(y)})
    for start in range(0, len(y), size):
        scorer.update(torch.from_numpy(output[start : start + size]), whole[start : start + size])
    return scorer.result()


# --- classes ----------------------------------------------------------------------------------------------------------


def classes(seed: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits that know a little, of few levels so that many are equal where it is asked for, and rare classes."""
    y = rng(seed).choice(K, N, p=np.arange(1, K + 1) / 28)
    logits = rng(seed + 1).normal(size=(N, K)).astype(np.float32)
    logits[np.arange(N), y] += 1.0
    return (logits if levels is None else np.round(logits * levels) / levels), y


@pytest.mark.parametrize("seed", range(4))
def test_classification_is_scikit_learns(seed: int) -> None:
    logits, y = classes(seed)
    found = scores(task_for("classification", K), logits, y)
    guess, shares = logits.argmax(1), torch.from_numpy(logits).softmax(1).double().numpy()
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, guess))
    assert found["top5"] == pytest.approx(sk.top_k_accuracy_score(y, logits, k=5))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, guess))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, guess, average="macro"))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y, shares / shares.sum(1, keepdims=True), multi_class="ovr"), abs=1e-6)
    assert found["loss"] == pytest.approx(sk.log_loss(y, shares / shares.sum(1, keepdims=True)), rel=1e-5)


def test_equal_scores_count_half_in_the_area() -> None:
    logits, y = classes(7, levels=1)
    columns = [sk.roc_auc_score(y == k, logits[:, k]) for k in range(K)]
    assert area_under_roc(torch.from_numpy(logits), torch.nn.functional.one_hot(torch.from_numpy(y), K)) == pytest.approx(np.mean(columns))
    assert area_under_roc(torch.zeros(6, 2), torch.tensor([[1, 0]] * 3 + [[0, 1]] * 3)) == 0.5


def test_classes_that_never_occur_do_not_count() -> None:
    logits, y = classes(8)
    y = np.where(y == 3, 4, y)
    found = scores(task_for("classification", K), logits, y)
    guess, shares = logits.argmax(1), torch.from_numpy(logits).softmax(1).numpy()
    present = [k for k in range(K) if k != 3]
    assert found["auc"] == pytest.approx(np.mean([sk.roc_auc_score(y == k, shares[:, k]) for k in present]), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(np.mean([(guess[y == k] == k).mean() for k in present]))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, guess, average="macro"))  # class 3 is guessed: it counts as 0
    y[:] = 2
    alone = scores(task_for("classification", K), logits, y)
    assert alone["auc"] == 0.5 and alone["balanced_accuracy"] == alone["accuracy"] == pytest.approx((guess == 2).mean())


def test_up_to_five_classes_have_no_top_five() -> None:
    found = scores(task_for("classification", 3), rng().normal(size=(20, 3)).astype(np.float32), rng().integers(0, 3, 20))
    assert "top5" not in found and "top5" not in {metric.name for metric in task_for("classification", 5).metrics}
    assert "top5" in {metric.name for metric in task_for("classification", 6).metrics}


# --- pixels and steps -------------------------------------------------------------------------------------------------


class Fixed(nn.Module):
    """Gives the logits that belong to the number of a sample."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[x.long().flatten(1)[:, 0]]


def test_pixels_by_hand() -> None:
    guess = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [2, 2]]])
    y = torch.tensor([[[0, 1], [0, -100]], [[0, 0], [2, 1]]])
    model = Fixed(10.0 * nn.functional.one_hot(guess, 3).movedim(-1, 1))
    task = task_for("segmentation", 3)
    spec = DataSpec({"input": [1]}, {"mask": task.target})
    data = TensorDataset("two", "two", spec, {"val": Batch({"input": torch.arange(2.0)[:, None]}, {"mask": y})})
    found = score(model.train(), data, "val", task, batch_size=1)
    assert model.training
    assert found["accuracy"] == pytest.approx(5 / 7)
    assert found["miou"] == pytest.approx((3 / 4 + 1 / 3 + 1 / 2) / 3)  # 0: 3 of 4, 1: 1 of 3, 2: 1 of 2
    right, wrong = math.log(1 + 2 * math.exp(-10)), math.log(1 + 2 * math.exp(-10)) + 10
    assert found["loss"] == pytest.approx((5 * right + 2 * wrong) / 7)
    assert mean_iou(torch.tensor([[3, 0], [0, 0]])) == 1.0  # a class that never occurs does not count


def test_mean_iou_is_the_mean_of_scikit_learns_jaccard_scores() -> None:
    logits, y = rng(1).normal(size=(9, 4, 6, 5)).astype(np.float32), rng(2).integers(0, 4, (9, 6, 5))
    y[rng(3).random(y.shape) < 0.2] = -100
    found = scores(task_for("segmentation", 4), logits, y, size=4)
    known, guess = y != -100, logits.argmax(1)
    assert found["miou"] == pytest.approx(sk.jaccard_score(y[known], guess[known], average="macro"))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y[known], guess[known]))


def test_steps_and_perplexity_over_what_is_known() -> None:
    logits, y = rng(4).normal(size=(11, 6, K)).astype(np.float32), rng(5).integers(0, K, (11, 6))
    y[:, 4:], y[3] = -100, -100  # one sample counts in nothing
    known, shares = y != -100, torch.from_numpy(logits).softmax(-1).double().numpy()
    loss = sk.log_loss(y[known], shares[known] / shares[known].sum(1, keepdims=True), labels=range(K))
    for name in ("tagging", "seq2seq"):
        found = scores(task_for(name, K), logits, y, size=4)
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(y[known], logits.argmax(-1)[known]))
        assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    even = scores(task_for("seq2seq", K), np.zeros_like(logits), y)
    assert even["perplexity"] == pytest.approx(K)  # who knows nothing doubts between all
    assert math.isfinite(scores(task_for("seq2seq", K), 1e4 * logits, y)["perplexity"])


# --- several labels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "levels"), [(0, None), (1, None), (2, 2), (3, 1)])
def test_multilabel_is_scikit_learns(seed: int, levels: int | None) -> None:
    y = (rng(seed).random((N, 4)) < (0.5, 0.3, 0.1, 0.03)).astype(np.float32)
    y[0], y[1] = 1, 0
    logits = (rng(seed + 9).normal(size=(N, 4)) + y).astype(np.float32)
    logits = logits if levels is None else np.round(logits * levels) / levels
    found = scores(task_for("multilabel", 4), logits, y)
    given = logits > 0
    assert found["mean_ap"] == pytest.approx(sk.average_precision_score(y, logits, average="macro"))
    assert found["micro_f1"] == pytest.approx(sk.f1_score(y, given, average="micro"))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, given, average="macro"))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y, logits, average="macro"))
    shares = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert found["loss"] == pytest.approx(np.mean([sk.log_loss(y[:, k], shares[:, k]) for k in range(4)]), rel=1e-5)


def test_labels_that_no_sample_has_are_left_out_of_precision_and_area() -> None:
    y, logits = (rng(1).random((N, 3)) < 0.4).astype(np.float32), rng(2).normal(size=(N, 3)).astype(np.float32)
    y[:, 1] = 0
    found = scores(task_for("multilabel", 3), logits, y)
    seen = [0, 2]
    assert found["mean_ap"] == pytest.approx(sk.average_precision_score(y[:, seen], logits[:, seen]))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y[:, seen], logits[:, seen]))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(y, logits > 0, average="macro", zero_division=0))
    assert mean_average_precision(torch.zeros(4, 2), torch.zeros(4, 2)) == 0
    nothing = scores(task_for("multilabel", 3), -np.ones_like(logits), np.zeros_like(y))
    assert (nothing["micro_f1"], nothing["macro_f1"], nothing["auc"]) == (0, 0, 0.5)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "scale"), [((0, 0, 0), (1, 1, 1)), ((1e6, -5, 0), (3, 0.01, 1e4)), ((1e6, 1e6, 1e6), (1, 10, 100))])
def test_regression_is_scikit_learns_in_the_units_of_the_data(offset: tuple[float, ...], scale: tuple[float, ...]) -> None:
    y = (rng(1).normal(size=(N, 3)) * scale + offset).astype(np.float32)
    exact = y.astype(np.float64)
    task = task_for("regression", 3, mean=tuple(exact.mean(0)), std=tuple(exact.std(0)))
    output = ((exact - exact.mean(0)) / exact.std(0) + 0.3 * rng(2).normal(size=(N, 3))).astype(np.float32)
    guess = output.astype(np.float64) * exact.std(0) + exact.mean(0)
    found = scores(task, output, y)
    assert found["mse"] == pytest.approx(sk.mean_squared_error(exact, guess), rel=1e-9)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(exact, guess), rel=1e-9)
    assert found["r2"] == pytest.approx(sk.r2_score(exact, guess), rel=1e-9) and 0.8 < found["r2"] < 0.95
    assert found["loss"] == pytest.approx(float((((guess - exact) / exact.std(0)) ** 2).mean()), rel=1e-9)


def test_the_mean_has_an_r2_of_nothing_and_a_constant_value_does_no_harm() -> None:
    y = np.stack([np.arange(9), np.full(9, 4)], 1).astype(np.float32)
    task = task_for("regression", 2, mean=(4.0, 4.0), std=(float(y[:, 0].std()), 1.0))
    assert scores(task, np.zeros((9, 2), np.float32), y)["r2"] == pytest.approx(0, abs=1e-12)


# --- what is not finite ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(TASKS))
def test_a_network_that_gives_no_numbers_has_no_finite_loss_and_raises_nothing(name: str) -> None:
    """So that a diverged training is told as one."""
    shapes = {"mask": ((4, 3, 5, 5), (4, 5, 5)), "steps": ((4, 5, 3), (4, 5)), "label": ((4, 3), (4,))}
    kind = TASKS[name].kind
    output, target = shapes.get(kind, ((4, 3), (4, 3)))
    y = np.ones(target, np.float32 if kind in ("value", "labels") else np.int64)
    found = scores(task_for(name, 3, mean=(0.0,) * 3, std=(1.0,) * 3), np.full(output, np.nan, np.float32), y)
    assert not math.isfinite(found["loss"])
