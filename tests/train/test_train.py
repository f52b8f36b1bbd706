"""Training: recipes, the loop on real digits, kill and resume, and what can go wrong."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import shared_data
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from nasforge.data import Batch, DataSpec, Target, TensorDataset, load
from nasforge.errors import UserError
from nasforge.tasks import TASKS, task_of
from nasforge.train import Fitted, OutOfMemory, Stop, TrainingFailed, fit, precision, score, use_threads
from nasforge.train.loop import Training, has_batch_norm
from nasforge.train.optim import Average, lr_factor, make_optimizer
from nasforge.train.precision import Setting, choose
from nasforge.train.recipe import Recipe, default_recipe

QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 32, "precision": "fp32", "channels_last": False}


def quick(**values: Any) -> Recipe:
    return Recipe.from_dict({**QUICK, **values})


def cnn(width: int = 12, drop: float = 0.0) -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Dropout(drop), nn.Linear(4 * width, 10),
    )  # fmt: skip


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def of_one_batch(name: str, train: Batch, **targets: Target) -> TensorDataset:
    """A data set of one batch, which is the training part and the validation part."""
    inputs = {k: list(x.shape[1:]) if x.is_floating_point() else {"tokens": 9, "length": x.shape[1]} for k, x in train.inputs.items()}
    return TensorDataset(name, name, DataSpec(inputs, targets), {"train": train, "val": train, "test": train[:0]})


@pytest.fixture(scope="module")
def digits() -> TensorDataset:
    return load("digits")


@pytest.fixture(scope="module")
def few(digits: TensorDataset) -> TensorDataset:
    return load("digits", limit=200)


# --- recipes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 1}, "recipe.learning_rate: no such value in a recipe; "),
        ({"batchsize": 8}, "did you mean 'batch_size'"),
        ({"optimizer": "nestrov"}, "recipe.optimizer: must be a known name, got 'nestrov'; did you mean 'nesterov'"),
        ({"schedule": ["cosine"]}, "must be a known name"),
        ({"epochs": 0}, "must be a whole number from 1 to 100000, got 0"),
        ({"epochs": 2.5}, "must be a whole number"),
        ({"epochs": True}, "must be a whole number"),
        ({"lr": "1e-3"}, "must be a number above 0 and at most 100, got '1e-3'"),
        ({"lr": math.nan}, "must be a number above 0"),
        ({"ema": 1.0}, "from 0 to 0.999999, or null, got 1.0"),
        ({"data_fraction": 0}, "above 0 and at most 1"),
        ({"channels_last": 1}, "must be one of true, false, auto, got 1"),
        ({"decay_norm_bias": "auto"}, "must be one of true, false"),
        ({"augment": ["flop"]}, "did you mean 'flip'"),
        ({"augment": {"flip": 2}}, "recipe.augment.flip: must be a number above 0 and at most 1"),
        ({"augment": 3}, "must be names"),
        ({"whiten": "auto"}, "recipe.whiten: must be one of true, false"),
        ({"freeze_stem": 2}, "recipe.freeze_stem: must be a number from 0 to 1, or null"),
        ({"sam": 0}, "recipe.sam: must be a number above 0"),
        ({"views": "all"}, "recipe.views: must be a known name"),
    ],
)
def test_mistakes_in_a_recipe(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recipe.from_dict(values)


def test_a_recipe_names_the_path_and_takes_the_rest_from_its_base() -> None:
    with pytest.raises(UserError, match=r"^train\.lr: "):
        Recipe.from_dict({"lr": -1}, where="train")
    with pytest.raises(UserError, match="names with values"):
        Recipe.from_dict(["lr"])  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"recipe\.lr"):
        Recipe(lr=-1)
    base = Recipe(epochs=7, lr=0.5)
    assert Recipe.from_dict({"lr": 1}, base=base) == Recipe(epochs=7, lr=1.0)


@pytest.mark.parametrize("augment", ["flip", ["flip"], ("flip",), {"flip": None}, {"flip": True}, {"flip": 0.5}])
def test_augment_is_names_or_strengths(augment: Any) -> None:
    assert Recipe.from_dict({"augment": augment}).augment == {"flip": 0.5}


def test_a_recipe_is_plain_data_and_back() -> None:
    recipe = Recipe(augment={"shift": 0.2, "mixup": 0.1}, ema=0.9, channels_last=True)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_dict({"epochs": 4.0}).to_dict()["epochs"] == 4


def test_every_kind_of_data_has_a_short_and_a_full_recipe(few: TensorDataset) -> None:
    image, token = torch.zeros(500, 3, 32, 32), torch.zeros(500, 20, dtype=torch.long)
    label, step = torch.zeros(500, dtype=torch.long), torch.zeros(500, 20, dtype=torch.long)
    cases = [
        (few.train.x, few.train.y, "label"), (image, label, "label"), (image[:, :1], label, "label"), (token, label, "label"),
        (token, step, "steps"), (torch.zeros(500, 20, 4), label, "label"),
        (image, torch.zeros(500, 32, 32, dtype=torch.long), "mask"), (torch.zeros(500, 9, 1), torch.zeros(500, 2), "value"),
        (torch.zeros(500, 9, 1), torch.zeros(500, 3), "labels"),
    ]  # fmt: skip
    for x, y, kind in cases:
        data = of_one_batch("made", Batch({"input": x}, {kind: y}), **{kind: Target(kind, 10)})
        for task in (task(kind, data.spec.target) for task in TASKS.values() if task.kind == kind):
            short, full = default_recipe(task, data), default_recipe(task, data, full=True)
            assert short.epochs < full.epochs
    assert {kind for _, _, kind in cases} == {task.kind for task in TASKS.values()}


# --- schedules and optimizers ---------------------------------------------------------------------------------------


def test_schedules() -> None:
    def at(schedule: str, step: int, warmup: float = 0.0) -> float:
        return lr_factor(Recipe(epochs=10, schedule=schedule, warmup_epochs=warmup), step, 10)

    assert [at("constant", s) for s in (0, 99)] == [1, 1]
    assert [at("linear", s) for s in (0, 50, 75)] == pytest.approx([1, 0.5, 0.25])
    assert [at("cosine", s) for s in (0, 25, 50, 99)] == pytest.approx(
        [1, 0.5 + 0.5 * math.sqrt(0.5), 0.5, 0.5 + 0.5 * math.cos(0.99 * math.pi)]
    )
    assert [at("step", s) for s in (0, 49, 50, 74, 75, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert [at("onecycle", s) for s in (0, 30, 65)] == pytest.approx([0.04, 1, 0.5])
    assert [at("trapezoid", s) for s in (0, 70, 85, 99)] == pytest.approx([1, 1, 0.5, 1 / 30])
    assert [at("cosine", s, 2) for s in (0, 9, 19, 20)] == pytest.approx([0.05, 0.5, 1, 1])
    assert at("linear", 49, 1_000) == 1  # a warm-up longer than the training takes half of it


def test_weight_decay_follows_its_rule_and_spares_norms_and_biases() -> None:
    """w <- w - eta (dL/dw + lambda w): catalogue, l2_weight_decay (whose dF/dw is the derivative of the loss)."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).requires_grad_(True)
    before = weights_of(model)
    for decays in (False, True):
        model.load_state_dict(before)
        recipe = Recipe(optimizer="sgd", momentum=0, lr=0.1, weight_decay=0.5, decay_norm_bias=decays)
        optimizer = make_optimizer(model, recipe)
        for p in model.parameters():
            p.grad = torch.full_like(p, 2.0)
        optimizer.step()
        after = model.state_dict()
        assert torch.allclose(after["0.weight"], before["0.weight"] - 0.1 * (2 + 0.5 * before["0.weight"]))
        for name in ("0.bias", "1.weight", "1.bias"):
            rate = 0.5 if decays else 0.0
            assert torch.allclose(after[name], before[name] - 0.1 * (2 + rate * before[name]))


