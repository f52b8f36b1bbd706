"""Imports go one way: each room may know the rooms below it, and some rooms know no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "nasforge"

# what each room may import of nasforge; a package stands for all its modules
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "arch": {"errors"},
    "files": {"errors"},
    "domains": {"errors"},
    "space": {"arch", "domains", "errors"},
    "choosers": {"arch", "domains", "space", "errors"},
    "forms": {"arch", "domains"},
    "locate": {"arch", "forms", "domains", "space", "choosers", "errors"},
    "check": {"arch", "domains", "errors"},
    "blocks": {"arch"},
    "meters": set(),
    "probed": {"blocks", "meters"},
    "build": {"arch", "blocks", "check", "probed", "errors"},
    "cost": {"arch", "blocks", "build", "meters", "probed", "errors"},
    "zoo": {"arch", "blocks", "build", "cost", "files", "scaling", "space", "errors"},
    "scaling": {"arch", "blocks", "build", "check", "cost", "errors"},
    "latency": {"arch", "blocks", "build", "cost", "files", "errors"},
    "export": {"arch", "blocks", "build", "errors"},
    "data": {"errors"},
    "train": {"data", "errors"},
    "proxies": {"train"},
    "tables": {"build", "choosers", "files", "domains", "space", "errors"},
    "evaluate": {"arch", "blocks", "build", "data", "domains", "proxies", "tables", "train", "latency", "errors"},
    "storage": {"errors"},
    "search": {
        "arch",
        "blocks",
        "build",
        "check",
        "choosers",
        "cost",
        "evaluate",
        "files",
        "latency",
        "locate",
        "domains",
        "space",
        "storage",
        "tables",
        "errors",
    },
    "runners": {"cost", "evaluate", "train", "errors"},
    "report": {"arch", "blocks", "build", "choosers", "cost", "files", "search", "space", "storage", "errors"},
}
TORCH_FREE = ("errors", "arch", "files", "domains", "space", "choosers", "forms", "locate", "check", "cli", "commands/common")
RAY = "runners/ray"


def modules() -> list[str]:
    return sorted(str(p.relative_to(PACKAGE).with_suffix("")) for p in PACKAGE.rglob("*.py"))


def imported(module: str) -> set[str]:
    """Dotted names that a module imports anywhere in it."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            out |= {f"{node.module}.{alias.name}" for alias in node.names}
    return out


def room(name: str) -> str:
    return name.split("/")[0] if "/" in name else name.split(".")[0]


@pytest.mark.parametrize("module", [m for m in modules() if room(m) not in ("cli", "commands", "__init__", "__main__")])
def test_imports_go_down(module: str) -> None:
    mine = room(module)
    assert mine in BELOW, f"{module}: a new room needs its place in BELOW"
    known = {room(name.removeprefix("nasforge.")) for name in imported(module) if name.startswith("nasforge.")}
    up = known - BELOW[mine] - {mine}
    assert not up, f"{module} imports {sorted(up)}, which {mine} may not know"


def test_no_rings() -> None:
    done: set[str] = set()
    left = dict(BELOW)
    while left:
        ready = [name for name, below in left.items() if below <= done]
        assert ready, f"these rooms import each other: {sorted(left)}"
        done |= set(ready)
        left = {name: below for name, below in left.items() if name not in done}


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_free_rooms(module: str) -> None:
    name = "nasforge." + module.replace("/", ".")
    code = f"import sys, {name}; sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ray_is_imported_in_one_file() -> None:
    users = [m for m in modules() if any(name.split(".")[0] == "ray" for name in imported(m))]
    assert users in ([], [RAY])


def test_blocks_import_torch_and_siblings_only() -> None:
    for module in modules():
        if module.startswith("blocks/") and module != "blocks/__init__":
            foreign = {n for n in imported(module) if n.startswith("nasforge.") and not n.startswith("nasforge.blocks.")}
            assert not foreign, f"{module} imports {foreign}: the export could not lift it"
