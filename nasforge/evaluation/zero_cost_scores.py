"""Zero-cost proxies: scores of an untrained network from one batch, the larger the better a network is hoped to be.

Their definitions are those of the papers named at each; modules are scored in the state that `build` leaves them in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from nasforge.data import Batch
from nasforge.tasks import Task, forward
from nasforge.train import Recipe

JITTER = 1e-5  # keeps the logarithm of a determinant finite
PLAIN = Recipe(aux_weight=0.0)  # a loss without smoothing and auxiliary heads


def naswot(model: nn.Module, batch: Batch, task: Task) -> float:
    """Log-determinant of how alike the samples' patterns of active units are. Source: Mellor et al. 2021, equation 2."""
    size = len(batch)
    kernel = torch.zeros(size, size, dtype=torch.float64)

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal kernel
        if inputs and inputs[0].is_floating_point() and len(inputs[0]) == size:
            active = (inputs[0].reshape(size, -1) > 0).double()
            kernel = kernel + active @ active.T + (1 - active) @ (1 - active).T

    hooks = [m.register_forward_pre_hook(add) for m in model.modules() if _is_activation(m)]
    try:
        with torch.no_grad():
            forward(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return float(torch.linalg.slogdet(kernel + JITTER * torch.eye(size, dtype=torch.float64))[1])


def _is_activation(module: nn.Module) -> bool:
    """Whether a module is a nonlinearity that is zero, or nearly, below zero."""
    return type(module).__name__.lower() in (
        "relu",
        "relu6",
        "gelu",
        "silu",
        "swish",
        "hardswish",
        "elu",
        "leakyrelu",
        "mish",
        "selu",
        "prelu",
    )


def synflow(model: nn.Module, batch: Batch, task: Task) -> float:
    """Log10 of the sum of parameter times gradient, all of them made positive and the network fed with ones.

    Source: Tanaka et al. 2020, equation 2. Norms are passed over, as in Abdelfattah et al. 2021; the logarithm keeps deep networks finite.
    """
    signs = [p.data.sign() for p in model.parameters()]
    dtype = next(model.parameters()).dtype
    model.double()
    for p in model.parameters():
        p.data.abs_()
    norms = [m for m in model.modules() if "norm" in type(m).__name__.lower()]
    forwards = [m.forward for m in norms]
    try:
        for m in norms:
            m.forward = _same  # type: ignore[method-assign]
        probe = batch[:1].with_inputs(lambda x: torch.ones_like(x).double() if x.is_floating_point() else x)
        grads = torch.autograd.grad(task.logits(forward(model, probe)).sum(), list(model.parameters()), allow_unused=True)
        total = sum(float((p.detach() * g).abs().sum()) for p, g in zip(model.parameters(), grads, strict=True) if g is not None)
    finally:
        for m, own in zip(norms, forwards, strict=True):
            m.forward = own  # type: ignore[method-assign]
        for p, sign in zip(model.parameters(), signs, strict=True):
            p.data.mul_(sign)
        model.to(dtype)
    return math.log10(total) if total > 0 else -math.inf


def _same(x: Tensor, *rest: object) -> Tensor:
    return x


def grad_norm(model: nn.Module, batch: Batch, task: Task) -> float:
    """Euclidean norm of the loss's gradient by the parameters. Source: Abdelfattah et al. 2021, section 3."""
    return math.sqrt(sum(float(g.pow(2).sum()) for g in _gradients(model, batch, task)))


def jacob_cov(model: nn.Module, batch: Batch, task: Task) -> float:
    """How uncorrelated the samples' gradients by the input are. Source: Mellor et al. 2020 (NAS without training, version 1), section 3."""
    x = batch.x
    if not x.is_floating_point():
        return 0.0  # tokens have no gradient
    inputs = x.detach().clone().requires_grad_(True)
    probe = replace(batch, inputs={**batch.inputs, next(iter(batch.inputs)): inputs})
    (jacobian,) = torch.autograd.grad(task.logits(forward(model, probe)).sum(), inputs, allow_unused=True)
    if jacobian is None:  # nothing of the input arrives
        return -math.inf
    correlations = torch.corrcoef(jacobian.reshape(len(x), -1).double())
    if not torch.isfinite(correlations).all():
        return -math.inf
    values = torch.linalg.eigvalsh(correlations) + JITTER
    return -float((values.clamp_min(JITTER).log() + 1 / values.clamp_min(JITTER)).sum())


def zico(model: nn.Module, batch: Batch, task: Task) -> float:
    """Log of the sum of mean over deviation of absolute gradients of the two halves of the batch, by layer.

    Source: Li et al. 2023, equation 13.
    """
    half = len(batch) // 2
    both = [_by_parameter(model, part, task) for part in (batch[:half], batch[half:])]
    total = 0.0
    for name in both[0]:
        stack = torch.stack([b[name].abs().flatten() for b in both])
        mean, deviation = stack.mean(0), stack.std(0, correction=0)
        ratio = (mean[deviation > 0] / deviation[deviation > 0]).sum()
        if ratio > 0:
            total += math.log(float(ratio))
    return total


def _by_parameter(model: nn.Module, batch: Batch, task: Task) -> dict[str, Tensor]:
    """Gradients of the weights of two or more dimensions."""
    named = [(n, p) for n, p in model.named_parameters() if p.ndim > 1]
    grads = torch.autograd.grad(_loss(model, batch, task), [p for _, p in named], allow_unused=True)
    return {n: g for (n, _), g in zip(named, grads, strict=True) if g is not None}


def _gradients(model: nn.Module, batch: Batch, task: Task) -> list[Tensor]:
    grads = torch.autograd.grad(_loss(model, batch, task), [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    return [g for g in grads if g is not None]


def _loss(model: nn.Module, batch: Batch, task: Task) -> Tensor:
    return task.loss(forward(model, batch), batch, PLAIN)


SCORES: dict[str, Callable[[nn.Module, Batch, Task], float]] = {
    "naswot": naswot, "synflow": synflow, "grad_norm": grad_norm, "jacob_cov": jacob_cov, "zico": zico,
}  # fmt: skip


NONE = -1e9  # stands for a score that is no finite number: of a network whose output does not depend on its input, say


def score(model: nn.Module, batch: Batch, task: Task, names: Iterable[str] = tuple(SCORES)) -> dict[str, float]:
    """Proxies of a model on one batch; it is in train mode meanwhile, and its running statistics are left as they were."""
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    out = {}
    for name in names:
        value = SCORES[name](model, batch, task)
        out[name] = value if math.isfinite(value) else NONE
        model.load_state_dict(state)
    return out
