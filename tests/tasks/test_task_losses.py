"""Losses: cross entropy in its layouts, smoothing, mixed targets, and what weighs classes, samples and heads."""

from __future__ import annotations

import dataclasses
from typing import Any

import made
import pytest
import torch
from torch import nn

from nasforge.data import Batch, Mix, Target, load
from nasforge.errors import UserError
from nasforge.evaluation.train import fit_to_data
from nasforge.networks.build import build
from nasforge.tasks import TASKS, Task, task_of
from nasforge.tasks.losses import class_weights, cross_entropy, mixed_cross_entropy
from nasforge.train import Recipe, Stop, fit, score


def task_for(name: str, size: int, **values: Any) -> Task:
    kind = TASKS[name].kind
    return TASKS[name](kind, Target(kind, size, **values))


def test_cross_entropy_is_the_negative_logarithm_of_the_true_class() -> None:
    logits, y = torch.tensor([[14.0, 12.0]]), torch.tensor([0])
    assert float(cross_entropy(logits, y).neg().exp()) == pytest.approx(0.8808, abs=5e-5)  # catalogue, softmax


def test_label_smoothing_numbers() -> None:
    """Catalogue, label_smoothing, prints 0.9 and 0.0111 for K = 10, eps = 0.1 in the form eps/(K - 1).

    Ours is the form of Szegedy et al. 2016, eps/K, which gives 0.91 and 0.01, and the printed targets at
    eps * K/(K - 1) = 1/9.
    """

    def targets(eps: float) -> list[float]:
        """The gradient of the loss is the softmax less the target."""
        logits = torch.zeros(1, 10, requires_grad=True)
        cross_entropy(logits, torch.tensor([0]), eps).backward()
        assert logits.grad is not None
        return (0.1 - logits.grad[0]).tolist()

    assert targets(0.1) == pytest.approx([0.91] + [0.01] * 9, abs=1e-6)
    assert targets(1 / 9) == pytest.approx([0.9] + [0.0111] * 9, abs=5e-5)


def test_auxiliary_losses_count_0_3_each() -> None:
    assert Recipe().aux_weight == 0.3  # catalogue, aux_classifier
    main, first, second, y = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    joined = task_for("classification", 3).loss((main, [first, second]), Batch({"input": y}, {"label": y}), Recipe(label_smoothing=0.1))
    expected = cross_entropy(main, y, 0.1) + 0.3 * cross_entropy(first, y, 0.1) + 0.3 * cross_entropy(second, y, 0.1)
    assert torch.allclose(joined, expected)


def test_mixed_loss_is_that_of_the_mixed_targets() -> None:
    logits, y, other = torch.randn(4, 3), torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 2])
    weight = torch.tensor([0.2, 0.5, 0.9, 1.0])
    soft = weight[:, None] * nn.functional.one_hot(y, 3) + (1 - weight[:, None]) * nn.functional.one_hot(other, 3)
    expected = -(soft * logits.log_softmax(1)).sum(1).mean()
    mix = Mix({"label": other}, weight)
    assert torch.allclose(mixed_cross_entropy(logits, y, other, mix), expected)
    batch = Batch({"input": y}, {"label": y}, mix=mix)
    assert torch.allclose(task_for("classification", 3).loss(logits, batch, Recipe()), expected)


def test_mixed_labels_and_values_are_learned_in_between() -> None:
    first, other, weight = torch.rand(4, 2).round(), torch.rand(4, 2).round(), torch.tensor([0.2, 0.5, 0.9, 1.0])
    output = torch.randn(4, 2)
    between = weight[:, None] * first + (1 - weight[:, None]) * other
    batch = Batch({"input": output}, {"labels": first, "value": first}, mix=Mix({"labels": other, "value": other}, weight))
    found = task_for("multilabel", 2).loss(output, batch, Recipe())
    assert torch.allclose(found, nn.functional.binary_cross_entropy_with_logits(output, between))
    found = task_for("regression", 2, mean=(0.0, 0.0), std=(1.0, 1.0)).loss(output, batch, Recipe())
    expected = weight * (output - first).square().mean(1) + (1 - weight) * (output - other).square().mean(1)
    assert torch.allclose(found, expected.mean())


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 4)])
def test_ignored_targets_count_in_no_loss(shape: tuple[int, ...]) -> None:
    y = torch.zeros(shape, dtype=torch.long)
    logits = torch.randn(*shape, 3) if len(shape) == 2 else torch.randn(2, 3, *shape[1:])
    y[0] = -100
    assert torch.allclose(cross_entropy(logits, y), cross_entropy(logits[1:], y[1:]))
    assert float(cross_entropy(logits, torch.full_like(y, -100))) == 0


# --- what weighs classes ----------------------------------------------------------------------------------------------

CPU = torch.device("cpu")
PETS = Target("label", 3, ("cat", "dog", "2"), 60, (30, 20, 10))


