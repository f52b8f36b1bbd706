"""Runners by name: they carry jobs to where they are evaluated and bring back what happens there. They know no strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nasforge.evaluation.base import Context
from nasforge.runners.base import Driver, Runner
from nasforge.runners.inline import InlineRunner
from nasforge.runners.local import LocalRunner

__all__ = ["RUNNERS", "Driver", "Runner"]


def _ray(context: Context, **options: Any) -> Runner:
    from nasforge.runners.ray_actors import RayRunner  # heavy, and only here

    return RayRunner(context, **options)


def _tune(context: Context, **options: Any) -> Runner:
    from nasforge.runners.ray_tune import TuneRunner  # heavier still

    return TuneRunner(context, **options)


# each takes the context of the run and, by name, those of these options that it has: workers, threads, silence_s, address, gpus, scheduler,
# epochs, folder
RUNNERS: dict[str, tuple[Callable[..., Runner], tuple[str, ...]]] = {
    "local": (LocalRunner, ("workers", "threads", "silence_s")),
    "inline": (InlineRunner, ()),
    "ray": (_ray, ("workers", "threads", "silence_s", "address", "gpus")),
    "tune": (_tune, ("workers", "threads", "silence_s", "address", "gpus", "scheduler", "epochs", "folder")),
}
