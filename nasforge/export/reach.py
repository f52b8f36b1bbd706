"""Which definitions of the block files a few classes need to run.

From the given classes, a definition is reached when reached code reads its name, a method or class constant when reached code reads an
attribute (or a word) of its name, an entry of a table `{"relu": ..., ...}[kind]` when its word stands anywhere else in reached code.
So build-only parts (`build`, `canonical`, `free`) and unused activations fall away without being named here. The bases of blocks, which
only declare such parts, are written as `nn.Module`.

What is followed lies in `nasforge.blocks`, or in the plugin that a class comes from; torch and Python's own modules are imported.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import resolve_name
from itertools import accumulate

from nasforge.blocks.base import Combinator, Layer
from nasforge.errors import UserError
from nasforge.export.references import Entry, references

PACKAGE = "nasforge"
OURS = f"{PACKAGE}.blocks."
Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
Name = tuple[str, str]  # module, name in it
BASES: dict[Name, str] = {(base.__module__, base.__name__): "nn.Module" for base in (Layer, Combinator)}


@dataclass(frozen=True)
class File:
    """One module, parsed: its text, the byte where each line starts, what it defines, and what it imports by name."""

    name: str
    source: bytes
    starts: list[int]
    definitions: dict[str, Definition]
    imports: dict[str, tuple[str, str | None]]

    def span(self, node: ast.expr) -> tuple[int, int]:
        """Return the first byte of an expression and the byte after it."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def lines(self, node: ast.stmt) -> tuple[int, int]:
        """Return the same for a statement as whole lines, with the decorators and comments above it."""
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        while first > 1 and self._line(first - 1).startswith(b"#") and b"----" not in self._line(first - 1):
            first -= 1
        assert node.end_lineno is not None
        return self.starts[first - 1], self.starts[node.end_lineno]

    def _line(self, number: int) -> bytes:
        return self.source[self.starts[number - 1] : self.starts[number]].strip()


@dataclass
class Reached:
    """What is reached so far, and what waits for a word or an attribute to be read.

    homes: the packages of plugins whose source is lifted too.
    reads: every name that reached code reads: the file it stands in, the expression, the name as it stands there, what it means.
    imports: (module, name in it or None for the module itself, name here) from outside the package.
    """

    words: set[str]
    homes: frozenset[str]
    attributes: set[str] = field(default_factory=set)
    definitions: dict[tuple[str, int], tuple[File, Definition]] = field(default_factory=dict)
    reads: list[tuple[str, ast.expr, str, Name]] = field(default_factory=list)
    imports: set[tuple[str, str | None, str]] = field(default_factory=set)
    members: list[tuple[File, ast.stmt, str]] = field(default_factory=list)
    entries: list[tuple[File, Entry]] = field(default_factory=list)

    def lifts(self, module: str) -> bool:
        """Whether the source of a module is lifted, not imported."""
        return module.startswith(OURS) or _top(module) in self.homes


def reach(classes: Iterable[type], words: Iterable[str]) -> Reached:
    """Return what `classes` need when they are called with the strings `words`; what stays in `members` and `entries` is not needed.

    Raise UserError where they need what a file for torch alone cannot hold.
    """
    classes = list(classes)
    found = Reached(set(words), frozenset({_top(cls.__module__) for cls in classes} - {PACKAGE}))
    for cls in classes:
        _define(found, parse(cls.__module__), cls.__name__)
    while _wake(found):
        pass
    return found


@lru_cache(maxsize=200)
def parse(name: str) -> File:
    """Return the parsed source of an imported module."""
    module = sys.modules[name]
    source = module.__loader__.get_source(name).encode()  # type: ignore[union-attr]
    definitions: dict[str, Definition] = {}
    imports: dict[str, tuple[str, str | None]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            definitions.update({name: node for name in assigned(node)})
        elif isinstance(node, ast.Import):
            imports.update({a.asname or a.name.partition(".")[0]: (a.name, None) for a in node.names})
        elif isinstance(node, ast.ImportFrom):
            source_of = resolve_name("." * node.level + (node.module or ""), module.__package__) if node.level else str(node.module)
            imports.update({a.asname or a.name: (source_of, a.name) for a in node.names})
    starts = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]
    return File(name, source, starts, definitions, imports)


def assigned(node: ast.stmt) -> list[str]:
    """Return the names that an assignment binds."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def _define(found: Reached, file: File, name: str) -> None:
    """Reach a definition and all that it needs as it stands; methods that nothing calls yet wait."""
    node = file.definitions[name]
    if (file.name, node.lineno) in found.definitions:
        return
    found.definitions[file.name, node.lineno] = (file, node)
    if not isinstance(node, ast.ClassDef):
        _scan(found, file, [node])
        return
    _scan(found, file, [*node.decorator_list, *node.bases, *node.keywords])
    for member in node.body:
        names = [member.name] if isinstance(member, ast.FunctionDef) else assigned(member) if isinstance(member, ast.Assign) else []
        if len(names) == 1 and not _called_from_outside(found, getattr(sys.modules[file.name], name), names[0]):
            found.members.append((file, member, names[0]))
        else:
            _scan(found, file, [member])


def _called_from_outside(found: Reached, cls: type, name: str) -> bool:
    """Return whether Python or a library's base class may use a member: `__init__`, `forward`, `extra_repr` ..."""
    outside = [base for base in cls.__mro__[1:] if not found.lifts(base.__module__)]
    return name.startswith("__") or any(hasattr(base, name) for base in outside)


def _scan(found: Reached, file: File, nodes: Iterable[ast.AST], bound: frozenset[str] = frozenset()) -> None:
    read = references(nodes, bound)
    found.words |= read.words
    found.attributes |= read.attributes
    found.entries += [(file, entry) for entry in read.entries]
    for name, place in read.names:
        _follow(found, file, name, place)


def _follow(found: Reached, file: File, name: str, place: ast.expr) -> None:
    """Follow a name through imports to its definition; the names of Python itself lead nowhere."""
    home, meaning = file, name
    while meaning not in home.definitions:
        if meaning not in home.imports:
            if meaning in vars(sys.modules[home.name]):
                raise _refused(home, f"define {meaning} by def, class or assignment, or import it by its name, outside `if` and `try`")
            return
        module, original = home.imports[meaning]
        if not found.lifts(module):
            if _top(module) != "torch" and _top(module) not in sys.stdlib_module_names:
                raise _refused(home, f"import torch, Python's own modules and names of nasforge.blocks only, got {module}")
            found.imports.add((module, original, name))
            return
        if original is None or f"{module}.{original}" in sys.modules:
            raise _refused(home, f"import names, not a module such as {original or module}")
        home, meaning = parse(module), original
    found.reads.append((file.name, place, name, (home.name, meaning)))
    if (home.name, meaning) in BASES:
        found.imports.add(("torch", "nn", "nn"))
    else:
        _define(found, home, meaning)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _refused(file: File, rule: str) -> UserError:
    where = sys.modules[file.name].__file__
    return UserError(f"{where}: to be written as Python, must {rule}; change it, or export to onnx or torch")


def _wake(found: Reached) -> bool:
    """Scan what waited and is read by now; False when there is nothing more."""
    members = [m for m in found.members if m[2] in found.words or m[2] in found.attributes]
    entries = [e for e in found.entries if e[1].word in found.words]
    found.members = [m for m in found.members if m not in members]
    found.entries = [e for e in found.entries if e not in entries]
    for file, member, _ in members:
        _scan(found, file, [member])
    for file, entry in entries:
        _scan(found, file, [entry.value], entry.bound)
    return bool(members or entries)