def test_average_follows_its_rule_and_returns_the_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
        average = Average(model, 0.5)
        for value in (1.0, 2.0, 3.0):
            model.weight.fill_(value)
            average.update()
        expected = 0.0
        for t, value in enumerate((1.0, 2.0, 3.0), 1):
            decay = min(0.5, (1 + t) / (10 + t))
            expected = decay * expected + (1 - decay) * value
        with average.in_place():
            assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 3.0


def test_a_soup_is_the_mean_of_the_weights_of_the_last_steps(few: TensorDataset) -> None:
    model, seen = cnn(), []
    steps = 4 * math.ceil(few.size("train") / 32)
    handle = register_optimizer_step_post_hook(lambda optimizer, args, kwargs: seen.append(weights_of(model)))
    fit(model, few, quick(epochs=4, batch_size=32, soup=0.5, precision="fp32", channels_last=False))
    handle.remove()
    assert len(seen) == steps
    name = "0.weight"
    mean = torch.stack([weights[name] for weights in seen[steps // 2 :]]).mean(0)
    assert torch.allclose(model.state_dict()[name], mean, atol=1e-6)


# --- the loop -------------------------------------------------------------------------------------------------------


def test_the_short_default_recipe_learns_the_digits(digits: TensorDataset) -> None:
    model, rows = cnn(24), []
    fitted = fit(model, digits, default_recipe(task_of(digits.spec), digits), on_epoch=lambda e, row: rows.append((e, row)))
    assert fitted.metrics["accuracy"] > 0.96 and fitted.stopped is None
    assert [e for e, _ in rows] == list(range(1, fitted.epochs + 1)) and [r for _, r in rows] == fitted.curve
    task = task_of(digits.spec)
    assert {"epoch", "val_loss", "lr", "seconds"} | {m.name for m in task.metrics} == set(fitted.curve[0])
    assert fitted.metrics == pytest.approx(score(model, digits, "val", task))
    assert score(model, digits, "test", task)["accuracy"] > 0.95


class Watched(TensorDataset):
    """A data set whose test part no training may read."""

    def part(self, name: Any) -> Batch:
        assert name != "test", "fit read the test part"
        return super().part(name)


def test_fit_never_touches_the_test_part(few: TensorDataset) -> None:
    data = Watched(**{f.name: getattr(few, f.name) for f in dataclasses.fields(few) if f.init})
    fit(cnn(), data, quick(epochs=2, resolution=0.5, data_fraction=0.5, augment=["fancy_pca"], init="lsuv"))
    with pytest.raises(AssertionError, match="read the test part"):
        score(cnn(), data, "test", task_of(data.spec))


def test_the_seed_decides_all_and_leaves_the_callers_random_state(few: TensorDataset) -> None:
    recipe = quick(augment=["rotate", "mixup", "cutout"], init="he")
    made = []
    for seed in (1, 1, 2):
        model = cnn(drop=0.3)
        torch.manual_seed(99)
        fit(model, few, recipe, seed=seed)
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(99))
        made.append(weights_of(model))
    assert same(made[0], made[1]) and not same(made[0], made[2])


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "adamw", "rmsprop", "muon"])
def test_every_optimizer_learns(few: TensorDataset, optimizer: str) -> None:
    lr = {"sgd": 0.1, "nesterov": 0.1, "rmsprop": 1e-3, "muon": 0.03}.get(optimizer, 1e-2)
    fitted = fit(cnn(), few, quick(optimizer=optimizer, lr=lr, epochs=6))
    assert fitted.metrics["accuracy"] > 0.6  # 0.1 is chance


