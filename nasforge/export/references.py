"""What a piece of source reads: module-level names, attributes, words, and tables of which perhaps not every entry is asked for."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Entry:
    """`word: value` of a table that is only ever read as `table[variable]`; `bound` are the local names around it."""

    word: str
    table: ast.Dict
    value: ast.expr
    bound: frozenset[str]


@dataclass
class References:
    """What a syntax tree reads.

    names: names that its module must define (no locals, no parameters), each with the expression in which it stands: itself, or
    the f-string around it (before Python 3.12 the parts of an f-string do not know their place).
    words: strings, but for docstrings, annotations and literal types: what may be looked up in a table at run time.
    """

    names: list[tuple[str, ast.expr]] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Scope:
    """Where a node stands: the local names, whether in a type (where strings are no words), the f-string around it."""

    bound: frozenset[str]
    tables: frozenset[ast.Dict]
    typing: bool = False
    text: ast.JoinedStr | None = None


def references(nodes: Iterable[ast.AST], bound: frozenset[str] = frozenset()) -> References:
    """Return what `nodes`, inside a scope that binds `bound`, read from their module."""
    found = References()
    for node in nodes:
        _visit(node, Scope(bound, frozenset(_tables(node))), found)
    return found


def _visit(node: ast.AST, scope: Scope, found: References) -> None:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in scope.bound:
        found.names.append((node.id, scope.text or node))
    elif isinstance(node, ast.Attribute):
        found.attributes.add(node.attr)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not scope.typing:
        found.words.add(node.value)
    elif isinstance(node, ast.Dict) and node in scope.tables:
        found.entries += [Entry(word, node, value, scope.bound) for word, value in zip(_words(node), node.values, strict=True)]
    else:
        for name, child in _children(node):
            _visit(child, _inside(node, name, scope), found)
        return
    if isinstance(node, ast.Attribute):
        _visit(node.value, scope, found)


def _inside(node: ast.AST, name: str, scope: Scope) -> Scope:
    """Return the scope of the part `name` of a node."""
    if name in ("annotation", "returns") or (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal"):
        return replace(scope, typing=True)
    if isinstance(node, ast.JoinedStr):
        return replace(scope, text=scope.text or node)
    if isinstance(node, FUNCTIONS) and name not in ("decorator_list", "args"):  # decorators and defaults belong outside
        return replace(scope, bound=scope.bound | _bound(node))
    if isinstance(node, COMPREHENSIONS):
        return replace(scope, bound=scope.bound | {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)})
    return scope


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the parts of a node by name, without docstrings."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not is_docstring(child):
                yield name, child


def is_docstring(node: ast.AST) -> bool:
    """Return whether a statement is a string on its own."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _bound(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """Return the parameters and local names of a function."""
    args = function.args
    names = {a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg) if a is not None}
    stack: list[ast.AST] = list(function.body) if isinstance(function.body, list) else [function.body]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {a.asname or a.name.partition(".")[0] for a in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef, *COMPREHENSIONS)):
            stack.extend(ast.iter_child_nodes(node))
    return names


def _tables(tree: ast.AST) -> Iterator[ast.Dict]:
    """Yield dicts from words that are read as `{...}[variable]`, directly or through one local name that is used for nothing else."""
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node, parent in parents.items():
        if not isinstance(node, ast.Dict) or not node.keys or len(_words(node)) < len(node.keys):
            continue
        target = parent.target if isinstance(parent, ast.AnnAssign) else parent.targets[0] if isinstance(parent, ast.Assign) else None
        uses: list[ast.AST] = [node]
        if isinstance(target, ast.Name):
            uses = [n for n in parents if isinstance(n, ast.Name) and n.id == target.id and n is not target]
        if uses and all(_looked_up(use, parents[use]) for use in uses):
            yield node


def _words(table: ast.Dict) -> list[str]:
    """Return the keys of a table that are words."""
    return [key.value for key in table.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def _looked_up(table: ast.AST, parent: ast.AST) -> bool:
    """Return whether `parent` is `table[variable]`, where the variable is a name or an attribute."""
    return isinstance(parent, ast.Subscript) and parent.value is table and isinstance(parent.slice, ast.Name | ast.Attribute)
