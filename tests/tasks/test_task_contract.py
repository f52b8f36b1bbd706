"""What holds for every task, and for several heads: shapes, losses, scorers, recipes and mistakes."""

from __future__ import annotations

from typing import Any

import made
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from nasforge.data import Batch, Dataset
from nasforge.errors import UserError
from nasforge.evaluation.train import fit_to_data
from nasforge.networks.build import build
from nasforge.objectives.metrics import METRICS, metric
from nasforge.tasks import TASKS, Task, forward, task_of
from nasforge.tasks.heads import Heads
from nasforge.train import Recipe, default_recipe, fit, score

NAMES = [*TASKS, "heads"]
PLAIN = Recipe(label_smoothing=0.0)


def data_of(name: str) -> Dataset:
    """Small data for a task."""
    if name == "heads":
        return made.small("several")
    return made.small("seq2seq" if name == "seq2seq" else TASKS[name].kind, name)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    found = made.NETWORKS["several" if name == "heads" else "seq2seq" if name == "seq2seq" else TASKS[name].kind]
    return build(fit_to_data(found, data_of(name)))


def of(name: str) -> tuple[Task, Dataset, nn.Module]:
    data = data_of(name)
    return task_of(data.spec), data, network(name)


def whole(data: Dataset) -> Batch:
    return next(data.batches("train", 10_000))


def perfect(task: Task, batch: Batch) -> Any:
    """What a network gives that is right and sure of it."""
    if isinstance(task, Heads):
        return {head: perfect(one, batch) for head, one in task.tasks.items()}
    y = batch.targets[task.key]
    if task.kind == "value":
        return task.standardized(y)  # type: ignore[attr-defined]
    if task.kind == "labels":
        return 40 * y - 20
    logits = 20.0 * one_hot(y.clamp_min(0), task.outputs)
    return logits.movedim(-1, 1) if task.kind == "mask" else logits


def guessed(task: Task, batch: Batch) -> Any:
    """What a network gives that knows nothing."""
    if isinstance(task, Heads):
        return {head: guessed(one, batch) for head, one in task.tasks.items()}
    return torch.randn(task.shape(batch), generator=torch.Generator().manual_seed(0))


def parts_of(output: Any, batch: Batch, size: int) -> list[tuple[Any, Batch]]:
    """An output and its batch in pieces."""

    def cut(value: Any, start: int) -> Any:
        return {k: cut(v, start) for k, v in value.items()} if isinstance(value, dict) else value[start : start + size]

    return [(cut(output, start), batch[start : start + size]) for start in range(0, len(batch), size)]


def scores(task: Task, *pieces: tuple[Any, Batch]) -> dict[str, float]:
    scorer = task.scorer()
    for output, batch in pieces:
        scorer.update(output, batch)
    return scorer.result()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_the_grammar_fits_and_one_step_lowers_its_loss(name: str) -> None:
    task, data, model = of(name)
    assert task.name == name and data.spec.targets.keys() == whole(data).targets.keys()
    batch = whole(data)
    output = forward(model, batch)
    task.check(output, batch)
    if not isinstance(task, Heads):
        assert tuple(output.shape) == task.shape(batch) and task.outputs == data.spec.target.size
    assert task.logits(output).shape[0] == len(batch) and task.logits(output).is_floating_point()
    loss = task.loss(output, batch, PLAIN)
    assert loss.ndim == 0 and bool(torch.isfinite(loss))
    loss.backward()
    params = list(model.parameters())
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in params)
    assert sum(float(p.grad.abs().sum()) for p in params if p.grad is not None) > 0
    torch.optim.SGD(params, lr=0.01).step()
    assert float(task.loss(forward(model, batch), batch, PLAIN).detach()) < float(loss.detach())


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_rows_of_the_table_and_what_the_scorer_gives(name: str) -> None:
    task, data, _ = of(name)
    batch = whole(data)
    found = scores(task, (guessed(task, batch), batch))
    assert found.keys() == {m.name for m in task.metrics} and len(task.metrics) == len(found)
    for one in task.metrics:
        assert metric(one.name) == one and one.name.partition("@")[0] in METRICS
    assert "loss" in found and task.main == task.metrics[0] and task.main.name != "loss"


@pytest.mark.parametrize("name", NAMES)
def test_in_pieces_as_at_once(name: str) -> None:
    task, data, _ = of(name)
    batch = whole(data)
    output = guessed(task, batch)
    expected = scores(task, (output, batch))
    for size in (1, 7, len(batch) - 1):
        assert scores(task, *parts_of(output, batch, size)) == pytest.approx(expected, rel=1e-5), size


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_output_scores_at_least_as_well_as_a_guess(name: str) -> None:
    task, data, _ = of(name)
    batch = whole(data)
    best, guess = (scores(task, (output, batch)) for output in (perfect(task, batch), guessed(task, batch)))
    for one in task.metrics:
        sign = 1 if one.maximize else -1
        assert sign * best[one.name] >= sign * guess[one.name], one
    assert best[task.main.name] != guess[task.main.name]
    if task.main.unit == "share":
        assert best[task.main.name] == pytest.approx(1)


