"""What a plugin may be: it is loaded whole, once, or refused with its file, the rule, what was got and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import ranks_example

import nasforge as nf
from nasforge import zoo
from nasforge.blocks import BLOCKS
from nasforge.cli import main
from nasforge.data.readers import READERS
from nasforge.networks.build import key
from nasforge.objectives.metrics import METRICS
from nasforge.objectives.objective import validation
from nasforge.plugins import LOADED, load_carried, load_plugins
from nasforge.plugins.parts import PARTS

Unplug = Callable[[], None]
pytestmark = pytest.mark.usefixtures("unplug")

GOOD = """
from nasforge.blocks.base import Layer
from nasforge.objectives.metrics import Known, Metric, metric
from nasforge.data.readers import Reader
from nasforge.tasks import Task
from nasforge.tasks.classification import Classification
class Same(Layer):
    def __init__(self, shape, a: int = 1):
        super().__init__()
    def forward(self, x):
        return x
BLOCKS = {"same": Same}
READERS = {"first": Reader("FIRST", lambda spec: spec == "first", None)}
"""
FAMILY = "family: f\ntask: t\nsource: s\ntemplate: {input: [4], classes: 2, body: [BODY]}\nmembers: {NAME: {}}\n"
BAD: dict[str, tuple[str, str]] = {  # what stands in the file (after GOOD where it begins with +), what is said
    "a word of another language": ("BLOCKS = {\n'a': = 3}", "plug.py:2: a plugin must run when it is imported, got SyntaxError: invalid"),
    "an error": ("import torch\n\n1 / 0\n", "plug.py:3: a plugin must run when it is imported, got ZeroDivisionError: division by zero; "),
    "an error of ours": ("from nasforge.objectives.metrics import metric\nmetric('lost')", "plug.py:2: a plugin must run when"),
    "an exit": ("import sys\nsys.exit(0)", "plug.py:2: a plugin must run when it is imported, got SystemExit: 0"),
    "a missing package": ("import nowhere_at_all", "plug.py:1: a plugin must run when it is imported, got ModuleNotFoundError"),
    "no table": ("BLOKS = {}", "plug.py: a plugin must have a table of what it adds, got BLOKS; did you mean 'BLOCKS'? valid: BLOCKS, EV"),
    "a list of blocks": ("BLOCKS = ['a']", "plug.py: BLOCKS: must be a dict from a name to a Layer, a Combinator or a function, got list"),
    "a dict of metrics": ("METRICS = {}", "plug.py: METRICS: must be a list of Metric, got dict; write [...]"),
    "a word as zoo": ("ZOO = 'nets.yaml'", "plug.py: ZOO: must be a list of paths, got str"),
    "a name that is none": ("+BLOCKS['no name'] = Same", "plug.py: BLOCKS: a name must be a word such as wave_2, got 'no name'; rename it"),
    "a word of the grammar": ("+BLOCKS['choose'] = Same", "plug.py: BLOCKS.choose: is a word of the grammar"),
    "a taken block": ("+BLOCKS['conv'] = Same", "plug.py: BLOCKS.conv: must be a name of its own, got that of a block of nasforge"),
    "a taken strategy": ("STRATEGIES = {'random': print}", "plug.py: STRATEGIES.random: must be a name of its own"),
    "a module as block": ("import torch\nBLOCKS = {'lin': torch.nn.Linear}", "BLOCKS.lin: must be a subclass of Layer or Combinator"),
    "a block without a shape": (
        "+class Odd(Layer):\n    def __init__(self):\n        super().__init__()\nBLOCKS['odd'] = Odd",
        "plug.py: BLOCKS.odd: the constructor must take the shape of the input first, got Odd(self); write __init__(self, shape, ...)",
    ),
    "a block without a constructor": ("+class Odd(Layer):\n    pass\nBLOCKS['odd'] = Odd", "BLOCKS.odd: the constructor must take the"),
    "an unknown type": ("+def odd(a: 'Lost') -> list:\n    return []\nBLOCKS['odd'] = odd", "BLOCKS.odd: its signature must have types"),
    "a metric on paper": ("+METRICS = [Metric('f2', 'F2', True, 'share', Known.PAPER)]", "METRICS.f2: must be Known.TRAINED, got paper"),
    "a word as metric": ("+METRICS = ['f2']", "plug.py: METRICS.0: must be a Metric (nasforge.objectives.metrics)"),
    "an unfinished task": ("+class T(Task):\n    name, kind = 't', 'label'\nTASKS = [T]", "must have the methods of a Task, it lacks obj"),
    "a task as an object": ("TASKS = [3]", "plug.py: TASKS.0: must be a subclass of Task"),
    "a task of a new kind": ("+class T(Classification):\n    name, kind = 't', 'box'\nTASKS = [T]", "got 't' and 'box'; a task"),
    "a task with a hidden metric": (
        "+class T(Classification):\n    name = 't'\n    metrics = (Metric('f2', 'F2', True, 'share', Known.TRAINED),)\nTASKS = [T]",
        "plug.py: TASKS.t: its metrics must be in METRICS, ours or the plugin's, got Metric(name='f2'",
    ),
    "a function as reader": ("READERS = {'r': print}", "plug.py: READERS.r: must be a Reader (nasforge.data.readers), got <built-in"),
    "a word as strategy": ("STRATEGIES = {'s': 'random'}", "plug.py: STRATEGIES.s: must be a function from a Problem"),
    "a function as scheduler": ("SCHEDULERS = {'s': print}", "plug.py: SCHEDULERS.s: must be an object with pauses, on_report and promote"),
    "a function as evaluator": ("EVALUATORS = {'e': print}", "plug.py: EVALUATORS.e: must be a class with metrics, prepare and evaluate"),
    "a lost zoo file": ("ZOO = ['lost.yaml']", "plug.py: ZOO.0: must be a YAML file, or a folder of them, beside the plugin or below it"),
    "a zoo file elsewhere": ("ZOO = ['../above.yaml']", "plug.py: ZOO.0: must be a YAML file, or a folder of them, beside the plugin"),
    "half a zoo file": ("ZOO = ['half.yaml']", "half.yaml: must have the keys family, task, source, template, members, it lacks source"),
    "an open network": ("ZOO = ['open.yaml']", "open.yaml: members.net: must fill the template to a network, got body.0.linear.out: a"),
    "an unknown block": ("ZOO = ['unknown.yaml']", "unknown.yaml: members.net: must fill the template to a network, got body.0: there is"),
    "a taken network": ("+ZOO = ['taken.yaml']", "ZOO.resnet20: must be a name of its own, got that of a network of nasforge itself"),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, stood in, with zoo files good and bad."""
    folder = tmp_path / "place"
    folder.mkdir()
    (tmp_path / "above.yaml").write_text(FAMILY.replace("BODY", "linear").replace("NAME", "net"))
    (folder / "half.yaml").write_text("family: f\ntask: t\ntemplate: {}\nmembers: {}")
    (folder / "open.yaml").write_text(FAMILY.replace("BODY", "{linear: {out: {choose: [1, 2]}}}").replace("NAME", "net"))
    (folder / "unknown.yaml").write_text(FAMILY.replace("BODY", "lineare").replace("NAME", "net"))
    (folder / "taken.yaml").write_text(FAMILY.replace("BODY", "linear").replace("NAME", "resnet20"))
    monkeypatch.chdir(folder)
    return folder


