"""Imports go one way: each room may know the rooms below it, and some rooms know no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "nasforge"

# what each room may import of nasforge; a package stands for all its modules. In words:
# commands > api > report > search > runners > plugins > evaluation > strategies, latency > train > tasks > networks, zoo, scaling,
# export > blocks > data > objectives, spaces > files, errors
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "terminal": set(),
    "spaces": {"files", "errors"},
    "objectives": {"errors"},
    "storage": {"files", "errors"},
    "trackers": {"files", "errors"},
    "data": {"files", "errors"},
    "blocks": {"spaces"},
    "networks": {"blocks", "spaces", "errors"},
    "scaling": {"networks", "blocks", "spaces", "errors"},
    "export": {"networks", "blocks", "data", "spaces", "errors"},
    "latency": {"networks", "blocks", "spaces", "files", "errors"},
    "zoo": {"scaling", "networks", "blocks", "spaces", "files", "errors"},
    "strategies": {"networks", "objectives", "spaces", "errors"},
    "tasks": {"networks", "data", "objectives", "errors"},
    "train": {"tasks", "blocks", "data", "objectives", "files", "errors"},
    "evaluation": {
        "strategies", "latency", "train", "tasks", "zoo", "networks", "blocks", "data", "objectives", "spaces", "files", "errors"
    },
    "plugins": {"evaluation", "strategies", "tasks", "zoo", "networks", "blocks", "data", "objectives", "spaces", "errors"},
    "runners": {"plugins", "evaluation", "train", "tasks", "networks", "data", "objectives", "errors"},
    "search": {
        "plugins", "runners", "evaluation", "strategies", "latency", "train", "tasks", "networks", "blocks", "data", "objectives", "spaces",
        "storage", "trackers", "files", "errors",
    },
    "report": {"plugins", "search", "networks", "blocks", "objectives", "spaces", "storage", "files", "terminal", "errors"},
    "api": {
        "report", "search", "plugins", "runners", "evaluation", "latency", "train", "tasks", "zoo", "scaling", "export", "networks",
        "blocks", "data", "objectives", "spaces", "files", "errors",
    },
    "tune": {
        "api", "search", "runners", "evaluation", "strategies", "tasks", "networks", "data", "objectives", "spaces", "files", "errors",
    },
    "commands": {
        "cli_help", "api", "report", "search", "plugins", "evaluation", "strategies", "latency", "tasks", "zoo", "scaling", "export",
        "networks", "blocks", "data", "objectives", "spaces", "trackers", "files", "terminal", "errors",
    },
    "cli_help": {"api", "spaces", "zoo"},  # for completion alone
    "cli": {"cli_help", "errors"},  # and the command that is asked for, by its name
    "__main__": {"cli"},
    "__init__": set(),
}  # fmt: skip


def modules() -> list[str]:
    return sorted(str(p.relative_to(PACKAGE).with_suffix("")) for p in PACKAGE.rglob("*.py"))


FREE = ("errors", "terminal", "spaces", "objectives", "cli", "cli_help", "commands/common", "commands/early", "commands/runs",
        "report/__init__", "report/listing", "storage/lock", "api/named", "api/parts", "api/recipes", "trackers/__init__",
        "trackers/base", "__init__")
TORCH_FREE = [m.removesuffix("/__init__") for m in modules() if m in FREE or m.split("/")[0] in FREE]


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


def room(module: str) -> str:
    return module.replace(".", "/").split("/")[0]


def users(library: str) -> set[str]:
    """Modules that import a library."""
    return {m for m in modules() if any(room(name) == library for name in imported(m))}


@pytest.mark.parametrize("module", modules())
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


def test_every_permission_is_used() -> None:
    """A room that may know another and does not: the line in BELOW is out of date."""
    found: dict[str, set[str]] = {name: set() for name in BELOW}
    for module in modules():
        found[room(module)] |= {room(name.removeprefix("nasforge.")) for name in imported(module) if name.startswith("nasforge.")}
    assert {name: below - found[name] for name, below in BELOW.items() if below - found[name]} == {}


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_free_rooms(module: str) -> None:
    """Its own lines import no torch, and neither does what these import."""
    name = "nasforge" if module == "__init__" else "nasforge." + module.replace("/", ".")
    code = f"import sys, {name}; sys.exit('torch' in sys.modules or 'optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_data_say_of_themselves_is_torch_free() -> None:
    """The contract alone: the room of data as a whole reads tensors."""
    code = f"import sys, runpy; runpy.run_path({str(PACKAGE / 'data' / 'dataset.py')!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_optuna_is_known_where_studies_are_kept_and_asked() -> None:
    wrong = {m for m in users("optuna") if room(m) != "storage"} - {"search/study", "search/replay", "strategies/optuna"}
    assert not wrong, f"{sorted(wrong)} import optuna"


def test_ray_is_known_to_its_runners_and_to_what_is_for_tune() -> None:
    tuned = {"runners/tune_training", "strategies/tune"}
    assert all(module.startswith(("runners/ray_", "tune/")) or module in tuned for module in users("ray"))


@pytest.mark.parametrize("library", ["tensorboard", "mlflow", "wandb"])
def test_a_tracker_alone_knows_its_library(library: str) -> None:
    assert users(library) <= {f"trackers/{library}"}


def test_blocks_import_torch_and_siblings_only() -> None:
    for module in modules():
        if module.startswith("blocks/") and module != "blocks/__init__":
            foreign = {n for n in imported(module) if n.startswith("nasforge.") and not n.startswith("nasforge.blocks.")}
            assert not foreign, f"{module} imports {foreign}: the export could not lift it"
            libraries = {room(n) for n in imported(module)} - {"nasforge", "torch"} - sys.stdlib_module_names
            assert not libraries, f"{module} imports {libraries}: the export could not lift it"


def test_only_tasks_and_the_table_of_metrics_name_a_metric_of_training() -> None:
    """Everything else reads which metric counts from the task or the objective."""
    wrong = []
    for module in modules():
        if room(module) in ("objectives", "tasks"):
            continue
        tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
        words = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in ("accuracy", "miou"))
        wrong += [f"{module}:{node.lineno}" for node in words]
    assert not wrong, f"a metric by its name in {', '.join(wrong)}"
