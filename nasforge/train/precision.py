"""Choosing number format and memory layout by measurement on the real model and batch."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasforge.data import Batch
from nasforge.tasks.base import forward
from nasforge.train.recipe import Recipe

WORTH_MEASURING_S = 20.0  # below, a wrong choice costs less than results that depend on timing
GAIN = 0.9  # a candidate must take at most this share of the time of plain fp32
TIMED_STEPS = 3

Loss = Callable[[Any, Batch], Tensor]


@dataclass(frozen=True)
class Setting:
    """How numbers are kept during training; the weights themselves are always fp32."""

    bf16: bool = False
    channels_last: bool = False

    def cast(self, device: torch.device) -> AbstractContextManager[Any]:
        """The context in which to run the model."""
        return torch.autocast(device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    def arrange(self, x: Tensor) -> Tensor:
        """`x` in the layout of this setting."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last and x.ndim == 4 else x


def choose(model: nn.Module, batch: Batch, recipe: Recipe, loss: Loss, steps: int) -> Setting:
    """The setting of the recipe, with each `auto` settled.

    Images on a CPU are laid out channels last, which is faster for convolutions (`benchmarks/steps.py`). The format is fp32 when that
    trains in under 20 s; beyond, the fastest of fp32 and bf16, plain and channels last, over a few steps on a copy of the model, if it
    saves a tenth. Weights and random states stay as they were. A choice by timing may differ between two runs: name both values where
    bit-identical results matter.

    Args:
        batch: on the device of the model.
        steps: of the whole training.
    """
    image, cpu = batch.x.ndim == 4, batch.x.device.type == "cpu"
    formats = {"auto": (False, True)}.get(recipe.precision, (recipe.precision == "bf16",))
    layouts = ((True, False) if cpu else (False, True)) if recipe.channels_last == "auto" else (recipe.channels_last is True,)
    options = list(dict.fromkeys(Setting(bf16, last and image) for bf16, last in itertools.product(formats, layouts)))
    if len(options) < 2:
        return options[0]
    try:
        once = _step_s(model, batch, options[0], loss, timed=0)
    except (RuntimeError, NotImplementedError):  # a module that cannot read this layout
        options = [option for option in options if not option.channels_last]
        once = _step_s(model, batch, options[0], loss, timed=0)
    base = options[0]
    if once * steps < WORTH_MEASURING_S or (cpu and len(formats) < 2):
        return base
    best, fastest = base, GAIN * _step_s(model, batch, base, loss)
    for option in options[1:]:
        try:
            taken = _step_s(model, batch, option, loss)
        except (RuntimeError, NotImplementedError):  # an operation without this format: the plain one stays
            continue
        if taken < fastest:
            best, fastest = option, taken
    return best


def _step_s(model: nn.Module, batch: Batch, setting: Setting, loss: Loss, timed: int = TIMED_STEPS) -> float:
    """Seconds of one forward and backward pass: the fastest of so many after one to warm up, or of that one."""
    trial = copy.deepcopy(model)
    if setting.channels_last:
        trial = trial.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trial.train()
    times, x = [], batch.x
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        for _ in range(1 + timed):
            start = time.perf_counter()
            with setting.cast(x.device):
                value = loss(forward(trial, batch.with_inputs(setting.arrange)), batch)
            value.backward()
            if not bool(torch.isfinite(value)):  # also waits for the device
                raise RuntimeError("the loss is not finite in this format")
            times.append(time.perf_counter() - start)
    return min(times[1:] or times)
