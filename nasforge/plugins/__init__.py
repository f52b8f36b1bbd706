"""A user's own parts: Python files given by `--plugin`, and modules that installed packages offer as entry points of GROUP.

A plugin has tables of the names that ours have, and registers nothing itself:

    BLOCKS, READERS, STRATEGIES, SCHEDULERS, EVALUATORS    dicts by name
    METRICS, TASKS                                         lists
    ZOO                                                    files of documented networks, or folders of them, beside the plugin

It is imported once a process and checked whole: all of it goes into our tables, or nothing. A name that is taken stays whose it is.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.abc import SourceLoader
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from nasforge.data.readers import READERS
from nasforge.errors import UserError, nearest
from nasforge.networks.build import forget
from nasforge.plugins.parts import PARTS, Found, Kind, tables_in, zoo_files
from nasforge.spaces.arch import digest
from nasforge.tasks import forget_data
from nasforge.zoo import aka, names

GROUP = "nasforge.plugins"
Carried = tuple[str, str, str | None]  # a plugin on its way to a worker: name, file, text; or name, module, None of an installed one


@dataclass(frozen=True)
class Plugin:
    """A plugin.

    Attributes:
        name: of its file or its entry point.
        where: the file, or the module of an installed one.
        text: of that file or module.
        package: that it was installed with, and its version; else nothing.
        parts: what it added to our tables, names by what they are.
        beside: the texts of its zoo files, by their paths from its folder.
    """

    name: str
    where: str
    text: str
    package: str = ""
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What must be the same for a run to go on: a hash of the text and of its zoo files, and the version of a package."""
        return f"{self.package} {digest([self.text, dict(self.beside)] if self.beside else self.text)}".strip()

    @property
    def carried(self) -> Carried:
        """What a worker loads it from."""
        return self.name, self.where, None if self.package else self.text

    def copy_to(self, folder: Path) -> None:
        """Write the plugin into a folder of its own there, with its zoo files; one of a package stays in its package."""
        for path, text in {} if self.package else {self.name: self.text, **self.beside}.items():
            copy = _copy(folder, self.name).parent / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text, encoding="utf-8")

    def __str__(self) -> str:
        told = (f"{word if len(found) == 1 else _plural(word)} {', '.join(found)}" for word, found in self.parts.items())
        return f"plugin {self.name}: {'; '.join(told)}"


LOADED: dict[str, Plugin] = {}  # in this process, by name


def load_plugins(*files: str | Path) -> None:
    """Load the plugins of installed packages, and those in files.

    Raises:
        UserError: a plugin cannot be read or run, breaks a rule, or wants a name that is taken.
    """
    for point in entry_points(group=GROUP):
        _load(_installed(point.name, point.module, _package(point)))
    for file in files:
        _load(_in_file(file))


def load_carried(plugins: Sequence[Carried]) -> None:
    """Load, as a worker, the plugins of the process that started it; without networks by name, which only that one looks up."""
    for name, where, text in plugins:
        _load(_installed(name, where, "installed") if text is None else Plugin(name, where, text), leave=("ZOO",))


def check_loaded(wanted: Mapping[str, str], kept: Path) -> None:
    """Raise UserError unless the plugins of a run, identities by name, are loaded; further ones change nothing in it.

    kept: the folder of their copies in that of the run.
    """
    run = kept.parent
    for name, identity in wanted.items():
        copy = _copy(kept, name)
        give = f"--plugin {copy} --allow-code" if copy.is_file() else f"the package that it came with ({identity})"
        if name not in LOADED:
            raise UserError(f"{run}: was searched with the plugin {name}, which is not loaded; give {give}")
        if LOADED[name].identity != identity:
            got = f"{LOADED[name].identity} of {LOADED[name].where}"
            raise UserError(f"{run}: must have its plugin {name} as it was ({identity}), got {got}; give {give}, or another --run")


def copies(wanted: Iterable[str], kept: Path) -> list[str]:
    """Return the files from which plugins of these names, kept with a run, are loaded again."""
    return [str(copy) for name in wanted if (copy := _copy(kept, name)).is_file()]


def _copy(folder: Path, name: str) -> Path:
    return folder / name.removesuffix(".py") / name


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


# ---------------------------------------------------------------- from a file or a package to a module