@pytest.mark.parametrize(
    "values",
    [
        {"schedule": "onecycle"}, {"ema": 0.9}, {"grad_clip": 0.5}, {"channels_last": True}, {"precision": "bf16"},
        {"init": "lsuv"}, {"init": "orthogonal"}, {"label_smoothing": 0.1}, {"augment": {"mixup": 0.2}},
        {"augment": ["shift", "flip", "crop", "rotate", "zoom", "cutout", "fancy_pca"]}, {"data_fraction": 0.5},
        {"decay_norm_bias": True}, {"optimizer": "muon"}, {"optimizer": "muon", "channels_last": True}, {"schedule": "trapezoid"},
        {"init": "dirac"}, {"whiten": True}, {"freeze_stem": 0.5}, {"sam": 0.05}, {"augment": ["alternating_flip"]},
        {"first_resolution": 0.5}, {"soup": 0.3},
    ],
    ids=str,
)  # fmt: skip
def test_every_option_changes_the_result_and_trains(few: TensorDataset, values: dict[str, Any]) -> None:
    plain, other = cnn(), cnn()
    fit(plain, few, quick(lr=0.01))
    fitted = fit(other, few, quick(lr=0.01, **values))
    assert not same(weights_of(plain), weights_of(other))
    assert fitted.curve[-1]["loss"] < fitted.curve[0]["loss"]
    assert all(v.is_contiguous() and v.dtype != torch.bfloat16 for v in other.state_dict().values())