def tables() -> dict[str, list[tuple[str, Any]]]:
    return {name: list(kind.table.items()) for name, kind in PARTS.items()}


@pytest.mark.parametrize("what", BAD)
def test_a_plugin_that_breaks_a_rule_is_refused_whole(what: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, said = BAD[what]
    (place / "plug.py").write_text(GOOD + text[1:] if text.startswith("+") else text)
    before, modules = tables(), set(sys.modules)
    assert main(["search", "digits", "--plugin", "plug.py", "--allow-code", "--run", "run"]) == 2
    err = capsys.readouterr().err
    assert said in err and err.startswith("nasforge search: ") and str(place) in err
    assert tables() == before and not LOADED and not {m for m in set(sys.modules) - modules if m.startswith("plugin_")}
    assert not (place / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plugin", "plug.py"], "--plugin plug.py: would run code of its own; if you trust it, add --allow-code"),
        (["--plugin", "lost.py", "--allow-code"], "--plugin lost.py: must be a Python file that can be read, got: No such file"),
        (["--plugin", "half.yaml", "--allow-code"], "--plugin half.yaml: must be a Python file that can be read, got: its name does"),
        (["--plugin", "plug.py", "--plugin", "plug2.py", "--allow-code"], "must be a name of its own, got that of a block of the plugin"),
        (["--plugin", "plug.py", "--plugin", "other/plug.py", "--allow-code"], "a plugin called plug.py is loaded from"),
    ],
)
@pytest.mark.parametrize("command", [["search", "digits", "--run", "run"], ["train", "lenet5", "--out", "run"], ["zoo"]])
def test_what_is_no_plugin_is_said_by_every_command(
    command: list[str], words: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "plug.py").write_text(GOOD)
    (place / "plug2.py").write_text(GOOD)
    (place / "other").mkdir()
    (place / "other" / "plug.py").write_text(GOOD + "# another")
    assert main([*command, *words]) == 2
    assert said in capsys.readouterr().err and not (place / "run").exists()


def test_a_plugin_is_loaded_once_whatever_its_path(place: Path) -> None:
    ran = "import os\nos.environ['PLUG_RAN'] = os.environ.get('PLUG_RAN', '') + 'x'\n"
    for folder in (place, place / "b"):
        folder.mkdir(exist_ok=True)
        (folder / "plug.py").write_text(GOOD + ran)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLUG_RAN", "")
        nf.load_plugins("plug.py", place / "plug.py", "b/plug.py")
        load_plugins("plug.py")
        assert os.environ["PLUG_RAN"] == "x"
    assert str(LOADED["plug.py"]) == "plugin plug.py: block same; reader first"


