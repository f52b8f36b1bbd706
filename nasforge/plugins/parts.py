"""The tables that a plugin may have: what stands in each, and into which table of nasforge it goes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from nasforge import zoo
from nasforge.blocks import BLOCKS, entries
from nasforge.blocks.base import Layer
from nasforge.data.dataset import KINDS as TARGETS
from nasforge.data.readers import READERS, Reader
from nasforge.errors import UserError
from nasforge.evaluation import EVALUATORS
from nasforge.objectives.metrics import METRICS, Known, Metric
from nasforge.spaces.arch import WIRES
from nasforge.spaces.check import check_arch
from nasforge.spaces.domains import KINDS as DOMAINS
from nasforge.spaces.files import read
from nasforge.strategies.registry import STRATEGIES
from nasforge.strategies.schedulers import SCHEDULERS
from nasforge.tasks import TASKS, Task

NAME = re.compile(r"[A-Za-z_][\w.-]*")
IN_A_FAMILY = ("family", "task", "source", "template", "members")
Found = Iterator[tuple[str, Any]]  # names, and what our table is to hold for them


@dataclass(frozen=True)
class Kind:
    """One table: what an entry is called, our table, and what a plugin's table of that name, at a path, adds to it."""

    word: str
    table: dict[str, Any]
    found: Callable[[Any, str], Found]


def tables_in(module: ModuleType) -> dict[str, Any]:
    """Return the tables that a plugin has of its own; those of nasforge that it only imports are not."""
    return {name: vars(module)[name] for name, kind in PARTS.items() if name in vars(module) and vars(module)[name] is not kind.table}