@pytest.mark.parametrize("channels_last", [False, True])
def test_muon_moves_hidden_filters_by_orthogonal_steps(channels_last: bool) -> None:
    """The step of a filter is orthogonal (its singular values within the bounds of the iteration), of the size of a step of AdamW."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3), nn.Conv2d(12, 12, 3, groups=12), nn.Flatten(), nn.Linear(48, 5))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.requires_grad_(True).to(memory_format=layout)  # type: ignore[call-overload]
    before = weights_of(model)
    optimizer = make_optimizer(model, Recipe(optimizer="muon", lr=0.01, weight_decay=0.0))
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    after = model.state_dict()
    step = (before["1.weight"] - after["1.weight"]).flatten(1)
    values = torch.linalg.svdvals(step / (0.01 * 0.2 * math.sqrt(8 * 9)))
    assert float(values.min()) > 0.5 and float(values.max()) < 1.3
    for name in ("0.weight", "2.weight", "4.weight", "1.bias"):  # the first step of AdamW is the sign of the gradient
        assert torch.allclose((before[name] - after[name]).abs(), torch.tensor(0.01), rtol=0.01)


@pytest.mark.parametrize(
    "values", [{"optimizer": "muon"}, {"freeze_stem": 0.4}, {"first_resolution": 0.5}, {"augment": "alternating_flip"}], ids=str
)
def test_what_depends_on_the_epoch_goes_on_bit_identically(few: TensorDataset, tmp_path: Path, values: dict[str, Any]) -> None:
    recipe, whole, again = quick(epochs=4, precision="fp32", channels_last=False, **values), cnn(), cnn()
    fit(whole, few, recipe)
    fit(cnn(), few, recipe, checkpoint=tmp_path / "c", on_epoch=lambda epoch, row: Stop.PAUSED if epoch == 2 else None)
    fit(again, few, recipe, checkpoint=tmp_path / "c")
    assert same(weights_of(whole), weights_of(again))
    assert all(p.requires_grad for p in again.parameters())


def test_a_frozen_stem_stays_and_learns_in_the_next_training(few: TensorDataset) -> None:
    model = cnn()
    before = weights_of(model)
    fit(model, few, quick(freeze_stem=0))
    first, *rest = [name for name, p in model.named_parameters() if p.ndim > 1]
    assert torch.equal(before[first], model.state_dict()[first])
    assert not any(torch.equal(before[name], model.state_dict()[name]) for name in rest)
    assert all(p.requires_grad for p in model.parameters())


def test_sam_takes_the_gradient_uphill(few: TensorDataset) -> None:
    """w' = w - lr * grad(w + rho * grad(w) / |grad(w)|): Foret et al. 2021, algorithm 1, for one step over all samples."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(True)
    words = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0, "lr": 0.1, "schedule": "constant", "warmup_epochs": 0, "ema": None}
    other, batch = copy.deepcopy(model), few.train
    fit(model, few, quick(epochs=1, batch_size=len(batch), grad_clip=None, sam=0.5, **words))
    loss = lambda: nn.functional.cross_entropy(other(batch.x), batch.y)  # noqa: E731
    params = list(other.parameters())
    grads = torch.autograd.grad(loss(), params)
    length = torch.cat([g.flatten() for g in grads]).norm()
    with torch.no_grad():
        for p, g in zip(params, grads, strict=True):
            p += 0.5 * g / length
    grads_above = torch.autograd.grad(loss(), params)
    for p, g, up, trained in zip(params, grads, grads_above, model.parameters(), strict=True):
        assert torch.allclose(trained, p - 0.5 * g / length - 0.1 * up, atol=1e-6)


