"""Trackers by name: where a search can be followed beside its own page. Each is an extra; none is imported before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from nasforge.errors import UserError, nearest
from nasforge.trackers.base import Followed, Tracker

TRACKERS = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "WandB"}  # module here, which is also the package needed: its class


def trackers_named(asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the trackers that are asked for, with commas between or in a list.

    Raises UserError for a name that is none, and for one whose package is not installed.
    """
    said = asked if isinstance(asked, str) else ",".join(map(str, asked or ()))
    found = tuple(dict.fromkeys(name.strip() for name in said.split(",") if name.strip()))
    for name in found:
        if name not in TRACKERS:
            raise UserError(f"--log {said}: {name!r} is no tracker; {nearest(name, TRACKERS)}")
        if not _installed(name):
            raise UserError(f"--log {name}: needs the package {name}, which is not installed; pip install 'nasforge[{name}]'")
    return found


def _installed(name: str) -> bool:
    """Whether there is a package of that name; a folder `wandb` or `mlflow` of an earlier run where Python looks is none."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def tracker(name: str, search: Followed) -> Tracker:
    """Return a tracker of a search, before it is opened."""
    return getattr(import_module(f"nasforge.trackers.{name}"), TRACKERS[name])(search)
