"""Writing and reading the state of a training, so that a killed one goes on where it was."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nasforge.errors import UserError
from nasforge.files import check_zip


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state`, plain values and tensors, so that a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        torch.save(state, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_checkpoint(
    path: Path, identity: Mapping[str, Any], device: torch.device, defaults: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any] | None:
    """Return the state in `path`, None where there is no file. Only tensors and plain values are read, never code.

    defaults: what older files lack in a part of their identity.

    Raises:
        UserError: the file is broken, or it belongs to a training that differs in `identity`.
    """
    if not path.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on what an old or foreign file may hold
            check_zip(path)
            state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # bytes of any kind make torch raise anything
        raise UserError(f"{path}: must be a checkpoint of a training, got: {_first_line(error)}; delete it") from error
    if not isinstance(state, dict) or not isinstance(state.get("identity"), dict):
        raise UserError(f"{path}: must be a checkpoint of a training, got another file; give another path")
    for name, value in identity.items():
        written = state["identity"].get(name)
        if isinstance(written, dict):  # by an older version, which had fewer names
            written = {k: v for k, v in {**(defaults or {}).get(name, {}), **written}.items() if k in value}
        if written != value:
            mine, theirs = _differing(value, written), _differing(written, value)
            raise UserError(
                f"{path}: belongs to a training with {name} {theirs!r}, this one has {mine!r}; give another path (--out), or delete it"
            )
    return dict(state)


def set_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Let a checkpoint go on by another recipe, such as one with another learning rate; nothing is done where there is no file.

    Raises:
        UserError: the file is broken.
    """
    state = read_checkpoint(path, {}, torch.device("cpu"))
    if state is not None and any(recipe.get(name) != value for name, value in state["identity"]["recipe"].items()):
        state["identity"] = {**state["identity"], "recipe": {name: recipe.get(name) for name in state["identity"]["recipe"]}}
        write_checkpoint(path, state)


def _differing(one: Any, other: Any) -> Any:
    """What of one differs from the other: some entries of mappings."""
    return {k: v for k, v in one.items() if other.get(k, ...) != v} if isinstance(one, dict) and isinstance(other, dict) else one


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
