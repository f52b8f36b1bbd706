"""Recipes: how a network is trained, as plain data beside its architecture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nasforge.data import Dataset
from nasforge.errors import UserError, nearest
from nasforge.objectives.metrics import is_metric, nearest_metric
from nasforge.tasks.base import Task
from nasforge.train.augment import STRENGTHS

OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw", "rmsprop", "muon")
SCHEDULES = ("cosine", "step", "linear", "constant", "onecycle", "trapezoid")
INITS = ("default", "xavier", "he", "orthogonal", "lsuv", "dirac")
VIEWS = ("one", "flip", "crops")
PRECISIONS = ("auto", "fp32", "bf16")
SAMPLINGS = ("natural", "balanced")
WEIGHT = {"low": 0, "high": 1e6, "above": False, "optional": False, "whole": False}


def _number(default: float, low: float, high: float, *, above: bool = False, optional: bool = False) -> Any:
    """A field that holds a number from `low` (or above it) to `high`; an int where the default is one."""
    rule = {"low": low, "high": high, "above": above, "optional": optional, "whole": isinstance(default, int)}
    return field(default=None if optional else default, metadata={"number": rule})


def _word(default: str, valid: tuple[str, ...]) -> Any:
    return field(default=default, metadata={"words": valid})


@dataclass(frozen=True)
class Recipe:
    """How to train: every value checked when made, so that a recipe that exists can be used.

    Attributes:
        epochs: passes over the training samples.
        batch_size: samples of a step.
        lr: the highest learning rate.
        warmup_epochs: over which the learning rate rises linearly to it.
        decay_norm_bias: whether weights of norms and biases decay too.
        optimizer: `nesterov` is sgd with Nesterov momentum; `adamw` decouples the weight decay; `muon` turns the steps of hidden matrices
            and filters into orthogonal ones, and trains first and last layer, depthwise filters and vectors by adamw.
        momentum: of sgd, nesterov and rmsprop; beta1 of adam and adamw.
        weight_decay: on weights of two or more dimensions; on norms and biases only with `decay_norm_bias`.
        schedule: of the learning rate by step: `cosine` and `linear` fall to 0, `step` falls to a tenth at 1/2 and again
            at 3/4, `onecycle` rises over 30 % and falls to 0, `trapezoid` stays and falls to 0 over the last 30 %. `warmup_epochs` rises
            linearly before any but onecycle.
        label_smoothing: eps; the targets are 1 - eps + eps/K and eps/K.
        aux_weight: of the loss of each auxiliary head.
        augment: names, or strength by name; see `nasforge.train.augment`.
        init: of the weights before training; `default` leaves them as they are.
        whiten: whether the first convolution begins with filters that whiten the patches of the training images.
        zero_residual: whether the last norm in the body of each residual begins at 0, so that the block begins as its shortcut.
        freeze_stem: share of the training after which the first layer learns no more; 0 is from the beginning, null never.
        sam: how far weights are moved uphill, by the norm of the gradient, before the gradient is taken that is followed
            (sharpness-aware minimisation); a step then takes about twice as long.
        early_stopping: epochs without a better validation result before the training stops; the best weights stay.
        ema: decay by step of the averaged weights, which then are the result.
        soup: share of the training, at its end, over which weights are averaged alike instead.
        grad_clip: largest norm of the gradient.
        precision: `auto` measures whether bf16 is faster, see `nasforge.train.precision`.
        channels_last: true, false or `auto`, measured likewise.
        data_fraction: share of the training samples used, a stratified one.
        resolution: share of the sides of images, in training and validation.
        first_resolution: share of the sides with which the training begins; they grow in steps, and are whole for its last 40 %.
        views: of an image when it is scored: `flip` averages the outputs for it and its mirror image, `crops` also for both moved by one
            pixel up left and down right.
        class_weights: of the classes in the loss: `balanced`, or weights by name or number of the class; null weighs all the same.
        sampling: `balanced` draws the classes equally often in training, with replacement.
        head_weights: of the losses of several heads, by name; 1 where none is given.
        monitor: the metric on val by which early stopping judges; null is the main one of the task.
        minutes: the longest time, of training and validation together. The schedule follows what runs out first, epochs or minutes, so that
            the learning rate is where it belongs at the end; the last epoch may be cut short. Such a training depends on the machine.
    """

    epochs: int = _number(30, 1, 100_000)
    batch_size: int = _number(64, 1, 1_000_000)
    optimizer: str = _word("adamw", OPTIMIZERS)
    lr: float = _number(3e-3, 0, 100, above=True)
    momentum: float = _number(0.9, 0, 0.9999)
    weight_decay: float = _number(0.01, 0, 10)
    decay_norm_bias: bool = False
    schedule: str = _word("cosine", SCHEDULES)
    warmup_epochs: float = _number(1.0, 0, 100_000)
    label_smoothing: float = _number(0.0, 0, 0.999)
    aux_weight: float = _number(0.3, 0, 10)
    augment: Mapping[str, float] = field(default_factory=dict)
    init: str = _word("default", INITS)
    whiten: bool = False
    zero_residual: bool = False
    freeze_stem: float | None = _number(0.0, 0, 1, optional=True)
    sam: float | None = _number(0.05, 0, 10, above=True, optional=True)
    early_stopping: int | None = _number(10, 1, 100_000, optional=True)
    ema: float | None = _number(0.99, 0, 0.999999, optional=True)
    soup: float | None = _number(0.2, 0, 1, above=True, optional=True)
    grad_clip: float | None = _number(1.0, 0, 1e6, above=True, optional=True)
    precision: str = _word("auto", PRECISIONS)
    channels_last: bool | str = "auto"
    data_fraction: float = _number(1.0, 0, 1, above=True)
    resolution: float = _number(1.0, 0, 1, above=True)
    first_resolution: float = _number(1.0, 0, 1, above=True)
    views: str = _word("one", VIEWS)
    class_weights: str | Mapping[str, float] | None = None
    sampling: str = _word("natural", SAMPLINGS)
    head_weights: Mapping[str, float] = field(default_factory=dict)
    monitor: str | None = None
    minutes: float | None = _number(1.0, 0, 1e6, above=True, optional=True)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _checked(f, getattr(self, f.name), "recipe"))

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], where: str = "recipe", base: Recipe | None = None) -> Recipe:
        """Return the recipe that `mapping` describes; what it does not name is as in `base`, by default a plain `Recipe()`.

        Raises:
            UserError: an unknown name, a wrong type or a value out of range, with the path below `where`.
        """
        if not isinstance(mapping, Mapping):
            raise UserError(f"{where}: must be names with values, got {mapping!r}")
        fields = {f.name: f for f in dataclasses.fields(cls)}
        for name in mapping:
            if name not in fields:
                raise UserError(f"{where}.{name}: no such value in a recipe; {nearest(name, fields, 'nasforge recipes')}")
        values = {name: _checked(fields[name], value, where) for name, value in mapping.items()}
        return dataclasses.replace(base or cls(), **values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `from_dict` reads back."""
        return dataclasses.asdict(self)