def test_images_grow_during_the_training(few: TensorDataset) -> None:
    seen: list[int] = []
    model = cnn()
    model.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[-1]) if module.training else None)
    fit(model, few, quick(epochs=10, first_resolution=0.5, batch_size=1000, precision="fp32", channels_last=False))
    assert seen == sorted(seen) and seen[0] == 4 and seen[-4:] == [8] * 4
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(UserError, match=r"recipe.first_resolution: this network cannot read images of 4x4 pixels"):
        fit(flat, few, quick(first_resolution=0.5))
    with pytest.raises(UserError, match=r"recipe.first_resolution: .* is for images"):
        fit(nn.Linear(10, 1), load("diabetes"), quick(first_resolution=0.5))


def test_views_average_an_image_and_its_mirror_image(few: TensorDataset) -> None:
    model, task = cnn(), task_of(few.spec)
    fit(model, few, quick())
    with torch.no_grad():
        x, y = few.val.x, few.val.y
        mean = (model(x) + model(x.flip(-1))) / 2
    assert score(model, few, "val", task, views="flip")["accuracy"] == pytest.approx(float((mean.argmax(1) == y).float().mean()))
    assert score(model, few, "val", task, views="crops") != score(model, few, "val", task)


def test_gradients_are_clipped_to_their_norm(few: TensorDataset) -> None:
    recipe = quick(optimizer="sgd", momentum=0.0, lr=1.0, weight_decay=0.0, grad_clip=1e-3, epochs=1, warmup_epochs=0.0,
                   schedule="constant", batch_size=200)  # fmt: skip
    model = cnn()
    before = [p.detach().clone() for p in model.parameters()]
    fit(model, few, recipe)
    moved = torch.cat([(p.detach() - b).flatten() for p, b in zip(model.parameters(), before, strict=True)])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-3)  # one step of rate 1


class WithAux(nn.Module):
    """Two heads in training, one in use."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.aux = nn.Linear(64, 10), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        x = x.flatten(1)
        return (self.main(x), [self.aux(x)]) if self.training else self.main(x)


@pytest.mark.parametrize("augment", [(), ("mixup",)])
def test_auxiliary_heads_learn(few: TensorDataset, augment: tuple[str, ...]) -> None:
    model = WithAux()
    before = weights_of(model)
    fit(model, few, quick(aux_weight=0.0, weight_decay=0.0, augment=augment))
    assert torch.equal(model.aux.weight, before["aux.weight"])
    fit(model, few, quick(augment=augment))
    assert not torch.equal(model.aux.weight, before["aux.weight"])


def test_early_stopping_keeps_the_best_weights(few: TensorDataset) -> None:
    fitted = fit(model := cnn(), few, quick(epochs=60, lr=0.05, schedule="constant", early_stopping=3))
    assert fitted.stopped is Stop.EARLY and fitted.epochs < 60
    best = max(fitted.curve, key=lambda row: (row["accuracy"], -row["val_loss"]))
    assert best["epoch"] == fitted.epochs - 3
    assert (fitted.metrics["accuracy"], fitted.metrics["loss"]) == (best["accuracy"], best["val_loss"])
    assert score(model, few, "val", task_of(few.spec)) == pytest.approx(fitted.metrics)


@pytest.mark.parametrize("stop", [Stop.PRUNED, Stop.PAUSED])
def test_on_epoch_stops(few: TensorDataset, stop: Stop) -> None:
    fitted = fit(cnn(), few, quick(epochs=9), on_epoch=lambda epoch, _: stop if epoch == 2 else None)
    assert (fitted.stopped, fitted.epochs) == (stop, 2)


def test_averaged_weights_are_the_result(few: TensorDataset) -> None:
    model = cnn()
    fitted = fit(model, few, quick(ema=0.9))
    assert score(model, few, "val", task_of(few.spec)) == pytest.approx(fitted.metrics)


def test_a_last_batch_of_one_is_left_out_for_batch_norm(digits: TensorDataset) -> None:
    data = dataclasses.replace(digits, parts={**digits.parts, "train": digits.train[:65]})
    fit(cnn(), data, quick(epochs=1))  # nn.BatchNorm1d would raise on one sample
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))
    fit(flat, data, quick(epochs=1))
    assert has_batch_norm(flat) and not has_batch_norm(WithAux())
    with pytest.raises(UserError, match="batch norm needs at least 2 samples a batch"):
        fit(flat, data, quick(batch_size=1))
    fit(WithAux(), data, quick(batch_size=1, epochs=1))


def test_a_share_of_the_data_is_stratified(digits: TensorDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataclasses.replace(digits, parts={**digits.parts, "train": digits.train[digits.train.y.argsort()]})
    seen: list[Tensor] = []

    def look(t: Training, *args: Any) -> Fitted:
        seen.append(torch.cat([batch.y for batch in t.data.batches("train", 50)]))
        return Fitted({}, [], 0.0, 0, None)

    monkeypatch.setattr(sys.modules["nasforge.train.fit"], "_run", look)
    fit(cnn(), data, quick(data_fraction=0.1))
    assert seen[0].bincount().tolist() == pytest.approx([10.8] * 10, abs=1)


class Tagger(nn.Module):
    """Logits for every step: (B, T) -> (B, T, K)."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(vocab, 16), nn.GRU(16, 16, batch_first=True), nn.Linear(16, vocab)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.embed(x))[0])


