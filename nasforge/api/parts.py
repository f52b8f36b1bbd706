"""What there is to use, by name, as plain data: blocks, spaces, published recipes, words of recipes, metrics; those of plugins too.

Our blocks, the words of recipes and what tasks score are read from `reference.json`, which `benchmarks/make_reference.py` writes from the
code itself and a test keeps up to date: so a list needs no torch, which takes a second to import.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from nasforge import zoo
from nasforge.errors import UserError, nearest
from nasforge.objectives.metrics import METRICS, Known, Metric
from nasforge.spaces.arch import Block
from nasforge.spaces.check import REPEATS, spell
from nasforge.spaces.files import dump, find_space, read, space_names
from nasforge.spaces.space import DEEPEST, Space

STORED = Path(__file__).with_name("reference.json")
ABOUT_ENDS = re.compile(r"(Sources?|Input|Size|points|Shapes)\b.*?:")


@cache
def stored() -> dict[str, Any]:
    """Return what stands in `reference.json`: `blocks`, `words` and `scored_by`."""
    return json.loads(STORED.read_text(encoding="utf-8"))


def plugged(word: str) -> dict[str, str]:
    """Return the names of the parts of a kind (block, metric ...) that plugins have added, each with its plugin."""
    plugins = sys.modules.get("nasforge.plugins")
    return {name: plugin.name for plugin in (plugins.LOADED.values() if plugins else ()) for name in plugin.parts.get(word, ())}


def one_of(kind: str, rows: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the row of a name. Raise UserError, with the nearest names, where there is none."""
    if name not in rows:
        raise UserError(f"{name}: there is no {kind} of that name; {nearest(name, rows, f'nasforge {kind}s')}")
    return rows[name]


# ---------------------------------------------------------------- blocks


def blocks() -> dict[str, dict[str, Any]]:
    """Return a row for each block, by name: name, kind, module, about, text, source, args, example."""
    ours: dict[str, dict[str, Any]] = dict(stored()["blocks"])
    added = plugged("block")
    if added:
        from nasforge.blocks import BLOCKS  # with torch, as the plugin

        ours |= {name: {**described(BLOCKS[name]), "plugin": plugin} for name, plugin in added.items() if name in BLOCKS}
    return dict(sorted(ours.items()))


def described(block: Block) -> dict[str, Any]:
    """Return the row of a block, without an example."""
    text = inspect.getdoc(block.make) or ""
    _, found, source = text.partition("Source: ")
    args = [
        {"name": name, "type": spell(param.hint) + (f", at most {DEEPEST:,}" if name in REPEATS else ""), "required": param.default is ...,
         "default": None if param.default is ... else param.default}
        for name, param in block.params.items()
    ]  # fmt: skip
    return {
        "name": block.name, "kind": block.kind, "module": block.make.__module__, "about": about(text), "text": text,
        "source": " ".join(source.split("\n\n")[0].split()) if found else None, "args": args, "example": None,
    }  # fmt: skip


def about(text: str) -> str:
    """Return the first sentence of a text, without what follows on shapes and sources."""
    first = " ".join(ABOUT_ENDS.split(text.split("\n\n")[0], maxsplit=1)[0].split())
    return re.split(r"(?<=[a-z0-9)\]`])(?<! al)\. ", first, maxsplit=1)[0].rstrip(".")


# ---------------------------------------------------------------- spaces


def spaces() -> dict[str, dict[str, Any]]:
    """Return a row for each packaged space, by name: name, about, input, classes, size (None where infinite)."""
    return {name: space_row(name) for name in space_names()}


