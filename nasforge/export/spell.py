"""Modules as the constructor calls that make them, and calls as text that Black leaves alone."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from nasforge.blocks.base import Layer
from nasforge.blocks.core.shapes import Tokens
from nasforge.errors import UserError

WIDTH = 120
Part = tuple[str, "Spelled"]  # what stands before an item (`act=`, `"name": `) and the item


@dataclass(frozen=True)
class Spelled:
    """An expression: `opening` + items + `closing`, where `opening` is a class or a piece of text."""

    opening: type | str
    items: tuple[Part, ...] = ()
    closing: str = ""


def spell(module: nn.Module, where: str) -> Spelled:
    """Return the call that makes a layer or a combinator. Raise UserError for a module that does not tell how it was made."""
    cls = type(module)
    if isinstance(module, Layer) and module.made_with is not None:
        shapes, args = module.made_with
        shape = shapes if module.reads == "all" else shapes[0]
        return _call(cls, {**dict.fromkeys(list(inspect.signature(cls).parameters)[:1], shape), **args}, where)
    if cls is nn.Identity:
        return Spelled("nn.Identity()")
    names = list(inspect.signature(cls).parameters)
    missing = [name for name in names if not hasattr(module, name)]
    if missing or not (cls.__module__.startswith("nasforge.blocks.") or issubclass(cls, Layer)):
        raise UserError(
            f"{where}: to be written as Python, {cls.__name__} must keep its constructor arguments as attributes, "
            f"it has no {', '.join(missing) or 'class in nasforge.blocks, and is no Layer'}; export it to onnx or torch, or keep them"
        )
    return _call(cls, {name: getattr(module, name) for name in names}, where)


def _call(cls: type, args: Mapping[str, Any], where: str) -> Spelled:
    """Return a call with what differs from the defaults; shapes and modules come first, without their names."""
    parameters = inspect.signature(cls).parameters
    items: list[Part] = []
    named = False
    for i, (name, parameter) in enumerate(parameters.items()):
        value = args.get(name, parameter.default)
        if type(value) is type(parameter.default) and value == parameter.default:
            named = True
            continue
        named = named or not (i == 0 or isinstance(value, nn.Module))
        items.append((f"{name}=" if named else "", value_of(value, f"{where}.{name}")))
    return Spelled(cls, tuple(items), ")")


def value_of(value: Any, where: str) -> Spelled:
    """Return an argument: a module, a shape, plain data. Raise UserError as `spell`."""
    if isinstance(value, Tokens):
        return Spelled(Tokens, (("length=", Spelled(str(value.length))), ("vocab=", Spelled(str(value.vocab)))), ")")
    if isinstance(value, nn.ModuleDict) or (isinstance(value, dict) and not isinstance(value, nn.Module)):
        return Spelled("{", tuple((f"{literal(k)}: ", value_of(v, f"{where}.{k}")) for k, v in value.items()), "}")
    if isinstance(value, nn.ModuleList | list):
        return Spelled("[", tuple(("", value_of(v, f"{where}.{i}")) for i, v in enumerate(value)), "]")
    if isinstance(value, nn.Module):
        return spell(value, where)
    if isinstance(value, tuple):
        items = tuple(("", value_of(v, f"{where}.{i}")) for i, v in enumerate(value))
        return Spelled("(", items, ",)" if len(items) == 1 else ")")
    return Spelled(literal(value))


def literal(value: Any) -> str:
    """Return Python text of a scalar, words in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def within(spelled: Spelled) -> Iterator[Spelled]:
    """Yield the expression and all inside it."""
    yield spelled
    for _, item in spelled.items:
        yield from within(item)


def write(spelled: Spelled, names: Mapping[type, str], before: str = "", indent: int = 8) -> str:
    """Return the text `before` + expression, on one line if it fits, else one item a line."""
    line = " " * indent + before + _flat(spelled, names)
    if len(line) + (indent > 8) <= WIDTH or not spelled.items:  # an item has a comma behind it
        return line
    items = [write(item, names, prefix, indent + 4) for prefix, item in spelled.items]
    first, last = " " * indent + before + _opening(spelled, names), " " * indent + spelled.closing.lstrip(",")
    return "\n".join([first, *(f"{item}," for item in items), last])


def _flat(spelled: Spelled, names: Mapping[type, str]) -> str:
    return _opening(spelled, names) + ", ".join(prefix + _flat(item, names) for prefix, item in spelled.items) + spelled.closing


def _opening(spelled: Spelled, names: Mapping[type, str]) -> str:
    return spelled.opening if isinstance(spelled.opening, str) else names[spelled.opening] + "("