def test_next_characters_of_shakespeare() -> None:
    data = load(str(shared_data("text/tinyshakespeare.txt")), limit=600)
    fitted = fit(Tagger(65), data, quick(batch_size=16, lr=0.02))
    assert fitted.metrics["loss"] < 3.0 < math.log(65)
    assert 0.2 < fitted.metrics["accuracy"] < 1


def test_label_maps_are_learnt_and_scored_by_miou(few: TensorDataset) -> None:
    parts = {name: Batch({"input": part.x}, {"mask": (part.x[:, 0] > 0).long()}) for name, part in few.parts.items()}
    parts["train"].y[:, 0] = -100
    data = dataclasses.replace(few, parts=parts, spec=DataSpec(few.spec.inputs, {"mask": Target("mask", 2)}))
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    fitted = fit(model, data, quick(epochs=10, lr=0.05, augment=["flip"], early_stopping=9))
    assert 0.9 < fitted.metrics["miou"] < 1 and fitted.metrics["accuracy"] > 0.95


# --- kill and resume ------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a kill: nothing in the training catches it."""


def kill_after(epoch: int) -> Callable[[int, dict[str, float]], None]:
    def on_epoch(now: int, _: dict[str, float]) -> None:
        if now > epoch:
            raise Killed

    return on_epoch


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_killed_training_goes_on_to_bit_identical_weights(few: TensorDataset, tmp_path: Path, channels_last: bool) -> None:
    recipe = quick(epochs=6, ema=0.9, early_stopping=4, augment=["rotate", "mixup"], channels_last=channels_last)
    whole = cnn(drop=0.3)
    expected = fit(whole, few, recipe, seed=5)
    for last in (2, 4):
        with pytest.raises(Killed):
            fit(cnn(drop=0.3), few, recipe, seed=5, checkpoint=tmp_path / "c.pt", checkpoint_every_s=0,
                on_epoch=kill_after(last))  # fmt: skip
    torch.manual_seed(1234)
    resumed, rows = cnn(drop=0.3), []
    fitted = fit(resumed, few, recipe, seed=5, checkpoint=tmp_path / "c.pt", on_epoch=lambda e, _: rows.append(e))
    assert rows == [1, 2, 3, 4, 5, 6]  # the first four told again
    assert same(weights_of(whole), weights_of(resumed)) and fitted.metrics == expected.metrics
    assert [r["loss"] for r in fitted.curve] == [r["loss"] for r in expected.curve]
    done = fit(cnn(), few, recipe, seed=5, checkpoint=tmp_path / "c.pt", on_epoch=lambda e, _: rows.append(e))
    assert rows[6:] == [1, 2, 3, 4, 5, 6] and done.metrics == expected.metrics  # nothing left to do
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_checkpoints_are_not_written_more_often_than_asked(few: TensorDataset, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(cnn(), few, quick(), checkpoint=tmp_path / "c.pt", on_epoch=kill_after(2))
    assert not (tmp_path / "c.pt").exists()  # three epochs take less than 10 s
    fit(cnn(), few, quick(), checkpoint=tmp_path / "c.pt")
    assert (tmp_path / "c.pt").exists()  # the end is always written


def test_a_foreign_or_broken_checkpoint_is_refused(few: TensorDataset, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    fit(cnn(), few, quick(), checkpoint=path)
    with pytest.raises(UserError, match="belongs to a training with seed 0, this one has 1"):
        fit(cnn(), few, quick(), seed=1, checkpoint=path)
    with pytest.raises(UserError, match=r"a training with recipe \{'lr': [\d.e-]+\}, this one has \{'lr': 0\.5\}; .*delete it"):
        fit(cnn(), few, quick(lr=0.5), checkpoint=path)
    with pytest.raises(UserError, match="belongs to a training with weights"):
        fit(cnn(width=5), few, quick(), checkpoint=path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="must be a checkpoint of a training"):
        fit(cnn(), few, quick(), checkpoint=path)
    torch.save([1], path)
    with pytest.raises(UserError, match="got another file"):
        fit(cnn(), few, quick(), checkpoint=path)


def test_a_checkpoint_of_a_version_with_a_shorter_recipe_goes_on(few: TensorDataset, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    expected = fit(cnn(), few, quick(), checkpoint=path)
    state = torch.load(path, weights_only=True)
    for name in ("class_weights", "sampling", "head_weights", "monitor"):
        del state["identity"]["recipe"][name]
    torch.save(state, path)
    assert fit(cnn(), few, quick(), checkpoint=path).metrics == expected.metrics
    with pytest.raises(UserError, match="belongs to a training with recipe"):
        fit(cnn(), few, quick(sampling="balanced"), checkpoint=path)


@pytest.mark.parametrize("stop", [Stop.PRUNED, Stop.PAUSED, Stop.EARLY])
def test_what_was_stopped_from_outside_goes_on_and_what_ended_by_itself_does_not(few: TensorDataset, tmp_path: Path, stop: Stop) -> None:
    path = tmp_path / "c.pt"
    fit(cnn(), few, quick(epochs=4), checkpoint=path, on_epoch=lambda epoch, _: stop if epoch == 2 else None)
    again = fit(cnn(), few, quick(epochs=4), checkpoint=path)
    assert (again.epochs, again.stopped) == ((2, Stop.EARLY) if stop is Stop.EARLY else (4, None))


def test_a_checkpoint_cannot_run_code(few: TensorDataset, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"identity": Evil()}, tmp_path / "c.pt")
    with pytest.raises(UserError, match="must be a checkpoint"):
        fit(cnn(), few, quick(), checkpoint=tmp_path / "c.pt")
    assert not (tmp_path / "ran").exists()


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_diverging_training_says_so(few: TensorDataset) -> None:
    with pytest.raises(TrainingFailed, match=r"loss must be a finite number, got (nan|inf) in epoch \d+; lower lr") as e:
        fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 10)), few,
            quick(optimizer="sgd", lr=100, warmup_epochs=0, epochs=40))  # fmt: skip
    assert "grad_clip" in str(e.value) and isinstance(e.value, UserError)


