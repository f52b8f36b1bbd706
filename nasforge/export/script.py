"""`predict.py`: what reads files for an exported network, as one text that needs no nasforge."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

from nasforge.data import fitting, reading
from nasforge.export import alone, maps
from nasforge.export.to_python import imports

NAME = "predict.py"


def script() -> str:
    """Return the text: how data sets read files, and how a network is run on them."""
    wanted: set[tuple[str, str | None, str]] = set()
    parts = [_body(module, wanted) for module in (fitting, reading, maps, alone)]
    about = inspect.getdoc(alone)
    return "\n".join([f'"""{about}\n"""\n', *imports(wanted), "", "\n\n\n".join(parts), ""])


def _body(module: ModuleType, wanted: set[tuple[str, str | None, str]]) -> str:
    """The source of a module without docstring and imports, which are added to `wanted`."""
    source = inspect.getsource(module)
    lines, gone = source.splitlines(), set[int]()
    for i, node in enumerate(ast.parse(source).body):
        if isinstance(node, ast.Import):
            wanted.update((one.name, None, one.asname or one.name.partition(".")[0]) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            own = str(node.module).partition(".")[0] in ("nasforge", "__future__")
            wanted.update((str(node.module), one.name, one.asname or one.name) for one in node.names if not own)
        elif i:
            continue
        assert node.end_lineno is not None
        gone |= set(range(node.lineno - 1, node.end_lineno))
    return "\n".join(line for n, line in enumerate(lines) if n not in gone).strip("\n")
