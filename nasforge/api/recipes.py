"""Recipes by the names that users give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasforge import zoo
from nasforge.errors import UserError, nearest
from nasforge.spaces.files import check_there, parse, read


def recipe_named(name: str | None, arch: str | Path | Mapping[str, Any], words: Sequence[str] | None = None) -> dict[str, Any]:
    """Return values of a recipe: of a YAML file, of a documented network by its name, of `arch` by `published`; then words `lr=.1`.

    Raises:
        UserError: there is no such recipe, or a word is none.
    """
    out: dict[str, Any] = {}
    if name is not None and Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).exists():
            check_there(name)
        out = dict(read(Path(name)))
    elif name is not None:
        of = str(arch) if name == "published" else name
        found = zoo.recipe(of)
        if found is None:
            known = [network for networks in zoo.recipes().values() for network in networks]
            near = "" if of in zoo.names() else f"{nearest(of, known, 'nasforge recipes')}; "
            remedy = "name a documented network that has one, or a YAML file"
            raise UserError(f"--recipe {name}: no published recipe is known of {of}; {near}{remedy}")
        out = dict(found["recipe"])
    for word in words or ():
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--set {word}: must be WORD=VALUE, for example lr=.1")
        out[key.strip()] = parse(value, f"--set {word}")
    return out
