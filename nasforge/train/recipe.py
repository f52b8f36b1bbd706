"""Recipes: how a network is trained, as plain data beside its architecture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nasforge.data import Data
from nasforge.errors import UserError, nearest
from nasforge.train.augment import STRENGTHS

OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw", "rmsprop")
SCHEDULES = ("cosine", "step", "linear", "constant", "onecycle")
INITS = ("default", "xavier", "he", "orthogonal", "lsuv")
PRECISIONS = ("auto", "fp32", "bf16")


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
        optimizer: `nesterov` is sgd with Nesterov momentum; `adamw` decouples the weight decay.
        momentum: of sgd, nesterov and rmsprop; beta1 of adam and adamw.
        weight_decay: on weights of two or more dimensions; on norms and biases only with `decay_norm_bias`.
        schedule: of the learning rate by step: `cosine` and `linear` fall to 0, `step` falls to a tenth at 1/2 and again
            at 3/4, `onecycle` rises over 30 % and falls to 0. `warmup_epochs` rises linearly before any but onecycle.
        label_smoothing: eps; the targets are 1 - eps + eps/K and eps/K.
        aux_weight: of the loss of each auxiliary head.
        augment: names, or strength by name; see `nasforge.train.augment`.
        init: of the weights before training; `default` leaves them as they are.
        early_stopping: epochs without a better validation result before the training stops; the best weights stay.
        ema: decay by step of the averaged weights, which then are the result.
        grad_clip: largest norm of the gradient.
        precision: `auto` measures whether bf16 is faster, see `nasforge.train.precision`.
        channels_last: true, false or `auto`, measured likewise.
        data_fraction: share of the training samples used, a stratified one.
        resolution: share of the sides of images, in training and validation.
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
    early_stopping: int | None = _number(10, 1, 100_000, optional=True)
    ema: float | None = _number(0.99, 0, 0.999999, optional=True)
    grad_clip: float | None = _number(1.0, 0, 1e6, above=True, optional=True)
    precision: str = _word("auto", PRECISIONS)
    channels_last: bool | str = "auto"
    data_fraction: float = _number(1.0, 0, 1, above=True)
    resolution: float = _number(1.0, 0, 1, above=True)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _checked(f, getattr(self, f.name), "recipe"))

    @classmethod
    def of(cls, mapping: Mapping[str, Any], where: str = "recipe", base: Recipe | None = None) -> Recipe:
        """The recipe that `mapping` describes; what it does not name is as in `base`, by default a plain `Recipe()`.

        Raises:
            UserError: an unknown name, a wrong type or a value out of range, with the path below `where`.
        """
        if not isinstance(mapping, Mapping):
            raise UserError(f"{where}: must be names with values, got {mapping!r}")
        fields = {f.name: f for f in dataclasses.fields(cls)}
        for name in mapping:
            if name not in fields:
                raise UserError(f"{where}.{name}: no such value in a recipe; {nearest(name, fields)}")
        values = {name: _checked(fields[name], value, where) for name, value in mapping.items()}
        return dataclasses.replace(base or cls(), **values)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `of` reads back."""
        return dataclasses.asdict(self)


def _checked(f: dataclasses.Field[Any], value: Any, where: str) -> Any:
    where = f"{where}.{f.name}"
    if f.name == "augment":
        return _checked_augment(value, where)
    if f.name in ("decay_norm_bias", "channels_last"):
        valid = (True, False) if f.name == "decay_norm_bias" else (True, False, "auto")
        if not any(value is v or (isinstance(v, str) and value == v) for v in valid):
            raise UserError(f"{where}: must be one of {', '.join(str(v).lower() for v in valid)}, got {value!r}")
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


def default_recipe(data: Data, full: bool = False) -> Recipe:
    """A sensible recipe for `data`: short, for a search, or `full`, for its finalists.

    Measured on one thread of a 2-core CPU for the small images; the others are the field's customary values.
    """
    return RECIPES[_kind(data)](data, full)


def _kind(data: Data) -> str:
    if data.train.y.ndim == 3:
        return "label_maps"
    if data.train.y.ndim == 2:
        return "steps"
    if data.vocab is not None:
        return "tokens"
    if data.train.x.ndim == 3:
        return "sequences"
    return "small_images" if max(data.shape[1:]) <= 12 else "images"


def _epochs(data: Data, samples_seen: int, low: int, high: int) -> int:
    """Epochs that show `samples_seen` samples in all, within bounds: small sets need more passes."""
    return max(low, min(high, round(samples_seen / len(data.train))))


def _small_images(data: Data, full: bool) -> Recipe:
    """Images of up to 12 x 12, tuned on the digits: they are centred already, so shifts do not help."""
    epochs = _epochs(data, 52_000 if full else 9_000, 5, 150)
    return Recipe(
        epochs=epochs,
        batch_size=64 if full else 32,
        lr=5e-3,
        label_smoothing=0.1,
        warmup_epochs=0.1 * epochs,
        augment={"rotate": 15.0, "zoom": 0.15} if full else {"rotate": 10.0, "zoom": 0.1},
    )


def _images(data: Data, full: bool) -> Recipe:
    """Larger images: flips and crops where they are in colour, small shifts where they are drawings or letters.

    Budgets for a search within an hour on two cores; --epochs and --final-epochs give more where there is more time.
    """
    share = 1.0 if full else min(1.0, 10_000 / len(data.train))
    epochs = _epochs(data, 160_000, 3, 60) if full else _epochs(data, round(30_000 / share), 3, 15)
    augment: dict[str, float] = {"flip": 0.5, "crop": min(64.0, data.shape[-1] / 8)} if data.shape[0] >= 3 else {"shift": 0.08}
    if full and data.shape[0] >= 3:
        augment["cutout"] = 0.5
    return Recipe(
        epochs=epochs,
        batch_size=128 if full else 64,
        lr=3e-3,
        weight_decay=0.05,
        label_smoothing=0.1 if full else 0.0,
        warmup_epochs=0.1 * epochs,
        augment=augment,
        data_fraction=share,
    )


def _sequences(data: Data, full: bool) -> Recipe:
    epochs = _epochs(data, 60_000 if full else 10_000, 3, 100)
    return Recipe(epochs=epochs, batch_size=32, lr=2e-3, label_smoothing=0.05, warmup_epochs=0.1 * epochs, grad_clip=1.0)


def _steps(data: Data, full: bool) -> Recipe:
    """One class a step: the next token, above all."""
    share = 1.0 if full else min(1.0, 5_000 / len(data.train))
    epochs = _epochs(data, 200_000, 5, 60) if full else _epochs(data, round(15_000 / share), 3, 20)
    return Recipe(
        epochs=epochs,
        batch_size=32,
        lr=4e-3,
        weight_decay=0.1,
        warmup_epochs=0.1 * epochs,
        grad_clip=1.0,
        data_fraction=share,
    )


def _label_maps(data: Data, full: bool) -> Recipe:
    epochs = _epochs(data, 20_000 if full else 3_000, 3, 100)
    return Recipe(epochs=epochs, batch_size=8, lr=2e-3, warmup_epochs=0.1 * epochs, augment={"flip": 0.5}, grad_clip=5.0)


RECIPES: Mapping[str, Callable[[Data, bool], Recipe]] = {
    "small_images": _small_images,
    "images": _images,
    "sequences": _sequences,
    "tokens": _sequences,
    "steps": _steps,
    "label_maps": _label_maps,
}
