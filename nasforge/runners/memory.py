"""How much memory a job needs, by prediction, and how much there is: so that several large trainings do not swamp a machine."""

from __future__ import annotations

from pathlib import Path

import torch

from nasforge.evaluation.base import Context, Job
from nasforge.evaluation.train import recipe_of
from nasforge.networks.cost import count
from nasforge.tasks import task_of

COPIES_OF_WEIGHTS = 5  # themselves, gradients, two moments of the optimizer, an average
BYTES_PER_MAC = 16  # more than what is kept for the backward pass by any layer that multiplies: a bound that costs nothing
SHARE = 0.9  # of what is free
_CGROUP = Path("/sys/fs/cgroup")


def predicted_bytes(job: Job, context: Context, enough: float = 0.0) -> float:
    """Return the bytes that a training needs beside what its process needs anyway; at most `enough` where a rough bound shows it."""
    cost = count(job.arch)
    data = context.load()
    batch = recipe_of(job, data, task_of(data.spec)).batch_size
    weights = COPIES_OF_WEIGHTS * cost.weight_bytes
    rough = weights + BYTES_PER_MAC * cost.macs * batch
    return min(rough, enough) if rough <= enough else float(weights + cost.activation_bytes * batch)


def free_bytes(device: str) -> float:
    """Bytes that new work may take: of all GPUs for `cuda`, else of the machine or of the container that this runs in."""
    if device.startswith("cuda"):
        return SHARE * sum(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if Path("/proc/meminfo").exists() else []
    found = [float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        found.append(limit - used)
    return SHARE * min(found, default=float("inf"))


def kills_for_memory() -> int:
    """How many processes the system has ended since it started because memory had run out."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or `max`
        return None