def test_balanced_weights_are_inverse_to_how_often_a_class_occurs() -> None:
    found = class_weights("balanced", PETS, CPU)
    assert found is not None and found.tolist() == pytest.approx([60 / (3 * 30), 60 / (3 * 20), 60 / (3 * 10)])
    assert float((found * torch.tensor(PETS.counts)).sum()) == pytest.approx(60)  # as many as without weights
    assert class_weights(None, PETS, CPU) is None
    empty = class_weights("balanced", Target("mask", 2, counts=(4, 0)), CPU)
    assert empty is not None and bool(torch.isfinite(empty).all())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [({"dog": 3.0}, [1, 3, 1]), ({"0": 2.0}, [2, 1, 1]), ({1: 4.0}, [1, 4, 1]), ({"2": 5.0}, [1, 1, 5]), ({}, [1, 1, 1])],
)
def test_weights_by_name_or_number(wanted: dict[Any, float], expected: list[float]) -> None:
    found = class_weights(wanted, PETS, CPU)
    assert found is not None and found.tolist() == expected
    assert Recipe.from_dict({"class_weights": wanted}).class_weights == {str(k): v for k, v in wanted.items()}


@pytest.mark.parametrize("wanted", [{"dgo": 1.0}, {"3": 1.0}, {"-1": 1.0}])
def test_weights_of_no_class_are_refused(wanted: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"recipe\.class_weights: no class is called"):
        class_weights(wanted, PETS, CPU)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"class_weights": "balancd"}, "recipe.class_weights: must be balanced, null or weights by name, got 'balancd'"),
        ({"class_weights": {"a": -1}}, "recipe.class_weights.a: must be a number from 0"),
        ({"head_weights": 3}, "recipe.head_weights: must be weights by name"),
        ({"sampling": "balance"}, "did you mean 'balanced'"),
        ({"monitor": "acuracy"}, "recipe.monitor: must be a metric, got 'acuracy'; did you mean 'accuracy'"),
    ],
)
def test_mistakes_in_what_weighs(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe.from_dict(values)


@pytest.mark.parametrize("kind", ["label", "mask", "steps"])
def test_weighted_losses_are_torchs(kind: str) -> None:
    task = {"label": "classification", "mask": "segmentation", "steps": "tagging"}[kind]
    shape = {"label": (8,), "mask": (8, 5, 5), "steps": (8, 5)}[kind]
    y = torch.randint(3, shape)
    logits = torch.randn(*shape, 3)
    weight = torch.tensor([2 / 3, 1.0, 2.0])
    expected = nn.functional.cross_entropy(logits.reshape(-1, 3), y.flatten(), weight)
    output = logits.movedim(-1, 1) if kind == "mask" else logits
    found = task_for(task, 3, counts=(30, 20, 10)).loss(output, Batch({"input": y}, {kind: y}), Recipe(class_weights="balanced"))
    assert torch.allclose(found, expected)


def test_weighted_labels_count_those_who_have_them_as_much_as_those_who_do_not() -> None:
    y, output = torch.tensor([[1.0, 0.0]] * 2 + [[0.0, 0.0]] * 6), torch.zeros(8, 2)
    task, batch = task_for("multilabel", 2, samples=8, counts=(2, 0)), Batch({"input": y}, {"labels": y})
    found = task.loss(output, batch, Recipe(class_weights="balanced"))
    assert float(found) == pytest.approx(float(torch.tensor(2.0).log()) * (2 * 3 + 6 + 8) / 16)
    with pytest.raises(UserError, match="of several labels a sample must be balanced or null"):
        task.loss(output, batch, Recipe(class_weights={"0": 2.0}))


def short(**values: Any) -> Recipe:
    return Recipe.from_dict({"epochs": 3, "batch_size": 16, "precision": "fp32", "channels_last": False, **values})


def network(name: str, data: Any) -> nn.Module:
    torch.manual_seed(3)
    return build(fit_to_data(made.NETWORKS[name], data))


def test_weights_change_a_training_towards_the_rare_class() -> None:
    data = made.small("label")
    recalls = []
    for weights in (None, "balanced", {"2": 30.0}):
        fit(model := network("label", data), data, short(epochs=12, lr=0.02, class_weights=weights))
        batch = next(data.batches("train", 1000))
        with torch.no_grad():
            recalls.append(float((model.eval()(batch.x).argmax(1) == 2)[batch.y == 2].double().mean()))
    assert recalls[0] < recalls[1] <= recalls[2]


def test_weights_and_balanced_samples_need_classes() -> None:
    values = made.small("value", "regression")
    with pytest.raises(UserError, match=r"recipe\.class_weights: the task regression has no classes; leave them out"):
        fit(network("value", values), values, short(class_weights="balanced"))
    with pytest.raises(UserError, match=r"recipe\.sampling: balanced needs one class a sample, the task regression has none"):
        fit(network("value", values), values, short(sampling="balanced"))
    with pytest.raises(UserError, match="no class is called 'x'"):
        fit(network("label", made.small("label")), made.small("label"), short(class_weights={"x": 2.0}))


# --- what weighs samples ----------------------------------------------------------------------------------------------


def test_balanced_batches_draw_the_classes_equally() -> None:
    data = load("digits")
    y = data.train.y
    few = data.train[((y != 9) | ((y == 9).cumsum(0) <= 3)) & (torch.arange(len(y)) < 500)]
    uneven = dataclasses.replace(data, parts={**data.parts, "train": few})
    counts = uneven.train.y.bincount(minlength=10)
    assert int(counts[9]) == 3 and int(counts[:9].min()) > 40
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([batch.y for _ in range(8) for batch in uneven.batches("train", 64, generator=generator, balanced="label")])
    assert len(drawn) == 8 * len(few)
    share = drawn.bincount(minlength=10) / len(drawn)
    assert share.tolist() == pytest.approx([0.1] * 10, abs=4 * (0.09 / len(drawn)) ** 0.5)  # four deviations of a binomial
    plain = torch.cat([batch.y for batch in uneven.batches("train", 64, generator=generator)])
    assert torch.equal(plain.bincount(minlength=10), counts)


def test_balanced_sampling_trains_with_balanced_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    data = made.small("label")
    asked: list[Any] = []
    real = type(data).batches

    def batches(self: Any, part: Any, size: int, *, generator: Any = None, balanced: str | None = None) -> Any:
        if generator is not None:
            asked.append(balanced)
        return real(self, part, size, generator=generator, balanced=balanced)

    monkeypatch.setattr(type(data), "batches", batches)
    fit(network("label", data), data, short(sampling="balanced"))
    fit(network("label", data), data, short())
    assert asked == ["label"] * 3 + [None] * 3


# --- what weighs heads ------------------------------------------------------------------------------------------------


def test_head_weights_multiply_the_losses_of_heads() -> None:
    data = made.small("several")
    task, batch = task_of(data.spec), next(data.batches("train", 20))
    output = {"ink": torch.randn(20, 3, 8, 8), "bright": torch.randn(20, 2)}
    ink, bright = (one.loss(output[head], batch, Recipe()) for head, one in task.tasks.items())  # type: ignore[attr-defined]
    assert torch.allclose(task.loss(output, batch, Recipe()), ink + bright)
    assert torch.allclose(task.loss(output, batch, Recipe(head_weights={"ink": 0.5, "bright": 3.0})), 0.5 * ink + 3 * bright)
    assert torch.allclose(task.loss(output, batch, Recipe(head_weights={"bright": 0.0})), ink)


def test_a_head_without_weight_does_not_learn_and_a_wrong_name_is_refused() -> None:
    data = made.small("several")
    model = network("several", data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, data, short(head_weights={"bright": 0.0}, weight_decay=0.0, ema=None))
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert any(name.startswith("heads.ink") for name in moved) and not any(name.startswith("heads.bright") for name in moved)
    with pytest.raises(UserError, match=r"recipe\.head_weights\.brigth: the data have no such target; did you mean 'bright'"):
        fit(model, data, short(head_weights={"brigth": 2.0}))


# --- what is watched --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("monitor", "column"), [(None, "accuracy"), ("loss", "val_loss"), ("balanced_accuracy", "balanced_accuracy")])
def test_early_stopping_watches_what_it_is_told_to(monitor: str | None, column: str) -> None:
    data = made.small("label")
    recipe = short(epochs=60, lr=0.1, schedule="constant", early_stopping=4, monitor=monitor)
    fitted = fit(model := network("label", data), data, recipe)
    assert fitted.stopped is Stop.EARLY and fitted.epochs < 60
    sign = -1 if column == "val_loss" else 1
    best = max(fitted.curve, key=lambda row: (sign * row[column], -row["val_loss"]))
    assert best["epoch"] == fitted.epochs - 4
    assert fitted.metrics == pytest.approx(score(model, data, "val", task_of(data.spec)))
    assert fitted.metrics[monitor or "accuracy"] == pytest.approx(best[column])


def test_what_is_watched_must_be_a_metric_of_the_task() -> None:
    data = made.small("label")
    with pytest.raises(UserError, match=r"recipe\.monitor: must be a metric of the task classification, got 'miou'; valid: accuracy, loss"):
        fit(network("label", data), data, short(monitor="miou"))
    several = made.small("several")
    with pytest.raises(UserError, match=r"task heads, got 'miou'; valid: miou@ink"):
        fit(network("several", several), several, short(monitor="miou"))
    assert fit(network("several", several), several, short(monitor="accuracy@bright", early_stopping=1)).epochs <= 3
