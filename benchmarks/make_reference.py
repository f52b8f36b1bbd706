"""Write the reference of all parts from the code itself: nasforge/api/reference.json, and docs/reference/*.md from the same rows.

    python benchmarks/make_reference.py

The examples of blocks are those that tests/blocks run: of each the first that stands alone in a network and shows an argument.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nasforge.api import parts
from nasforge.blocks import BLOCKS
from nasforge.blocks.core.shapes import Tokens
from nasforge.data.readers import READERS
from nasforge.errors import UserError
from nasforge.evaluation import EVALUATORS
from nasforge.latency.measure import PRECISIONS
from nasforge.latency.runtimes import RUNTIMES
from nasforge.networks.build import build
from nasforge.objectives.metrics import ALIASES, METRICS
from nasforge.runners import RUNNERS
from nasforge.scaling import compound as scaling
from nasforge.scaling.axes import AXES
from nasforge.spaces.check import check_arch, spell
from nasforge.strategies.registry import strategy_names
from nasforge.strategies.schedulers import FIDELITIES, scheduler_names
from nasforge.tasks import TASKS
from nasforge.train import augment
from nasforge.train.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs" / "reference"
EXAMPLES = {  # of words whose default shows nothing
    "augment": "{flip: 0.5, crop: 4}", "class_weights": "balanced", "head_weights": "{mask: 2}", "monitor": "loss", "channels_last": "true",
    "early_stopping": "5", "sam": "0.05", "soup": "0.2", "minutes": "10", "ema": "0.999", "freeze_stem": "0.5", "grad_clip": "1",
}  # fmt: skip
CHOICES = {  # option: the names that it takes
    "strategy": strategy_names(), "scheduler": scheduler_names(), "evaluator": EVALUATORS, "fidelity": FIDELITIES, "runner": RUNNERS,
    "runtime": RUNTIMES, "precision": PRECISIONS, "task": TASKS, "axis": AXES,
    "fit": (*scaling.LIMITS, *scaling.ALIASES, *ALIASES, "latency_ms"),
    "data": [reader.what for reader in READERS.values() if reader.what],
}  # fmt: skip


# ---------------------------------------------------------------- rows


def reference() -> dict[str, Any]:
    """What stands in reference.json."""
    blocks = {name: {**parts.described(BLOCKS[name]), "example": example_of(name)} for name in sorted(BLOCKS)}
    scored = {name: [task.name for task in TASKS.values() if any(m.name == name for m in task.metrics)] for name in METRICS}
    scored = {name: tasks for name, tasks in scored.items() if tasks}
    return {"blocks": blocks, "words": words(), "scored_by": scored, "choices": {name: list(names) for name, names in CHOICES.items()}}


def example_of(name: str) -> dict[str, Any]:
    """A network of one block that can be built."""
    examples = block_examples()[name]
    for shapes, args in sorted(examples, key=lambda one: (isinstance(one[0][0], tuple), not one[1])):
        several = isinstance(shapes[0], tuple)
        node: Any = {name: args} if args or several else name
        arch: dict[str, Any] = {"input": {letter: _input(shape) for letter, shape in zip("abcdef", shapes, strict=False)}} if several else {
            "input": _input(shapes)}  # fmt: skip
        arch |= {"classes": 5, "body": [{**node, "from": list(arch["input"])} if several else node]}
        arch = json.loads(json.dumps(arch))
        try:
            check_arch(arch, BLOCKS)
            build(arch, "meta")
        except (UserError, ValueError):
            continue
        return arch
    raise ValueError(f"{name}: none of its examples is a network of its own")


def block_examples() -> dict[str, list[tuple[Any, dict[str, Any]]]]:
    sys.path.insert(0, str(ROOT / "tests" / "blocks"))
    try:
        from examples_conv import EXAMPLES as convolutional
        from examples_sequence import EXAMPLES as sequential
    finally:
        sys.path.pop(0)
    return {**convolutional, **sequential}


def _input(shape: Any) -> Any:
    return {"tokens": shape.vocab, "length": shape.length} if isinstance(shape, Tokens) else list(shape)


def words() -> dict[str, dict[str, Any]]:
    """A row for each word of a recipe."""
    told, plain = _attributes(inspect.getdoc(Recipe) or ""), Recipe().to_dict()
    return {f.name: {"name": f.name, "about": told[f.name], "type": _type(f), "default": plain[f.name], "example": _example(f)}
            for f in dataclasses.fields(Recipe)}  # fmt: skip


def _attributes(doc: str) -> dict[str, str]:
    found = re.findall(r"^    (\w[\w, ]*): ((?:.*\n)(?:     +.*\n)*)", doc.partition("Attributes:\n")[2] + "\n", re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in found for name in names.split(", ")}


def _type(f: dataclasses.Field[Any]) -> str:
    if f.name == "augment":
        given = (f"{name} ({usual:g}, at most {most:g})" for name, (usual, most) in augment.STRENGTHS.items())
        return f"names, or strength by name: {', '.join(given)}"
    if f.name == "monitor":
        return "a metric of the task, or null"
    if f.name in ("class_weights", "head_weights"):
        return "numbers from 0 by name" if f.name == "head_weights" else "balanced, or numbers from 0 by name, or null"
    if f.name == "channels_last":
        return "true, false or auto"
    if "words" in f.metadata:
        return " | ".join(f.metadata["words"])
    if "number" not in f.metadata:
        return spell(bool)
    rule = f.metadata["number"]
    span = f"above {rule['low']:g} and at most {rule['high']:g}" if rule["above"] else f"from {rule['low']:g} to {rule['high']:g}"
    return f"{spell(int if rule['whole'] else float)} {span}{', or null' if rule['optional'] else ''}"


def _example(f: dataclasses.Field[Any]) -> str:
    value = EXAMPLES.get(f.name)
    if value is None:
        default = getattr(Recipe(), f.name)
        if "words" in f.metadata:
            value = next(word for word in f.metadata["words"] if word != default)
        else:
            value = "true" if default is False else f"{default:g}"
    return f"--set {f.name}={value}" if " " not in value else f"--set '{f.name}={value}'"


# ---------------------------------------------------------------- pages


def pages() -> dict[str, str]:
    """The text of each page of docs/reference."""
    return {f"{name}.md": "\n".join(["<!-- written by benchmarks/make_reference.py -->", *page()]) + "\n"
            for name, page in (("blocks", _blocks), ("spaces", _spaces), ("recipes", _recipes), ("metrics", _metrics))}  # fmt: skip


def _blocks() -> Iterator[str]:
    yield "# Blocks\n\n`nasforge blocks` lists them, `nasforge blocks NAME` tells of one. Each example is a whole network.\n"
    for row in parts.blocks().values():
        yield f"## {row['name']}\n\n{_text(row['text'])}\n"
        if row["args"]:
            yield _table(("argument", "type", "default"), [(a["name"], a["type"], "needed" if a["required"] else _plain(a["default"]))
                                                          for a in row["args"]])  # fmt: skip
        yield f"\n```yaml\n{parts.as_file(row['example'])}\n```\n"


def _spaces() -> Iterator[str]:
    yield "# Spaces\n\n`nasforge spaces` lists them, `nasforge spaces NAME` and `nasforge show NAME` tell of one.\n"
    for name in parts.spaces():
        row = parts.space_row(name, whole=True)
        size = "infinitely many" if row["size"] is None else f"{row['size']:,}" if row["size"] < 1e12 else f"{row['size']:.3g}"
        yield f"## {name}\n\n{_text(row['text'])}\n\n{size} choices in {len(row['domains'])} domains. `{row['example']}`\n"


def _recipes() -> Iterator[str]:
    yield "# Recipes\n\n## Words\n\nOf `recipe:` in a file, and of `train --set WORD=VALUE`.\n"
    yield _table(("word", "type", "default", "meaning", "example"), [
        (row["name"], row["type"], _plain(row["default"]), row["about"], f"`{row['example']}`")
        for row in parts.words().values()])  # fmt: skip
    yield "\n## Published\n\n`nasforge train NETWORK --recipe published`, or `--recipe NETWORK` for another network.\n"
    yield _table(("networks", "data", "recipe", "note", "source"), [
        (", ".join(row["networks"]), row["data"], ", ".join(f"{k} {_plain(v)}" for k, v in row["recipe"].items()), row["note"] or "",
         row["source"]) for row in parts.recipes().values()])  # fmt: skip


def _metrics() -> Iterator[str]:
    yield "# Metrics\n\n`NAME@WHERE` is a metric of one head, or of one device: `miou@mask`, `latency_ms@phone`.\n"
    yield _table(("metric", "title", "better", "unit", "known", "tasks", "example"), [
        (row["name"], row["title"], row["better"], row["unit"], row["when"], ", ".join(row["tasks"]), f"`{row['example']}`")
        for row in parts.metrics().values()])  # fmt: skip


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in (" | ".join(header), " | ".join("---" for _ in header), *lines))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")


def whole(rows: Mapping[str, Any]) -> str:
    """The text of reference.json: a line for each name."""
    text = json.dumps({kind: {} for kind in rows}, indent=0)
    for kind, named in rows.items():
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(row, ensure_ascii=False)}" for name, row in named.items())
        text = text.replace(f'"{kind}": {{}}', f'"{kind}": {{\n{lines}\n}}')
    return text + "\n"


if __name__ == "__main__":
    parts.STORED.write_text(whole(reference()), encoding="utf-8")
    parts.stored.cache_clear()
    DOCS.mkdir(exist_ok=True)
    for file, text in pages().items():
        (DOCS / file).write_text(text, encoding="utf-8")
