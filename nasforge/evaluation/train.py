"""Training as an evaluator; the one place where architectures, data and recipes meet."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nasforge.blocks.core.shapes import Tokens
from nasforge.data import Dataset
from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Decision, Job, OnReport, Report, Result, Stop, failures_in
from nasforge.latency import measure
from nasforge.networks.build import build, input_shapes
from nasforge.objectives.metrics import Metric
from nasforge.spaces.arch import Arch
from nasforge.tasks import Task, task_of
from nasforge.train import OnStep, Recipe, default_recipe, fit, inherit, morph, scored, shrink_perturb
from nasforge.zoo import documented
from nasforge.zoo.small import small

MOST_EPOCHS = 200  # of a training for which a time is given
BEGUN: dict[str, Any] = {"init": "default", "whiten": False, "zero_residual": False}  # words of a recipe for weights that are there already
GROWN_ON = 32  # samples on which a network that grows is compared with its parent
STOPS = {Decision.CONTINUE: None, Decision.PAUSE: Stop.PAUSED, Decision.STOP: Stop.PRUNED}


class Train:
    """Trains a network by its recipe and scores it on val, finalists also on test. on_step: see `nasforge.train.fit`."""

    def __init__(self, on_step: OnStep | None = None) -> None:
        self.on_step = on_step

    def metrics(self, task: Task) -> tuple[Metric, ...]:
        return task.metrics

    def prepare(self, context: Context) -> None:
        self.device, self.data = context.device, context.load()
        self.task = task_of(self.data.spec, self.data.name)

    def _on_test(self, data: Dataset) -> Callable[[int], None] | None:
        on_step = self.on_step
        return None if on_step is None else lambda seen: on_step(0, "test", seen, data.size("test"))

    def evaluate(self, job: Job, on_report: OnReport) -> Result:
        result = Result()
        with failures_in(result):
            data = at_input(self.data, job.arch)
            torch.manual_seed(job.seed)
            model = build(job.arch)
            if job.latency and not fast_enough(job, model, self.device, result):
                return result
            recipe = recipe_of(job, self.data, self.task)
            if job.parent and Path(job.parent).exists():
                result.metrics["inherited"] = inherited(model, job, data)
                recipe = replace(recipe, **BEGUN)
            fitted = fit(
                model, data, recipe, task=self.task, seed=job.seed, device=self.device,
                on_epoch=lambda epoch, row: STOPS[on_report(Report(epoch, {**row, **result.metrics}))],
                checkpoint=Path(job.checkpoint) if job.checkpoint else None,
                on_step=self.on_step, scored_after=1 + data.size("test") / max(1, data.size("val")) if job.test else 0.0,
            )  # fmt: skip
            result.metrics |= fitted.metrics
            result.curve, result.stopped = fitted.curve, fitted.stopped
            result.seconds["training"] = fitted.seconds
            if job.test:
                self._score(model, data.to(self.device), recipe, job, result)
            if job.weights:
                Path(job.weights).parent.mkdir(parents=True, exist_ok=True)
                state = {k: v.contiguous() for k, v in model.cpu().state_dict().items()}
                save_file(state, job.weights, metadata={"arch": json.dumps(job.arch)})
        return result

    def _score(self, model: torch.nn.Module, data: Dataset, recipe: Recipe, job: Job, result: Result) -> None:
        """Score a network that is trained to the end: on test, once, and what it answers for each class also on val."""
        if data.size("test"):
            on_test = scored(model, data, "test", self.task, views=recipe.views, on_batch=self._on_test(data))
            result.test, result.answers["test"] = on_test.result(), self.task.answers(on_test)
        examples = self.task.examples() if job.weights else None
        if examples is None and not any(result.answers.values()) and data.size("test"):  # nothing to know of single classes
            return
        on_val = scored(model, data, "val", self.task, views=recipe.views, examples=examples)
        result.answers["val"] = self.task.answers(on_val)
        if examples is not None and job.weights and any((found := examples.result()).values()):
            file = examples_file(job.weights)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found), encoding="utf-8")


def examples_file(weights: str | Path) -> Path:
    """Return the file beside weights that holds some answers of the network."""
    return Path(weights).with_suffix(".examples.json")


def inherited(model: torch.nn.Module, job: Job, data: Dataset) -> float:
    """Let a network begin with the weights of the job's parent; return the share of its parameters that come from there."""
    given, fresh = load_file(str(job.parent)), {name: p.detach().clone() for name, p in model.named_parameters()}
    if job.inherit == "grow":
        with safe_open(str(job.parent), "pt") as file:
            arch = (file.metadata() or {}).get("arch")
        if arch is not None:
            parent = build(json.loads(arch))
            parent.load_state_dict(given)
            if morph(model, parent, next(data.batches("train", GROWN_ON)).to("cpu"), job.seed):
                return 1.0
    share = inherit(model, given)
    if job.inherit == "shrink":
        shrink_perturb(model, fresh)
    return share