def space_row(name: str, whole: bool = False) -> dict[str, Any]:
    """Return the row of a space; the `whole` one also has its text, source, domains, `search` defaults and an example."""
    path = find_space(name)
    comments = re.match(r"(#.*\n)*", path.read_text(encoding="utf-8"))
    text = re.sub(r"^# ?", "", comments[0] if comments else "", flags=re.MULTILINE).strip()
    data = read(path)
    space = Space(data)
    size = space.size()
    row = {"name": name, "about": about(text), "input": data.get("input"), "classes": data.get("classes"),
           "size": None if math.isinf(size) else int(size)}  # fmt: skip
    if not whole:
        return row
    source = re.search(r"^Sources?: ((?:.*\n)(?:  +.*\n)*)", text + "\n", re.MULTILINE)
    return {
        **row, "text": text, "source": " ".join(source[1].split()) if source else None, "file": str(path), "search": data.get("search"),
        "domains": {domain.name: str(domain) for domain in space.domains()}, "example": f"nasforge search {name} --data DATA --trials 20",
    }  # fmt: skip


# ---------------------------------------------------------------- recipes


def words() -> dict[str, dict[str, Any]]:
    """Return a row for each word of a recipe, by name: name, about, type, default, example (a value)."""
    return stored()["words"]


def recipes() -> dict[str, dict[str, Any]]:
    """Return a row for each published recipe, by the first of its networks: name, networks, recipe, data, source, note, example."""
    rows = {}
    for name, networks in zoo.recipes().items():
        found = zoo.recipe(name)
        assert found is not None
        del found["target"]
        rows[name] = {"name": name, "networks": networks, **found, "example": f"nasforge train {name} --recipe published --data DATA"}
    return rows


def recipe_row(name: str) -> dict[str, Any]:
    """Return the row of a word, or the published recipe of a network. Raise UserError where there is neither."""
    if name in words():
        return words()[name]
    known = zoo.aka().get(name, name)
    for row in recipes().values():
        if known in row["networks"]:
            return {**row, "name": known, "example": f"nasforge train {known} --recipe published --data DATA"}
    if known in zoo.names():
        raise UserError(f"{name}: no published recipe is known of this network; `nasforge recipes` lists those with one")
    names = (*words(), *(one for row in recipes().values() for one in row["networks"]))
    raise UserError(f"{name}: there is no such word of a recipe, and no network with one; {nearest(name, names, 'nasforge recipes')}")


# ---------------------------------------------------------------- metrics

HOW = {
    Known.PAPER: "counted before anything runs", Known.MEASURED: "measured on this machine, before training",
    Known.PREDICTED: "predicted for a device, by its profile", Known.ZERO_COST: "at initialization, from one batch",
    Known.TRAINED: "after training, on val",
}  # fmt: skip


def metrics() -> dict[str, dict[str, Any]]:
    """Return a row for each metric, by name: name, title, better, unit, known, when, tasks that score it, example."""
    scored = {name: list(tasks) for name, tasks in stored()["scored_by"].items()}
    if added := plugged("task"):
        from nasforge.tasks import TASKS  # with torch, as the plugin

        for name in added:
            for metric in TASKS[name].metrics if name in TASKS else ():
                scored.setdefault(metric.name, []).append(name)
    return {name: _metric_row(metric, scored.get(name, [])) for name, metric in METRICS.items()}


def _metric_row(metric: Metric, tasks: list[str]) -> dict[str, Any]:
    if metric.is_cost:
        example = f"--constraint '{metric.name}<={5 if metric.unit == 'ms' else 100000}'"
    else:
        example = f"--objective {metric.name}" + (" --evaluator proxy" if metric.known is Known.ZERO_COST else "")
    row = {"name": metric.name, "title": metric.title, "better": "higher" if metric.maximize else "lower", "unit": metric.unit,
           "known": str(metric.known), "when": HOW[metric.known], "tasks": tasks, "example": example}  # fmt: skip
    plugin = plugged("metric").get(metric.name)
    return {**row, "plugin": plugin} if plugin else row


def as_file(example: Mapping[str, Any]) -> str:
    """Return an example of a block as the file that it is."""
    return dump(dict(example)).rstrip()