def test_readers_of_plugins_are_asked_first_and_ours_stay_in_order(place: Path) -> None:
    ours = list(READERS)
    (place / "plug.py").write_text(GOOD)
    load_plugins("plug.py")
    assert list(READERS) == ["first", *ours]


def test_what_was_asked_before_is_forgotten(tmp_path: Path, unplug: Unplug) -> None:
    def arch(node: Any) -> dict[str, Any]:
        return {"input": [3], "classes": 4, "body": [node], "head": ["linear"]}

    opened = arch([{"linear": {"out": 8}}, {"wave": {"pace": 1.0}}])
    apart = key(arch({"wavy": {"out": 8}})), key(opened)
    assert apart[0] != apart[1] and validation({"rank_error": 1.0}) == {}
    load_plugins(ranks_example(tmp_path))
    assert key(arch({"wavy": {"out": 8}})) == key(opened) and validation({"rank_error": 1.0}) == {"rank_error": 1.0}
    assert zoo.load("wave_16")["body"] and [row["params"] for row in zoo.entries() if row["name"] == "wave_16"] == [148]
    unplug()
    assert "wave" not in BLOCKS and "rank_error" not in METRICS and "wave_16" not in zoo.names()


def test_a_worker_loads_the_text_without_a_file(tmp_path: Path, unplug: Unplug) -> None:
    plugin = ranks_example(tmp_path)
    load_plugins(plugin)
    carried = [one.carried for one in LOADED.values()]
    unplug()
    plugin.unlink()
    (tmp_path / "ranks.yaml").unlink()
    load_carried(carried)
    assert "wave" in BLOCKS and "ranks" in READERS and "wave_16" not in zoo.names()


# ---------------------------------------------------------------- installed ones


def install(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a plugin, as pip would leave it."""
    package, info = folder / "acme_parts", folder / "acme_parts-1.2.dist-info"
    for one in (package, info):
        one.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-parts\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[nasforge.plugins]\nacme = acme_parts.plugin\n")
    monkeypatch.syspath_prepend(folder)
    for name in ("acme_parts", "acme_parts.plugin"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)


def test_an_installed_plugin_needs_no_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unplug: Unplug
) -> None:
    install(tmp_path, GOOD, monkeypatch)
    (tmp_path / "net.yaml").write_text("input: [4]\nclasses: 2\nbody: [same]\nhead: [linear]\n")
    assert main(["show", str(tmp_path / "net.yaml")]) == 0
    assert "same" in capsys.readouterr().out
    loaded = LOADED["acme"]
    assert loaded.identity.startswith("acme-parts 1.2 ") and loaded.carried == ("acme", "acme_parts.plugin", None)
    unplug()
    load_carried([loaded.carried])
    assert "same" in BLOCKS
    unplug()
    nf._load_installed.cache_clear()
    assert nf.show({"input": [4], "classes": 2, "body": ["same"], "head": ["linear"]}) is not None  # from Python too


@pytest.mark.parametrize(
    ("text", "said"), [
        ("\nimport nowhere_at_all", "acme_parts/plugin.py:2: a plugin must run when it is imported, got ModuleNotFoundError"),
        ("BLOCKS = 3", "acme_parts.plugin: BLOCKS: must be a dict"),
    ],
)  # fmt: skip
def test_an_installed_plugin_that_is_broken_is_named(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, text, monkeypatch)
    assert main(["zoo", "lenet5"]) == 2
    err = capsys.readouterr().err
    assert said in err and ("uninstall the package acme-parts 1.2" in err or text == "BLOCKS = 3")


def test_the_zoo_files_of_a_plugin_are_a_part_of_it(tmp_path: Path, unplug: Unplug) -> None:
    seen = []
    for width in (8, 16):
        (tmp_path / "plug.py").write_text("ZOO = ['nets.yaml']\n")
        family = FAMILY.replace("BODY", f"{{linear: {{out: {width}}}}}").replace("NAME", "mine")
        (tmp_path / "nets.yaml").write_text(family)
        if seen:
            with pytest.raises(nf.UserError, match=r"is loaded from .* with other zoo files; rename one of them, or begin another Python"):
                load_plugins(tmp_path / "plug.py")
            unplug()
        load_plugins(tmp_path / "plug.py")
        load_plugins(tmp_path / "plug.py")
        seen.append(LOADED["plug.py"].identity)
        LOADED["plug.py"].copy_to(tmp_path / f"kept{width}")
        load_plugins(tmp_path / f"kept{width}" / "plug" / "plug.py")  # a copy is the same
    assert seen[0] != seen[1]


def test_without_plugins_their_room_is_not_even_imported() -> None:
    code = "import sys; from nasforge.cli import main; main(['zoo', 'lenet5']); sys.exit('nasforge.plugins' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_a_worker_without_the_package_says_so() -> None:
    with pytest.raises(nf.UserError, match=r"the plugin acme: acme_parts.plugin must be a module here, got ModuleNotFound.*; install"):
        load_carried([("acme", "acme_parts.plugin", None)])