@pytest.mark.parametrize("name", NAMES)
def test_targets_that_are_ignored_change_no_score(name: str) -> None:
    task, data, _ = of(name)
    batch = whole(data)
    ignored = {key: y == -100 for key, y in batch.targets.items() if not y.is_floating_point()}
    if not any(bool(which.any()) for which in ignored.values()):
        pytest.skip("all targets of this kind count")
    output = guessed(task, batch)
    changed = {key: value.clone() for key, value in output.items()} if isinstance(output, dict) else output.clone()
    for head, one in task.tasks.items() if isinstance(task, Heads) else [(task.key, task)]:
        tensor = changed[head] if isinstance(changed, dict) else changed
        (tensor.movedim(1, -1) if one.kind == "mask" else tensor)[ignored[one.key]] += 3 * torch.rand(one.outputs)
    assert scores(task, (changed, batch)) == pytest.approx(scores(task, (output, batch)))
    assert torch.allclose(task.loss(changed, batch, PLAIN), task.loss(output, batch, PLAIN))


@pytest.mark.parametrize("name", NAMES)
def test_its_recipe_is_valid_and_trains(name: str) -> None:
    task, data, model = of(name)
    for full in (False, True):
        made = task.recipe(data, full)
        assert Recipe.from_dict(made) == default_recipe(task, data, full) and "epochs" in made
        assert set(Recipe.from_dict(made).augment) <= task.augmentations
    assert task.recipe(data, False)["epochs"] <= task.recipe(data, True)["epochs"]
    before = score(model, data, "train", task)
    fitted = fit(model, data, default_recipe(task, data))
    after = score(model, data, "train", task)
    sign = 1 if task.main.maximize else -1
    assert sign * after[task.main.name] > sign * before[task.main.name] and after["loss"] < before["loss"]
    assert fitted.metrics.keys() == {m.name for m in task.metrics}
    assert fitted.metrics == pytest.approx(score(model, data, "val", task))


@pytest.mark.parametrize("name", list(TASKS))
def test_outputs_that_do_not_fit_are_refused(name: str) -> None:
    task, data, _ = of(name)
    batch = whole(data)
    output = guessed(task, batch)
    task.check(output, batch)
    task.check((output, [output, output]), batch)
    wrong: list[tuple[Any, str]] = [
        (output[:-1], f"output of the task {name} must be"),
        (output[..., :-1], "must be"),
        (output.flatten(), "got "),
        ((output, [output[:-1]]), "must be"),
        ({"a": output, "b": output}, f"heads: the task {name} reads one output, the network has the heads a, b"),
        ((output, output, output), r"must return a tensor or \(main, \[auxiliary, \.\.\.\]\), got tuple"),
        (3, "got int"),
    ]
    for given, message in wrong:
        with pytest.raises(UserError, match=message):
            task.check(given, batch)


@pytest.mark.parametrize("name", list(TASKS))
def test_auxiliary_outputs_count_by_their_weight(name: str) -> None:
    task, data, _ = of(name)
    batch = whole(data)
    one, other = guessed(task, batch), perfect(task, batch)
    alone = [task.loss(output, batch, PLAIN) for output in (one, other)]
    joined = task.loss((one, [other, other]), batch, Recipe(aux_weight=0.25))
    assert torch.allclose(joined, alone[0] + 0.25 * 2 * alone[1])
    assert scores(task, ((one, [other]), batch)) == scores(task, (one, batch))


def test_heads_must_be_those_of_the_targets() -> None:
    task, data, _ = of("heads")
    batch = whole(data)
    output: dict[str, Tensor] = guessed(task, batch)
    with pytest.raises(UserError, match=r"targets ink \(segmentation, 3 outputs\), bright .* a head for each, got ink$"):
        task.check({"ink": output["ink"]}, batch)
    with pytest.raises(UserError, match="got one output"):
        task.check(output["ink"], batch)
    with pytest.raises(UserError, match=r"^heads\.bright: model: output of the task classification must be"):
        task.check({**output, "bright": output["ink"]}, batch)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_task_for_other_targets_says_which_tasks_are_for_them(name: str) -> None:
    kind = "value" if TASKS[name].kind == "label" else "label"
    source = made.small("value", "regression").spec if kind == "value" else made.small("label").spec
    other = type(source)(source.inputs, source.targets, name)
    able = "regression" if kind == "value" else "classification"
    with pytest.raises(UserError, match=f"--task {name}: learns a target of kind .* such data are for {able}"):
        task_of(other)


def test_the_task_of_data_is_the_first_of_their_kind_or_the_one_that_is_asked_for() -> None:
    assert task_of(made.small("steps").spec).name == "tagging"
    assert task_of(made.small("steps", "seq2seq").spec).name == "seq2seq"
    with pytest.raises(UserError, match="--task clasification: no such task; did you mean 'classification'"):
        made.small("label", "clasification")
    with pytest.raises(UserError, match="has the targets ink, bright, each with a task of its own; leave it out"):
        made.small("several", "segmentation")
    with pytest.raises(UserError, match="--task regression"):
        made.small("value")  # numbers look like wrong classes