def named(table: Any, where: str, what: str) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a dict. Raise UserError where it is none, or a name is no name."""
    if not isinstance(table, Mapping):
        raise UserError(f"{where}: must be a dict from a name to {what}, got {type(table).__name__}; write {{'name': ...}}")
    for name, value in table.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserError(f"{where}: a name must be a word such as wave_2, got {name!r}; rename it")
        yield name, value


def listed(table: Any, where: str, what: str) -> Iterator[Any]:
    """Yield the entries of a list. Raise UserError where it is none."""
    if not isinstance(table, list | tuple):
        raise UserError(f"{where}: must be a list of {what}, got {type(table).__name__}; write [...]")
    yield from table


# ---------------------------------------------------------------- one function a table


def _blocks(table: Any, where: str) -> Found:
    for name, make in named(table, where, "a Layer, a Combinator or a function"):
        if name in (*DOMAINS, *WIRES):
            raise UserError(f"{where}.{name}: is a word of the grammar, and cannot be the name of a block; rename it")
        if not isinstance(make, FunctionType) and not (isinstance(make, type) and issubclass(make, Layer)):
            raise UserError(f"{where}.{name}: must be a subclass of Layer or Combinator (nasforge.blocks.base) or a function that returns "
                            f"blocks, got {make!r}; derive it from Layer")  # fmt: skip
        if not isinstance(make, FunctionType) and not _takes_shape(make):
            raise UserError(f"{where}.{name}: the constructor must take the shape of the input first, got "
                            f"{make.__name__}{inspect.signature(make.__init__)}; write __init__(self, shape, ...)")  # fmt: skip
        try:
            yield from ((block.name, block) for block in entries({name: make}))
        except (NameError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{where}.{name}: its signature must have types that can be read, got {error}; mend its annotations") from None


def _takes_shape(make: type) -> bool:
    first = list(inspect.signature(make.__init__).parameters.values())[1:2]  # type: ignore[misc]
    return bool(first) and first[0].kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _metrics(table: Any, where: str) -> Found:
    for i, one in enumerate(listed(table, where, "Metric")):
        if not isinstance(one, Metric) or not NAME.fullmatch(one.name):
            raise UserError(f"{where}.{i}: must be a Metric (nasforge.objectives.metrics) with a word as its name, got {one!r}")
        if one.known is not Known.TRAINED:
            raise UserError(f"{where}.{one.name}: must be Known.TRAINED, got {one.known!s}: the metric of a plugin is what its task scores")
        yield one.name, one


def _tasks(table: Any, where: str) -> Found:
    for i, one in enumerate(listed(table, where, "Task classes")):
        if not (isinstance(one, type) and issubclass(one, Task)):
            raise UserError(f"{where}.{i}: must be a subclass of Task (nasforge.tasks), got {one!r}; list the class itself")
        name, kind, lacks = getattr(one, "name", None), getattr(one, "kind", None), sorted(one.__abstractmethods__)
        if lacks:
            raise UserError(f"{where}.{i}: {one.__name__} must have the methods of a Task, it lacks {', '.join(lacks)}; write them")
        if not isinstance(name, str) or not NAME.fullmatch(name) or kind not in TARGETS:
            raise UserError(f"{where}.{i}: {one.__name__} must have a name and a kind of target ({', '.join(TARGETS)}), got {name!r} and "
                            f"{kind!r}; a task of another kind cannot come from a plugin")  # fmt: skip
        unknown = [m for m in getattr(one, "metrics", ()) if m not in METRICS.values()]
        if unknown:
            raise UserError(f"{where}.{name}: its metrics must be in METRICS, ours or the plugin's, got {unknown[0]!r}; add it there")
        yield name, one


def _readers(table: Any, where: str) -> Found:
    for name, one in named(table, where, "a Reader"):
        if not isinstance(one, Reader):
            raise UserError(f"{where}.{name}: must be a Reader (nasforge.data.readers), got {one!r}; write Reader(what, accepts, read)")
        yield name, one


def _strategies(table: Any, where: str) -> Found:
    for name, one in named(table, where, "a function of a Problem"):
        if not callable(one):
            raise UserError(f"{where}.{name}: must be a function from a Problem to propose(history, rng), got {one!r}")
        yield name, one


def _schedulers(table: Any, where: str) -> Found:
    for name, one in named(table, where, "a scheduler"):
        lacks = [part for part in ("pauses", "on_report", "promote") if not hasattr(one, part)]
        if lacks or isinstance(one, type):
            raise UserError(f"{where}.{name}: must be an object with pauses, on_report and promote, got {one!r}; "
                            f"{f'it lacks {lacks[0]}' if lacks else 'make one of the class'}")  # fmt: skip
        yield name, one


def _evaluators(table: Any, where: str) -> Found:
    for name, one in named(table, where, "an evaluator class"):
        lacks = [part for part in ("metrics", "prepare", "evaluate") if not hasattr(one, part)]
        if lacks or not callable(one):
            raise UserError(f"{where}.{name}: must be a class with metrics, prepare and evaluate, got {one!r}")
        yield name, one


def _zoo(table: Any, where: str) -> Found:
    for file in table:
        family = read(file)
        lacks = [key for key in IN_A_FAMILY if key not in family]
        if lacks:
            raise UserError(f"{file}: must have the keys {', '.join(IN_A_FAMILY)}, it lacks {', '.join(lacks)}; see nasforge/zoo/")
        for name, _ in named(family["members"], f"{file}: members", "its values"):
            try:
                check_arch(zoo.member(name, family), BLOCKS)
            except (UserError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{file}: members.{name}: must fill the template to a network, got {error}") from None
            yield name, family


def zoo_files(table: Any, folder: Path, where: str) -> list[Path]:
    """Return the files that ZOO names, itself or by their folder, relative to that of the plugin."""
    found: list[Path] = []
    for i, word in enumerate(listed(table, where, "paths")):
        path = folder / word if isinstance(word, str) else None
        files = [] if path is None else sorted(path.glob("*.yaml")) if path.is_dir() else [path] if path.is_file() else []
        if not files or not all(file.resolve().is_relative_to(folder) for file in files):
            raise UserError(f"{where}.{i}: must be a YAML file, or a folder of them, beside the plugin or below it, got {word!r}; "
                            f"looked in {folder}")  # fmt: skip
        found += [file.resolve() for file in files]
    return found


PARTS: dict[str, Kind] = {  # in this order: a task may have the metrics of its plugin, a network of the zoo its blocks
    "BLOCKS": Kind("block", BLOCKS, _blocks),
    "METRICS": Kind("metric", METRICS, _metrics),
    "TASKS": Kind("task", TASKS, _tasks),
    "READERS": Kind("reader", READERS, _readers),
    "STRATEGIES": Kind("strategy", STRATEGIES, _strategies),
    "SCHEDULERS": Kind("scheduler", SCHEDULERS, _schedulers),
    "EVALUATORS": Kind("evaluator", EVALUATORS, _evaluators),
    "ZOO": Kind("network", zoo.ADDED, _zoo),
}