class Greedy(nn.Module):
    """Asks for 4 PiB once it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            torch.empty(2**50)
        return self.out(x.flatten(1))


def test_too_little_memory_is_named_with_the_batch_size(few: TensorDataset) -> None:
    with pytest.raises(OutOfMemory, match="batch_size 32; halve batch_size"):
        fit(Greedy(), few, quick())


def test_other_errors_of_a_model_are_not_hidden(few: TensorDataset) -> None:
    with pytest.raises(RuntimeError, match=re.escape("mat1 and mat2 shapes cannot be multiplied")):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(63, 10)), few, quick())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 9)), r"output of the task classification must be \(2, 10\) .* got \(2, 9\)"),
        (nn.Conv2d(1, 10, 3), "output of the task classification must be"),
        (
            nn.Sequential(nn.Flatten(1, 2), nn.LSTM(8, 8), nn.Identity()),
            r"must be \(2, 10\)|must return a tensor or \(main, \[auxiliary, ...\]\)",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_targets(few: TensorDataset, model: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(model, few, quick())


def test_nothing_to_train_and_nothing_to_score(few: TensorDataset) -> None:
    frozen = cnn().requires_grad_(False)
    with pytest.raises(UserError, match="must have a parameter to train"):
        fit(frozen, few, quick())
    with pytest.raises(UserError, match="at least one sample"):
        score(frozen, dataclasses.replace(few, parts={**few.parts, "val": few.val[:0]}), "val", task_of(few.spec))


def test_wrong_devices(few: TensorDataset) -> None:
    with pytest.raises(UserError, match="device: must be cpu"):
        fit(cnn(), few, quick(), device="gpu")
    with pytest.raises(UserError, match="CUDA devices are visible"):
        fit(cnn(), few, quick(), device="cuda:99")


# --- number formats and threads -------------------------------------------------------------------------------------


def loss_of(output: Any, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(output, batch.y)


LAST = Setting(channels_last=True)


@pytest.mark.parametrize(
    ("times", "steps", "chosen"),
    [
        ({LAST: 0.1}, 100, LAST),  # 10 s: not worth measuring
        ({LAST: 0.1, Setting(True, True): 0.05}, 1_000, Setting(True, True)),
        ({LAST: 0.1, Setting(True, True): 0.095}, 1_000, LAST),  # saves less than a tenth
        ({LAST: 0.1, Setting(): 0.08, Setting(True): 0.05}, 1_000, Setting(True)),
        ({Setting(): 0.1}, 100, Setting()),  # a module that reads no other layout
        ({Setting(): 0.1, Setting(True): 0.05}, 1_000, Setting(True)),
    ],
)
def test_auto_takes_what_is_measurably_faster(
    few: TensorDataset, monkeypatch: pytest.MonkeyPatch, times: dict[Setting, float], steps: int, chosen: Setting
) -> None:
    measured: list[int] = []

    def step_s(model: nn.Module, batch: Batch, setting: Setting, loss: Any, timed: int = 3) -> float:
        if setting not in times:
            raise RuntimeError("not in this format")
        measured.append(timed)
        return times[setting]

    monkeypatch.setattr(precision, "_step_s", step_s)
    assert choose(cnn(), few.train[:32], Recipe(), loss_of, steps) == chosen
    assert any(measured) == (steps > 100)


def test_a_module_that_reads_one_layout_is_trained_in_it(few: TensorDataset) -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(1, 2, 3), nn.Linear(72, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.conv(x).view(len(x), -1))

    assert choose(Viewing(), few.train[:32], Recipe(), loss_of, steps=10) == Setting()
    assert fit(Viewing(), few, Recipe(epochs=1)).epochs == 1


def test_measuring_changes_neither_weights_nor_random_state(few: TensorDataset) -> None:
    model = cnn(drop=0.5)
    before, state = weights_of(model), torch.get_rng_state()
    made = choose(model, few.train[:32], Recipe(), loss_of, steps=10**9)
    assert isinstance(made, Setting)
    assert same(before, weights_of(model)) and torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("values", "shape", "chosen"),
    [
        ({"precision": "bf16", "channels_last": True}, (4, 1, 8, 8), Setting(True, True)),
        ({"precision": "fp32", "channels_last": False}, (4, 1, 8, 8), Setting()),
        ({"precision": "bf16", "channels_last": True}, (4, 8, 8), Setting(True, False)),  # nothing to lay out
    ],
)
def test_named_formats_are_taken(values: dict[str, Any], shape: tuple[int, ...], chosen: Setting) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    batch = Batch({"input": torch.zeros(shape)}, {"label": torch.zeros(4, dtype=torch.long)})
    assert choose(model, batch, Recipe(**values), loss_of, 10**9) == chosen


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert use_threads(workers=4) == 1 == torch.get_num_threads()
        assert use_threads(2, workers=4) == 2 == torch.get_num_threads()
        assert use_threads() == torch.get_num_threads() >= 1
        with pytest.raises(UserError, match="at least 1"):
            use_threads(0)
    finally:
        torch.set_num_threads(before)


def test_numbers_of_data_without_a_file_work_as_data() -> None:
    """`fit` takes any `Dataset`, such as one made by hand from arrays."""
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    samples = Batch({"input": x}, {"label": (x[:, 0] > 0).long()})
    parts = {"train": samples[:40], "val": samples[40:], "test": samples[:0]}
    data = TensorDataset("own", "own", DataSpec({"input": [5]}, {"label": Target("label", 2)}), parts)
    assert fit(nn.Linear(5, 2), data, quick(epochs=30, lr=0.1)).metrics["accuracy"] > 0.8
