"""nasforge: neural architecture search on plain data.

    import nasforge as nf

    run = nf.search("digits", data=(x, y), constraints={"params": 2e4}, trials=20)
    run.best.model                  # a torch module, trained
    run.trials(), run.front()       # one row a trial
    run.export("onnx")

The same verbs are commands, and functions on the same data, each in its room:

    nasforge.spaces.files      read, write             nasforge.spaces.space     Space: draw, size, domains
    nasforge.networks.build    build, key              nasforge.spaces.locate    locate
    nasforge.networks.cost     count, layer_table      nasforge.scaling          scale, fit
    nasforge.latency           measure, calibrate      nasforge.zoo              load, entries
    nasforge.tasks             load_data, task_of      nasforge.train            fit, score
    nasforge.search            plan, session.search    nasforge.export           export
    nasforge.plugins           load_plugins          nasforge.tune            NasforgeSearch, Training: for Ray Tune

Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from types import ModuleType
from typing import Any

API = {  # name: where it is
    "search": "nasforge.api.search",
    "train": "nasforge.api.train",
    "train_again": "nasforge.api.again",
    "score": "nasforge.api.score",
    "Run": "nasforge.api.run",
    "trials": "nasforge.api.run",
    "zoo": "nasforge.api.networks",
    "show": "nasforge.api.networks",
    "scale": "nasforge.api.networks",
    "latency": "nasforge.api.networks",
    "export": "nasforge.api.exports",
    "predict": "nasforge.api.predict",
    "load_data": "nasforge.api.data",
    "load_plugins": "nasforge.plugins",
    "NASClassifier": "nasforge.api.estimators",
    "NASRegressor": "nasforge.api.estimators",
    "UserError": "nasforge.errors",
}


class _Verb(ModuleType):
    """A room that is also called: `nasforge.search` is a package, and `nasforge.search(...)` its function for users."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _offered(self.__name__.rpartition(".")[2])(*args, **options)

    def __reduce__(self) -> Any:  # by name, as any module: functions that go to other processes may speak of it
        return importlib.import_module, (self.__name__,)


class _Package(ModuleType):
    """This package: a room that the import system binds here under the name of a verb becomes callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in API:
            value.__class__ = _Verb
        super().__setattr__(name, value)

    def __reduce__(self) -> Any:
        return importlib.import_module, (self.__name__,)


def __getattr__(name: str) -> Any:
    if name not in API:
        raise AttributeError(f"module 'nasforge' has no attribute {name!r}")
    if importlib.util.find_spec(f"nasforge.{name}") is not None:
        return importlib.import_module(f"nasforge.{name}")
    return _offered(name)


def _offered(name: str) -> Any:
    """What API names, with the plugins of installed packages loaded where it may ask for their parts."""
    if API[name] not in ("nasforge.plugins", "nasforge.errors"):
        _load_installed()
    return getattr(importlib.import_module(API[name]), name)


@cache
def _load_installed() -> None:
    from importlib.metadata import entry_points

    if entry_points(group="nasforge.plugins"):
        importlib.import_module("nasforge.plugins").load_plugins()


def __dir__() -> list[str]:
    return sorted({*globals(), *API})


sys.modules[__name__].__class__ = _Package
