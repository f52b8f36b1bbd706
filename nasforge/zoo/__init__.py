"""Documented networks: families in files, each a template with `$names` and a table of members that fill them.

A family file holds

    family, task, source       what it is, and where it is published (paper and table)
    template                   an architecture with references $name, and defaults for them under `let`
    members                    name -> let (values of the names), counts (ours), published (figures and their source);
                               and, where they differ from the template, input, classes, source, note, family;
                               `like: member` and `scale: {depth, width}` make one by compound scaling of another

A plugin adds files of this kind, in which counts may be left out: they are then worked out when they are asked for.

Beside them: missing.yaml (named in the lecture notes but not built), aka.yaml (other spellings), recipes.yaml (published training recipes).
`small_NAME` is the network NAME for small images or videos, see small.py. Listing and loading answer without torch; scaling and
`small_` need it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from nasforge.errors import UserError, nearest
from nasforge.spaces import files
from nasforge.spaces.arch import Arch
from nasforge.spaces.space import Space

HERE = Path(__file__).resolve().parent
LISTS = ("missing", "aka", "recipes")  # files beside the families
NOT_PUBLISHED = {"warmup_epochs": 0, "early_stopping": None, "ema": None, "grad_clip": None}  # what our recipes have and papers do not
ALL = "nasforge zoo"  # the command that lists them
MEMBER = re.compile(r"^  ([\w.-]+):", re.MULTILINE)
OVERRIDES = ("input", "classes", "source", "note")
ADDED: dict[str, dict[str, Any]] = {}  # the families of plugins, by the names of their members


class NoSuchNetwork(UserError):
    """Raised for a name that no documented network has."""


# ---------------------------------------------------------------- the table


@lru_cache(maxsize=1)
def _own() -> dict[str, Path]:
    """The file of each of our networks. Their names are found by the look of their lines, two spaces in, without parsing 80 files."""
    found: dict[str, Path] = {}
    for path in sorted(HERE.glob("*.yaml")):
        _, _, members = path.read_text(encoding="utf-8").partition("\nmembers:\n")
        found |= dict.fromkeys(MEMBER.findall(re.split(r"^\S", members, maxsplit=1, flags=re.MULTILINE)[0]), path)
    return found


@lru_cache(maxsize=200)
def _read(path: Path) -> dict[str, Any]:
    return files.read(path)


def family_of(name: str) -> dict[str, Any] | None:
    """Return the family data in which a network is a member; None where none is called so."""
    path = _own().get(name)
    return _read(path) if path is not None else ADDED.get(name)


@lru_cache(maxsize=len(LISTS))
def _list(name: str) -> Any:
    return files.read(HERE / f"{name}.yaml")[name]


def names() -> list[str]:
    """Return the names of the documented networks, sorted."""
    return sorted({**_own(), **ADDED})


def aka() -> dict[str, str]:
    """Other spellings, of the lecture notes, torchvision and timm, each with the name here."""
    return dict(_list("aka"))


def listed(pattern: str = "*") -> list[dict[str, Any]]:
    """Return the rows of `entries` and `missing` whose name matches, with * and ?. Raise UserError where there is none."""
    wanted = aka().get(pattern, pattern)
    rows = [*entries(wanted), *(row for row in missing() if fnmatch(row["name"], wanted))]
    if not rows:
        raise UserError(f"{pattern}: no documented network has such a name; {nearest(pattern, names(), ALL)}")
    return rows


def entries(pattern: str = "*") -> list[dict[str, Any]]:
    """One row for each network whose name matches: name, family, task, input, classes, params, macs, published, source, note, status.

    The counts are stored in the files and checked by a test, so this answers without torch. status: exact where the counts are
    those of the published definition, variant where the note says what differs.
    """
    return [_entry(name, family) for name in names() if fnmatch(name, pattern) and (family := family_of(name))]


def _entry(name: str, family: Mapping[str, Any]) -> dict[str, Any]:
    member = family["members"][name]
    counts = member.get("counts") or _counts(name)
    shown = {key: member.get(key, family["template"].get(key, family.get(key))) for key in OVERRIDES}
    return {
        "name": name, "family": member.get("family", family["family"]), "task": family["task"],
        "input": shown["input"], "classes": shown["classes"],
        "params": counts["params"], "macs": counts["macs"], "published": member.get("published"),
        "source": shown["source"], "note": shown["note"], "status": member.get("status", "exact"),
    }  # fmt: skip


@lru_cache(maxsize=1000)
def _counts(name: str) -> dict[str, int]:
    """The counts of a network whose file, of a plugin, leaves them out."""
    from nasforge.networks.cost import count  # needs torch

    found = count(load(name))
    return {"params": found.params, "macs": found.macs}


def missing() -> list[dict[str, Any]]:
    """One row, with the keys of `entries` and `missing`, for each network that the lecture notes name and that is not built."""
    unknown = dict.fromkeys(("task", "input", "classes", "params", "macs", "published", "source", "note"))
    have = set(names())
    rows = [{**unknown, **row, "name": name, "status": "missing"} for name, row in _list("missing").items() if name not in have]
    return sorted(rows, key=lambda row: row["name"])


def recipe(name: str) -> dict[str, Any] | None:
    """How a network was trained for its published figures: recipe, data, source, note and target (those figures); None where unknown.

    `recipe` is in the terms of `nasforge.train.Recipe`, with nothing of ours that a paper does not name (averages, clipping, early end).
    """
    name = aka().get(name, name)
    family = family_of(name)
    found = next((row for row in _list("recipes") if family and any(fnmatch(name, pattern) for pattern in row["networks"])), None)
    if family is None or found is None:
        return None
    values = {**found["recipe"], **{key: value for key, value in NOT_PUBLISHED.items() if key not in found["recipe"]}}
    target = family["members"][name].get("published")
    return {"recipe": values, **{key: found.get(key) for key in ("data", "source", "note")}, "target": target}


def recipes() -> dict[str, list[str]]:
    """Return the names of the networks of each published recipe, by the first of them."""
    rows: list[list[str]] = [[] for _ in _list("recipes")]
    for name in names():
        fits = (i for i, row in enumerate(_list("recipes")) if any(fnmatch(name, pattern) for pattern in row["networks"]))
        if (first := next(fits, None)) is not None:
            rows[first].append(name)
    return {of[0]: of for of in rows if of}


def load(name: str) -> Arch:
    """Return the architecture of a documented network, or for `small_NAME` of its form for 3 x 32 x 32 images and 10 classes.

    Videos keep their number of frames.
    Other spellings are understood, see `aka`. Raises UserError with the nearest name for an unknown one.
    """
    known = aka().get(name, name)
    if (family := family_of(known)) is not None:
        return member(known, family)
    if name.startswith("small_"):
        from nasforge.zoo.small import small  # needs torch

        arch = load(name.removeprefix("small_"))
        frames = tuple(arch["input"][1:-2]) if isinstance(arch["input"], list) else ()
        return small(arch, (3, *frames, 32, 32), 10)
    lacking = next((row["missing"] for row in missing() if row["name"] == known), None)
    if lacking is not None:
        raise UserError(f"{name}: this network is documented but not built, it lacks {lacking}; {nearest(name, names(), ALL)}")
    raise NoSuchNetwork(f"{name}: no documented network has that name; {nearest(name, names(), ALL)}")


def documented(arch: Mapping[str, Any]) -> bool:
    """Return whether an architecture is a documented network, or the small form of one, layer by layer; its recipe may be another."""
    try:
        known = load(str(arch.get("name")))
    except UserError:
        return False
    return {k: v for k, v in known.items() if k != "recipe"} == {k: v for k, v in arch.items() if k != "recipe"}


def member(name: str, family: Mapping[str, Any]) -> Arch:
    """Return the architecture of a member of a family. Raises UserError where it leaves a value open."""
    own, template = family["members"][name], family["template"]
    base = family["members"][own["like"]] if "like" in own else {}
    lets = {**template.get("let", {}), **base.get("let", {}), **own.get("let", {})}

    def refuse(domain: Any) -> Any:
        raise UserError(f"{domain.name}: a member of the zoo must give every value, this one is open ({domain})")

    arch = Space({**template, "let": lets}).draw(refuse)[0]
    if "scale" in own:
        from nasforge.scaling import scale  # needs torch

        arch = scale(arch, 1.0, **{"depth": 1.0, "width": 1.0, "resolution": 1.0, **own["scale"]})
    about = {"name": name, "source": family["source"], **{key: own[key] for key in (*OVERRIDES, "published") if key in own}}
    return {**about, **{key: value for key, value in arch.items() if key not in about}}