def _in_file(file: str | Path) -> Plugin:
    path = Path(file).expanduser()
    try:
        if path.suffix != ".py":
            raise OSError("its name does not end with .py")
        return Plugin(path.name, str(path.resolve()), path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--plugin {file}: must be a Python file that can be read, got: {reason}; give the path of one") from None


def _installed(name: str, module: str, package: str) -> Plugin:
    try:
        spec = find_spec(module)
        text = spec.loader.get_source(module) if spec is not None and spec.loader is not None else None  # type: ignore[attr-defined]
    except Exception as error:  # it runs the package around the module
        said = f"{type(error).__name__}: {error}"
        raise UserError(f"the plugin {name}: {module} must be a module here, got {said}; install its package, or mend it") from error
    if text is None:
        raise UserError(f"the plugin {name}: {module} must be a module of Python source, got none here; install its package, or mend it")
    return Plugin(name, module, text, package)


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


class _Text(SourceLoader):
    """Gives a module the text that was read or carried, whatever stands in its file by now, or if there is none here."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin

    def get_filename(self, fullname: str) -> str:
        return self.plugin.where

    def get_data(self, path: str | bytes) -> bytes:
        return self.plugin.text.encode()


def _module(plugin: Plugin) -> str:
    return plugin.where if plugin.package else f"plugin_{re.sub(r'[^0-9A-Za-z]', '_', Path(plugin.name).stem)}_{digest(plugin.text)[:8]}"


def _imported(plugin: Plugin) -> ModuleType:
    try:
        if plugin.package:
            return importlib.import_module(plugin.where)
        spec = spec_from_file_location(_module(plugin), plugin.where, loader=_Text(plugin))
        assert spec is not None and spec.loader is not None
        module = sys.modules[spec.name] = module_from_spec(spec)  # before it runs: dataclasses look there
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:
        raise _failed(plugin.where, error, plugin.package) from error


def _failed(where: str, error: BaseException, package: str) -> UserError:
    """What is said of a plugin that cannot be imported, with the last line that ran in it."""
    frames = [f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__) if package or f.filename == where]
    place, said = frames[-1] if frames else where, str(error)
    if isinstance(error, SyntaxError):
        place, said = f"{error.filename}:{error.lineno}", error.msg
    remedy = f"mend or uninstall the package {package}" if package else "mend it"
    return UserError(f"{place}: a plugin must run when it is imported, got {type(error).__name__}: {said}; {remedy}")


# ---------------------------------------------------------------- from a module to the tables


def _load(plugin: Plugin, leave: Sequence[str] = ()) -> None:
    """Load a plugin, but for the tables to leave out; nothing where it is loaded."""
    known = LOADED.get(plugin.name)
    if known is not None:
        if known.text == plugin.text and ("ZOO" in leave or plugin.package or known.beside == _read_beside(plugin, known)):
            return
        text = "with another text" if known.text != plugin.text else "with other zoo files"
        raise UserError(f"{plugin.where}: a plugin called {plugin.name} is loaded from {known.where} {text}; rename one of them, or begin "
                        "another Python")  # fmt: skip
    before = {name: dict(kind.table) for name, kind in PARTS.items()}
    try:
        LOADED[plugin.name] = _registered(plugin, _imported(plugin), leave)
    except BaseException:
        for name, kind in PARTS.items():
            _fill(kind.table, before[name])
        if not plugin.package:
            sys.modules.pop(_module(plugin), None)
        raise
    finally:
        forget()
        forget_data()


def _read_beside(plugin: Plugin, known: Plugin) -> dict[str, str]:
    """The zoo files of a loaded plugin, as they lie beside another file of it."""
    files = {path: Path(plugin.where).parent / path for path in known.beside}
    return {path: file.read_text(encoding="utf-8") for path, file in files.items() if file.is_file()}


def _registered(plugin: Plugin, module: ModuleType, leave: Sequence[str]) -> Plugin:
    tables = tables_in(module)
    if not tables:
        given = next((name for name in vars(module) if name.isupper()), "none")
        raise UserError(f"{plugin.where}: a plugin must have a table of what it adds, got {given}; {nearest(given, PARTS)}")
    folder, beside, parts = Path(str(module.__file__)).resolve().parent, dict[str, str](), dict[str, Sequence[str]]()
    for name in (name for name in PARTS if name in tables and name not in leave):
        where, table, ours = f"{plugin.where}: {name}", tables[name], PARTS[name]
        if name == "ZOO":
            table = zoo_files(table, folder, where)
            beside = {str(file.relative_to(folder)): file.read_text(encoding="utf-8") for file in table}
        found = dict(_free(ours.found(table, where), where, ours))
        old = dict(ours.table)
        _fill(ours.table, {**found, **old} if ours.table is READERS else {**old, **found})  # special formats are asked first
        parts[ours.word] = list(found)
    return replace(plugin, parts=parts, beside=beside)


def _free(found: Found, where: str, ours: Kind) -> Found:
    """Yield what a plugin adds. Raise UserError for a name that is taken."""
    for name, value in found:
        if name in (ours.table if ours.word != "network" else (*names(), *aka())):
            owner = next((f"the plugin {p.where}" for p in LOADED.values() if name in p.parts.get(ours.word, ())), "nasforge itself")
            raise UserError(f"{where}.{name}: must be a name of its own, got that of a {ours.word} of {owner}; rename it")
        yield name, value


def _fill(table: dict[str, Any], entries: Mapping[str, Any]) -> None:
    table.clear()
    table.update(entries)