def fast_enough(job: Job, model: torch.nn.Module, device: str, result: Result) -> bool:
    """Measure the latency of a network into a result; return whether it keeps the limit of the job."""
    began = time.perf_counter()
    shape = next(iter(input_shapes(job.arch).values()))
    result.metrics["latency_ms"] = measure(model, shape, runtime=job.runtime, device=device).median_ms
    result.seconds["measuring"] = time.perf_counter() - began
    if job.latency_limit_ms is not None and result.metrics["latency_ms"] > job.latency_limit_ms:
        result.stopped = Stop.TOO_SLOW
        return False
    return True


# ---------------------------------------------------------------- architectures and data


def reads(arch: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return [channels, height, width] of an architecture or a space, None where it reads no images."""
    spec = arch.get("input")
    return tuple(spec) if isinstance(spec, list | tuple) and len(spec) == 3 and all(isinstance(n, int) for n in spec) else None


def fit_to_data(arch: Mapping[str, Any], data: Dataset) -> Arch:
    """Return the architecture or space with the inputs and the number of outputs of the data.

    Raises:
        UserError: they cannot fit: other inputs, or heads that the data have no targets for.
    """
    task, given, other = task_of(data.spec, data.name), data.spec.inputs, "take another space or other data"
    spec = arch.get("input")
    several = isinstance(spec, Mapping) and "tokens" not in spec
    misfit = several != (len(given) > 1) or (several and set(spec or {}) != set(given))
    for name, shape in input_shapes({"input": spec}).items() if spec is not None and not misfit else ():
        wanted = given[name if several else next(iter(given))]
        tokens = isinstance(wanted, Mapping)
        misfit |= isinstance(shape, Tokens) != tokens or (not tokens and len(shape) != len(wanted) and not _as_steps(shape, wanted))
    if misfit:
        raise UserError(f"input: made for {_inputs(spec)}, the data set {data.name} has {_inputs(data.spec.input)}; {other}")
    heads, targets = arch.get("heads") or {}, ", ".join(data.spec.targets)
    if heads and set(heads) != set(data.spec.targets):
        raise UserError(f"heads: made for the targets {', '.join(heads)}, the data set {data.name} has {targets}; {other}")
    if not heads and len(data.spec.targets) > 1:
        raise UserError(f"heads: the data set {data.name} has the targets {targets}; write `heads:` with one of each name")
    ordered = {name: given[name] for name in spec} if several and spec else data.spec.input
    if not several and spec is not None and _as_steps(spec, ordered):
        ordered = [*ordered, 1]
    padding = {"padding": True} if data.spec.padded else {}
    return {**{k: v for k, v in arch.items() if k != "padding"}, "input": ordered, **padding, "classes": task.outputs}


def _as_steps(shape: Any, vector: Any) -> bool:
    """Whether a network for sequences [time, 1] can read vectors [features] as such."""
    return isinstance(shape, list | tuple) and len(shape) == 2 and shape[1] == 1 and isinstance(vector, list) and len(vector) == 1


def _inputs(spec: Any) -> str:
    """Inputs in words."""
    several = isinstance(spec, Mapping) and "tokens" not in spec
    return "the inputs " + ", ".join(f"{name} {shape}" for name, shape in spec.items()) if several else str(spec)


def for_data(arch: Arch, data: Dataset) -> Arch:
    """Return the architecture for a data set: a documented network made for other images in its small form, any other layer by layer.

    Raises:
        UserError: it cannot be built for these data.
    """
    native, images = arch.get("input"), data.spec.is_image and isinstance(arch.get("input"), list) and len(arch["input"]) == 3
    if images and native != list(data.spec.input) and documented(arch):
        return fit_to_data(small(arch, tuple(data.spec.input), task_of(data.spec, data.name).outputs), data)
    fitted = fit_to_data(arch, data)
    if images and native != fitted["input"]:
        try:
            build(fitted, "meta")
        except UserError as error:
            remedy = "bring the images to its side (--resize, --image-size), or write it for these"
            raise UserError(f"{error}; it is made for images {native}, {data.name} has {fitted['input']}: {remedy}") from None
    return fitted


def with_its_own_side(arch: Arch, data: Dataset) -> Arch:
    """Return the architecture for a data set whose images are brought to the height and width that it reads.

    Raises:
        UserError: there are no images, or they have label maps.
    """
    native = arch.get("input")
    maps = any(target.kind == "mask" for target in data.spec.targets.values())
    if not isinstance(native, list) or len(native) != 3 or not data.spec.is_image or maps:
        has = data.spec.input
        raise UserError(f"--resize: needs a network of images and images without label maps; {native} and {has} have no side to match")
    return {**arch, "input": [data.spec.input[0], *native[1:]], "classes": task_of(data.spec, data.name).outputs}


def recipe_of(job: Job, data: Dataset, task: Task) -> Recipe:
    """Return the default recipe for the data with what the architecture and the job change.

    Other epochs shorten the warm-up in proportion. A full training with `minutes`, and nothing said of epochs, has as many as the time
    allows, and no early stopping: the learning rate falls until the end. A short one has no more than it has without.
    """
    base = {**default_recipe(task, data, full=job.full).to_dict(), **job.usual, **(job.arch.get("recipe") or {})}
    changes = dict(job.recipe)
    if job.full and changes.get("minutes") is not None:
        changes = {"epochs": MOST_EPOCHS, "early_stopping": None, **changes}
    if "epochs" in changes and "warmup_epochs" not in changes:
        before = Recipe.from_dict(base)
        ratio = Recipe.from_dict({**base, **changes}).epochs / before.epochs
        changes["warmup_epochs"] = before.warmup_epochs * (ratio if "minutes" in changes else min(1.0, ratio))
    return Recipe.from_dict({**base, **changes})


def at_input(data: Dataset, arch: Arch) -> Dataset:
    """Return the data with their images brought to the height and width that the architecture reads, where these differ.

    Averages of the nearest pixels, weighted by distance. Vectors are given to an architecture that reads [time, 1] as sequences of single
    numbers. Label maps, and inputs that differ in more, stay: building says what is wrong.
    """
    wanted: Any = arch.get("input")
    if len(data.spec.inputs) == 1 and _as_steps(wanted, data.spec.input):
        return data.map(lambda batch: batch.with_inputs(lambda x: x[:, :, None]), "steps")
    if not data.spec.is_image or not isinstance(wanted, list | tuple) or len(wanted) != 3:
        return data
    have = data.spec.input
    if any(target.kind == "mask" for target in data.spec.targets.values()) or wanted[0] != have[0] or list(wanted) == have:
        return data
    size = (int(wanted[1]), int(wanted[2]))
    return data.map(lambda batch: batch.with_inputs(lambda x: _resized(x, size)), f"{size[0]}x{size[1]}")


def _resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, *size)"""
    return torch.nn.functional.interpolate(x, size=size, mode="bilinear", antialias=True)
