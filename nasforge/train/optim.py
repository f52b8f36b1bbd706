"""Optimisers, learning-rate schedules and averaged weights, as a recipe names them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasforge.errors import UserError
from nasforge.train.recipe import Recipe

FUSED_DEVICES = ("cpu", "cuda")
BF16_FROM_ROWS = 100  # smaller matrices are faster in fp32 on a CPU


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The optimiser of the recipe over the trainable parameters; norms and biases decay only if the recipe says so."""
    params = [p for p in model.parameters() if p.requires_grad]
    if not params:
        raise UserError("training: the model must have a parameter to train, got none")
    fused = all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in params)
    if recipe.optimizer == "muon":
        hidden = _hidden(model)
        rest = _groups([p for p in params if not any(p is one for one in hidden)], recipe)
        adamw = [torch.optim.AdamW(rest, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)] if rest else []
        return Together([*([Muon(hidden, recipe)] if hidden else []), *adamw])
    groups = _groups(params, recipe)
    if recipe.optimizer in ("sgd", "nesterov"):
        nesterov = recipe.optimizer == "nesterov" and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov, fused=fused)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=recipe.lr, alpha=0.9, momentum=recipe.momentum, foreach=True)
    adam = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return adam(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=fused)


def _groups(params: Sequence[nn.Parameter], recipe: Recipe) -> list[dict[str, Any]]:
    """The weights that decay, and those that do not."""
    matrices = [p for p in params if p.ndim > 1 or recipe.decay_norm_bias]
    vectors = [p for p in params if p.ndim <= 1 and not recipe.decay_norm_bias]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class Muon(Optimizer):
    """Steps along orthogonal matrices; a filter (out, in, height, width) is the matrix (out, in * height * width).

    Steps have the size of those of AdamW, and so its learning rates. `torch.optim.Muon` computes the same, one matrix after the other; here
    those of about one size are one batch, which takes a fraction of the time where networks are small.

    Source: Jordan et al. 2024 (Muon); the size: Liu et al. 2025, section 2.2.
    """

    def __init__(self, params: Sequence[nn.Parameter], recipe: Recipe) -> None:
        super().__init__(params, {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "momentum": recipe.momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            filters = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in filters]
            means = [self.state[p].setdefault("mean", torch.zeros_like(p)) for p in filters]
            torch._foreach_lerp_(means, grads, 1 - group["momentum"])
            wanted = torch._foreach_lerp(grads, means, group["momentum"])  # Nesterov
            torch._foreach_mul_(filters, 1 - group["lr"] * group["weight_decay"])
            for p, step in zip(filters, orthogonal([one.flatten(1) for one in wanted]), strict=True):
                p.sub_(step.view(p.shape), alpha=group["lr"] * 0.2 * math.sqrt(max(step.shape)))


class Together(Optimizer):
    """Several optimisers as one, each with weights of its own."""

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return for each matrix, of full rank, about the nearest one with orthonormal rows or columns: singular values of .7 to 1.2.

    Those whose sides are about alike are filled up with zeros, which changes nothing, and are one batch.

    Source: Jordan et al. 2024 (Muon): five steps of a Newton-Schulz iteration, with its coefficients.
    """
    lying = [m.T if m.shape[0] > m.shape[1] else m for m in matrices]
    batches: dict[tuple[int, int], list[int]] = {}
    for i, m in enumerate(lying):
        batches.setdefault((m.shape[0].bit_length(), m.shape[1].bit_length() // 2), []).append(i)
    out: list[Tensor] = [torch.empty(0)] * len(lying)
    for places in batches.values():
        some = [lying[i] for i in places]
        rows, columns = max(m.shape[0] for m in some), max(m.shape[1] for m in some)
        x = some[0].new_zeros(len(some), rows, columns)
        for one, m in zip(x, some, strict=True):
            one[: m.shape[0], : m.shape[1]] = m / m.norm().clamp_min(1e-7)
        if rows >= BF16_FROM_ROWS or x.is_cuda:
            x = x.bfloat16()
        for _ in range(5):
            gram = torch.bmm(x, x.transpose(1, 2))
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
        for i, one in zip(places, x, strict=True):
            made = one[: lying[i].shape[0], : lying[i].shape[1]].to(matrices[i].dtype)
            out[i] = made.T if lying[i] is not matrices[i] else made
    return out


def _hidden(model: nn.Module) -> list[nn.Parameter]:
    """The weights of convolutions and linear layers but the first and the last layer, without depthwise filters."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    weights = [m.weight for m in model.modules() if isinstance(m, kinds)]
    return [w for w in dict.fromkeys(weights[1:-1]) if w.requires_grad and w[0].numel() > 9 and w.shape[1] > 1]


def lr_factor(recipe: Recipe, step: float, steps_per_epoch: int) -> float:
    """What the learning rate is multiplied with at `step`, counted from 0. A warm-up takes half the steps at most."""
    total = recipe.epochs * steps_per_epoch
    if recipe.schedule == "onecycle":
        rise = 0.3 * total
        if step < rise:
            return 0.04 + 0.96 * (0.5 - 0.5 * math.cos(math.pi * step / rise))
        return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / (total - rise))
    warmup = min(recipe.warmup_epochs * steps_per_epoch, total / 2)
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    done = (step - warmup) / (total - warmup)
    return {
        "cosine": 0.5 + 0.5 * math.cos(math.pi * done),
        "linear": 1 - done,
        "trapezoid": min(1.0, (1 - done) / 0.3),
        "step": 0.01 if done >= 0.75 else 0.1 if done >= 0.5 else 1.0,
        "constant": 1.0,
    }[recipe.schedule]


class Average:
    """An average of the weights and running statistics of a model: an exponential moving one, or with a decay of 1 the mean of all updates.

    The decay starts small, min(decay, (1 + t) / (10 + t)), so that a short training does not average its first weights.

    Source: the mean: Izmailov et al. 2018 (averaging weights leads to wider optima), algorithm 1, at every step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.live = [t.detach() for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
        self.mean = [t.clone() for t in self.live]

    def update(self) -> None:
        """One step of the average."""
        self.updates += 1
        decay = (self.updates - 1) / self.updates if self.decay == 1 else min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.mean, self.live, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the average into the model, and the trained weights back at the end."""
        kept = [t.clone() for t in self.live]
        self.store()
        try:
            yield
        finally:
            torch._foreach_copy_(self.live, kept)

    def store(self) -> None:
        """Puts the average into the model for good."""
        torch._foreach_copy_(self.live, self.mean)

    def state(self) -> dict[str, int | list[Tensor]]:
        return {"updates": self.updates, "mean": self.mean}

    def load(self, state: dict[str, int | list[Tensor]]) -> None:
        updates, mean = state["updates"], state["mean"]
        assert isinstance(updates, int) and isinstance(mean, list)
        self.updates = updates
        torch._foreach_copy_(self.mean, mean)
