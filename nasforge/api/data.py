"""Data by name, or given as themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasforge.data import Dataset, Source
from nasforge.data.dataset import may_be_laid_out_otherwise
from nasforge.errors import UserError, nearest
from nasforge.evaluation.train import reads
from nasforge.tasks import data_of
from nasforge.tasks import load_data as load_named

OPTIONS = ("task", "target", "data_limit", "allow_code", "image_size", "skip_broken", "data_memory")  # of every command that reads data
OF_FILES = ("image_size", "skip_broken")  # of images in files


def load_data(data: Any = "digits", **options: Any) -> Dataset:
    """Return data as a data set: `spec` says what they are, `batches(part, size)` gives them, normalized by the training part.

    Args:
        data: what `--data` names, `(x, y)`, arrays by name as in FILE.npz, or a data frame.
        options: task, target, data_limit, allow_code, image_size, skip_broken, data_memory, as on the command line.

    Raises:
        UserError: nothing readable is there, or what is there cannot be trained on.
    """
    dataset, source = data_given(data, options, {})
    return load_named(source) if dataset is None else dataset


def data_given(
    data: Any, options: Mapping[str, Any], network: Mapping[str, Any], others: Sequence[str] = (), loaded: Dataset | None = None
) -> tuple[Dataset | None, Source]:
    """Return data that are given as themselves (None: they are named), and their source.

    Args:
        options: how to read them, those of OPTIONS. others: what the caller may be given besides, for the message.
        network: an architecture or a space whose input settles the layout of images.
        loaded: these data as `load_data` returned them with the same options.

    Raises:
        UserError: an option is unknown, or does not go with data that are given.
    """
    for name in options:
        if name not in OPTIONS:
            raise UserError(f"unknown option {name!r}; {nearest(name, (*OPTIONS, *others))}")
    if data is None or isinstance(data, str | Path):
        return None, Source.of({**options, "data": data}, reads(network))
    asked = {name: value for name, value in options.items() if value is not None and value is not False and name != "allow_code"}
    if hasattr(data, "batches"):
        for name, value in asked.items():
            raise UserError(f"{name}: says how data are read, and a data set has been read, got {value!r}; give it to nasforge.load_data")
        return data, Source.of({**options, "data": data.name}, reads(network))
    for name in OF_FILES:
        if name in asked:
            raise UserError(f"{name}: is for images in files, got {asked[name]!r} with arrays; leave it out")
    source = Source.of({**options, "data": "arrays"}, reads(network))
    if loaded is not None and not may_be_laid_out_otherwise(loaded.spec, source.reads):
        return loaded, source
    found = data_of(data, task=source.task, target=source.target, limit=source.limit, reads=source.reads, memory_bytes=source.memory_bytes)
    return found, source