def _checked(f: dataclasses.Field[Any], value: Any, where: str) -> Any:
    where = f"{where}.{f.name}"
    if f.name == "augment":
        return _checked_augment(value, where)
    if f.name in ("class_weights", "head_weights"):
        if f.name == "class_weights" and (value is None or value == "balanced"):
            return value
        if not isinstance(value, Mapping):
            valid = "balanced, null or " if f.name == "class_weights" else ""
            raise UserError(f"{where}: must be {valid}weights by name, got {value!r}")
        return {str(name): _checked_number(WEIGHT, weight, f"{where}.{name}") for name, weight in value.items()}
    if f.name == "monitor":
        if value is not None and not is_metric(str(value)):
            raise UserError(f"{where}: must be a metric, got {value!r}; {nearest_metric(str(value))}")
        return value
    if f.type == "bool" or f.name == "channels_last":
        choices = (True, False, "auto") if f.name == "channels_last" else (True, False)
        if not any(value is v or (isinstance(v, str) and value == v) for v in choices):
            raise UserError(f"{where}: must be one of {', '.join(str(v).lower() for v in choices)}, got {value!r}")
        return value
    if "words" in f.metadata:
        if value not in f.metadata["words"]:
            raise UserError(f"{where}: must be a known name, got {value!r}; {nearest(value, f.metadata['words'])}")
        return value
    return _checked_number(f.metadata["number"], value, where)


def _checked_number(rule: Mapping[str, Any], value: Any, where: str) -> Any:
    if value is None and rule["optional"]:
        return None
    low, high, above, whole = rule["low"], rule["high"], rule["above"], rule["whole"]
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (whole and value != int(value)) or not low <= value <= high or (above and value == low):
        kind = "a whole number" if whole else "a number"
        span = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
        raise UserError(f"{where}: must be {kind} {span}{', or null' if rule['optional'] else ''}, got {value!r}")
    return int(value) if whole else float(value)


def _checked_augment(value: Any, where: str) -> dict[str, float]:
    """Strength by name; a name alone, or with null or true, has its default strength."""
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, (Mapping, list, tuple)):
        raise UserError(f"{where}: must be names, or names with strengths, got {value!r}")
    pairs = value if isinstance(value, Mapping) else {str(name): None for name in value}
    made = {}
    for name, strength in pairs.items():
        if name not in STRENGTHS:
            raise UserError(f"{where}: must be known names, got {name!r}; {nearest(name, STRENGTHS)}")
        default, high = STRENGTHS[name]
        rule = {"low": 0, "high": high, "above": True, "optional": False, "whole": False}
        made[name] = default if strength is None or strength is True else _checked_number(rule, strength, f"{where}.{name}")
    return made


def default_recipe(task: Task, data: Dataset, full: bool = False) -> Recipe:
    """Return a sensible recipe for a task on some data: short, for a search, or `full`, for its finalists."""
    return Recipe.from_dict(task.recipe(data, full))
