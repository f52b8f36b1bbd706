"""The source of the definitions that some classes need, as one text without anything else."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasforge.export.reach import BASES, Definition, File, Name, Reached, assigned, parse, reach
from nasforge.export.references import is_docstring

Edit = tuple[int, int, bytes]  # bytes from, to, and what is to stand there


@dataclass(frozen=True)
class Lifted:
    """Python text, what it imports as (module, name in it or None, name here), and what each class is called in it."""

    code: str
    imports: frozenset[tuple[str, str | None, str]]
    names: dict[type, str]


def lift(classes: Sequence[type], words: set[str], taken: set[str]) -> Lifted:
    """Return the source that `classes` need. `words`: strings they are called with; `taken`: names that stand elsewhere in the file."""
    found = reach(classes, words)
    order = _in_order(found)
    names = _names(order, [(c.__module__, c.__name__) for c in classes], taken | {name for *_, name in found.imports})
    code = ""
    for i, (file, node) in enumerate(order):
        near = i and isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(order[i - 1][1], ast.Assign | ast.AnnAssign)
        code += ("\n" if near else "\n\n\n" if i else "") + _text(found, file, node, names)
    return Lifted(code, frozenset(found.imports), {c: names[c.__module__, c.__name__] for c in classes})


def _in_order(found: Reached) -> list[tuple[File, Definition]]:
    """Return definitions so that every file stands after those it imports, as Python would run them."""
    files = {file.name for file, _ in found.definitions.values()}
    order: list[str] = []

    def visit(name: str) -> None:
        for module, _ in parse(name).imports.values():
            if module in files and module not in order and module != name:
                visit(module)
        if name not in order:
            order.append(name)

    for name in sorted(files):
        visit(name)
    return sorted(found.definitions.values(), key=lambda item: (order.index(item[0].name), item[1].lineno))


def _names(order: list[tuple[File, Definition]], first: list[Name], taken: set[str]) -> dict[Name, str]:
    """Return what each definition is called in the one file: its own name, with its module's behind it where the name is taken."""
    rest = [(file.name, name) for file, node in order for name, other in file.definitions.items() if other is node]
    names = dict(BASES)
    for key in [*first, *(r for r in rest if r not in first)]:
        module, name = key
        if name in taken:
            name = re.sub(r"\W", "_", f"{name}_{Path(str(sys.modules[module].__file__)).stem}")
        while name in taken:
            name += "_"
        names[key] = name
        taken = taken | {name}
    return names


# ---------------------------------------------------------------- text


def _text(found: Reached, file: File, node: Definition, names: dict[Name, str]) -> str:
    """Return the text of one definition without the parts that were not reached."""
    start, end = file.lines(node)
    gone = [file.lines(member) for other, member, _ in found.members if other is file]
    edits: list[Edit] = [(a, b, b"") for a, b in gone if start <= a and b <= end]
    edits += [e for e in _table_edits(found, file) if start <= e[0] and e[1] <= end]
    renames = [e for e in _renames(found, file, node, names) if start <= e[0] and e[1] <= end]
    edits += [r for r in renames if not any(a <= r[0] < b for a, b, _ in edits)]
    text = file.source[start:end]
    for a, b, instead in sorted(set(edits), reverse=True):
        text = text[: a - start] + instead + text[b - start :]
    if isinstance(node, ast.ClassDef):
        text = re.sub(rb"\n{3,}", b"\n\n", text)
        removed = {id(member) for _, member, _ in found.members}
        if not any(id(m) not in removed or is_docstring(m) for m in node.body):
            text = text.rstrip() + b"\n    pass"
    return text.decode().rstrip()


def _renames(found: Reached, file: File, node: Definition, names: dict[Name, str]) -> Iterator[Edit]:
    """Yield edits that give definitions and the names that read them what they are called in the one file."""
    for module, place, name, meaning in found.reads:
        if module == file.name and names[meaning] != name:
            yield from _replace(file, *file.span(place), name, names[meaning])
    for name in assigned(node) or [getattr(node, "name", "")]:
        if names[file.name, name] != name:
            line = file.starts[node.lineno - 1]
            yield next(_replace(file, line, file.starts[node.lineno], name, names[file.name, name]))


def _replace(file: File, start: int, end: int, name: str, instead: str) -> Iterator[Edit]:
    for match in re.finditer(rb"(?<![\w.])" + name.encode() + rb"(?!\w)", file.source[start:end]):
        yield start + match.start(), start + match.end(), instead.encode()


def _table_edits(found: Reached, file: File) -> Iterator[Edit]:
    """Yield edits that take unused entries out of tables; each run of neighbours goes at once."""
    unused: dict[ast.Dict, set[str]] = {}
    for other, entry in found.entries:
        if other is file:
            unused.setdefault(entry.table, set()).add(entry.word)
    for table, words in unused.items():
        keys = [key for key in table.keys if isinstance(key, ast.Constant)]
        starts = [file.span(key)[0] for key in keys]
        first = None
        for i, key in enumerate(keys):
            if key.value in words:
                first = i if first is None else first
            elif first is not None:
                yield starts[first], starts[i], b""
                first = None
        if first is not None:
            yield _tail(file, table, starts[first])


def _tail(file: File, table: ast.Dict, start: int) -> Edit:
    """Return the edit that takes the entries from byte `start` to the end out of a table, and keeps its closing brace in place."""
    first, end = file.span(table)
    end -= 1
    before, inside = file.source[first + 1 : start].rstrip(), file.source[start:end]
    closing = inside[len(inside.rstrip()) :] if before else b""
    if b"\n" not in closing:
        before, closing = before.removesuffix(b","), b""
    return first + 1 + len(before), end, closing
