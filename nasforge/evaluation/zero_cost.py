"""Zero-cost scores as an evaluator: of the untrained network, on one batch of the training part. Finalists are trained."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import nn

from nasforge.data import Dataset
from nasforge.evaluation import zero_cost_scores
from nasforge.evaluation.base import Job, OnReport, Result, failures_in
from nasforge.evaluation.train import Train, at_input, fast_enough
from nasforge.networks.build import build
from nasforge.objectives.metrics import METRICS, Metric
from nasforge.spaces.arch import Arch
from nasforge.tasks import Task, task_of

BATCH = 64


class ZeroCost(Train):
    """Scores a network before any training."""

    def metrics(self, task: Task) -> tuple[Metric, ...]:
        return tuple(METRICS[name] for name in zero_cost_scores.SCORES)

    def evaluate(self, job: Job, on_report: OnReport) -> Result:
        if job.full:
            return super().evaluate(job, on_report)
        result = Result()
        with failures_in(result):
            data = at_input(self.data, job.arch)
            began = time.perf_counter()
            torch.manual_seed(job.seed)
            model = build(job.arch).to(self.device)
            if job.latency and not fast_enough(job, model, self.device, result):
                return result
            result.metrics |= _scores(model, data.to(self.device), self.task, job.seed, tuple(zero_cost_scores.SCORES))
            result.seconds["measuring"] = result.seconds.get("measuring", 0.0) + time.perf_counter() - began
        return result


def zero_cost(arch: Arch, data: Dataset, seed: int, names: Sequence[str]) -> dict[str, float]:
    """Return the named zero-cost scores of a network; minus infinity where one is no finite number, none where it cannot be built.

    The random state of this process stays as it was.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with failures_in(Result()):
            found = _scores(build(arch), at_input(data, arch), task_of(data.spec), seed, names)
            return {name: value if value > zero_cost_scores.NONE else -math.inf for name, value in found.items()}
    return {}


def _scores(model: nn.Module, data: Dataset, task: Task, seed: int, names: Sequence[str]) -> dict[str, float]:
    """Zero-cost scores on one batch of the training part."""
    batch = next(data.batches("train", BATCH, generator=torch.Generator().manual_seed(seed)))
    return zero_cost_scores.score(model, batch, task, names)
