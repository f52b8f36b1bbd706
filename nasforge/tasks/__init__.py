"""Tasks by name. The first task of a kind of target is the one that such data get unless `--task` names another."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from typing import Any

from nasforge.data import Dataset, DataSpec, Source, load, prepared
from nasforge.data.arrays import Raw
from nasforge.data.dataset import MEMORY_BYTES, may_be_laid_out_otherwise
from nasforge.data.readers import are_encoded, read
from nasforge.data.readers.given import read_given
from nasforge.errors import UserError, nearest
from nasforge.tasks.base import Task, forward
from nasforge.tasks.classification import Classification
from nasforge.tasks.heads import Heads
from nasforge.tasks.multilabel import Multilabel
from nasforge.tasks.regression import Regression
from nasforge.tasks.segmentation import Segmentation
from nasforge.tasks.seq2seq import Seq2Seq
from nasforge.tasks.stamps import stamp_of
from nasforge.tasks.tagging import Tagging

__all__ = [
    "TASKS", "Task", "data_of", "forget_data", "forward", "given_with_raw", "load_data", "load_with_raw", "seconds_to_load", "task_of",
]  # fmt: skip

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Classification, Segmentation, Tagging, Seq2Seq, Regression, Multilabel)
}  # fmt: skip
OF_CHOICE = ("value", "labels")  # kinds of targets that data do not show: the task must be named


def load_data(source: Source) -> Dataset:
    """Return the data that a source names, for the task that it names; loaded once a process, and again when their files have changed.

    Raises:
        UserError: there is no such task, the data cannot be read, or they have no target for it.
    """
    _check_limit(source.limit)
    stamp = stamp_of(source.spec)
    if source.reads is None:
        return _loaded(source, stamp)
    plain = replace(source, reads=None)
    if are_encoded(source.spec):
        return _loaded(plain, stamp)
    try:
        data = _loaded(plain, stamp)  # a search that looked for a space has loaded them so
    except UserError:
        return _loaded(source, stamp)
    return _loaded(source, stamp) if may_be_laid_out_otherwise(data.spec, source.reads) else data


@lru_cache(maxsize=2)
def _loaded(source: Source, stamp: str) -> Dataset:
    began = time.perf_counter()
    data = load(source, _kind(source.task))
    task_of(data.spec, data.name)
    _seconds[data.key] = time.perf_counter() - began
    return data


def load_with_raw(source: Source) -> tuple[Dataset, Raw]:
    """Return the data that a source names, and what its reader found; read anew each time. Raise UserError as `load_data`."""
    _check_limit(source.limit)
    raw = read(source, _kind(source.task))
    return _prepared(raw, source), raw


_seconds: dict[str, float] = {}


def seconds_to_load(data: Dataset) -> float:
    """Return how long it took to load data in this process, 0 where they were given."""
    return _seconds.get(data.key, 0.0)


def forget_data() -> None:
    """Let data be loaded again: a reader or a task may be another by now."""
    _loaded.cache_clear()


def data_of(
    given: Any,
    name: str = "arrays",
    *,
    task: str | None = None,
    target: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    reads: tuple[int, ...] | None = None,
    memory_bytes: float = MEMORY_BYTES,
) -> Dataset:
    """Return data that a program gives as a data set, split and normalized as a file of them would be.

    Args:
        given: `(x, y)`, arrays by name as in FILE.npz, or a data frame; see `nasforge.data.readers.given`.
        task, target, limit, seed, reads, memory_bytes: as in `nasforge.data.Source`.

    Raises:
        UserError: there is no such task, or the data cannot be trained on.
    """
    _check_limit(limit)
    source = Source(limit=limit, seed=seed, task=task, memory_bytes=memory_bytes)
    return _prepared(read_given(given, name, _kind(task), target, reads), source)


def given_with_raw(given: Any, source: Source) -> tuple[Dataset, Raw]:
    """Return data as `data_of` does, by the words of a source, and their arrays as they were given."""
    raw = read_given(given, source.spec, _kind(source.task), source.target, source.reads)
    return _prepared(raw, source), raw


def _prepared(raw: Raw, source: Source) -> Dataset:
    data = prepared(raw, seed=source.seed, limit=source.limit, task=source.task, memory_bytes=source.memory_bytes)
    task_of(data.spec, data.name)
    return data


def _check_limit(limit: Any) -> None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise UserError(f"--data-limit: must be a whole number, got {limit!r}")


def _kind(task: str | None) -> str | None:
    """The kind of the target where the task settles it. Raise UserError where there is no such task."""
    if task is not None and task not in TASKS:
        raise UserError(f"--task {task}: no such task; {nearest(task, TASKS)}")
    kind = TASKS[task].kind if task else None
    return kind if kind in OF_CHOICE else None


def task_of(spec: DataSpec, where: str = "data") -> Task:
    """Return the task of some data: one for each target, together as heads where there are several.

    Raises:
        UserError: the task that was asked for learns another kind of target.
    """
    if len(spec.targets) > 1:
        if spec.task is not None:
            targets = ", ".join(spec.targets)
            raise UserError(f"--task {spec.task}: {where} has the targets {targets}, each with a task of its own; leave it out")
        return Heads({key: _default(target.kind)(key, target) for key, target in spec.targets.items()})
    key, target = next(iter(spec.targets.items()))
    task = TASKS[spec.task] if spec.task else _default(target.kind)
    if task.kind != target.kind:
        able = [name for name, other in TASKS.items() if other.kind == target.kind]
        raise UserError(
            f"--task {task.name}: learns a target of kind {task.kind}, {where} has one of kind {target.kind}; "
            f"such data are for {' or '.join(able)}"
        )
    return task(key, target)


def _default(kind: str) -> type[Task]:
    return next(task for task in TASKS.values() if task.kind == kind)
