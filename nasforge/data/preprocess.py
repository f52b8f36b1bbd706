"""What lies between a file and a network, as plain data: kept with every run, trained network and export.

    {"format": 1, "data": "flowers", "key": "4c0f...",
     "inside": false,                        whether the network does scale, mean and std itself, and gives values in their own units
     "inputs": {"input": {
        "kind": "image",                     or table, vector, sequence, tokens, characters
        "shape": [3, 64, 64],                of one raw sample; of images channels, height, width
        "dtype": "uint8",                    of raw numbers; float64 where float32 would lose their digits
        "scale": 0.00392, "mean": [...], "std": [...],       x * scale, less mean, divided by std, for each channel or feature
        "channels": "RGB", "resize": "cover", "filter": "bilinear",       of images: see `nasforge.data.reading.decode`
        "file_scale": 1.0,                   by what the bytes of an image file become raw numbers, null where they do not
        "header": true, "columns": [{"name": "age"}, {"name": "color", "names": ["blue", "red"]}],       of tables
        "characters": ["a", ...], "vocabulary": 40}},                     of text
     "targets": {"label": {"kind": "label", "size": 2, "names": ["daisy", "rose"], "mean": [], "std": []}}}

Mean and std are those of the training part. Missing numbers of tables and vectors are NaN and become 0 once normalized, which is the mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasforge.data.arrays import Arrays, Raw
from nasforge.data.dataset import KINDS as TARGET_KINDS
from nasforge.data.dataset import DataSpec
from nasforge.errors import UserError
from nasforge.files import parsed_file, write_whole

FILE, LABELS = "preprocess.json", "labels.json"
FORMAT = 1
BYTE = 1 / 255
HUGE = 1e30  # a deviation by which every number becomes 0
SMALL, LARGE = 1e-12, 1e18  # deviations whose squares float32 does not hold
KINDS = {2: "vector", 3: "sequence", 4: "image"}  # by the axes of an array of samples
NEEDED = {"table": {"header", "columns"}, "image": {"channels", "file_scale"}, "characters": {"characters"}}  # of a kind, besides
Moments = Mapping[str, tuple[tuple[Any, ...], tuple[Any, ...]]]  # mean and deviation by input; empty for tokens


def described(raw: Raw, train: Arrays, spec: DataSpec, moments: Moments, key: str) -> dict[str, Any]:
    """Return the description of data that were read, whose training part is `train`."""
    inputs = {}
    for name, x in train.inputs.items():
        mean, std = map(list, moments.get(name, ((), ())))
        dtype = str(x.dtype)
        if any(not SMALL < one < LARGE for one in std):
            dtype = "float64"  # as the data were normalized
        nothing = [math.isnan(one) for one in mean]  # of a feature that no training sample has: whatever it is, it counts as the mean
        mean, std = ([new if gone else one for one, gone in zip(some, nothing, strict=True)] for some, new in ((mean, 0.0), (std, HUGE)))
        about: dict[str, Any] = {"kind": KINDS.get(x.ndim, "vector") if mean else "tokens", "shape": list(x.shape[1:]), "dtype": dtype}
        about |= {"scale": BYTE if dtype == "uint8" else 1.0, "mean": mean, "std": std}
        if x.ndim == 4:
            channels = {1: "L", 3: "RGB"}.get(x.shape[1])
            about |= {"channels": channels, "resize": "cover", "filter": "bilinear", "file_scale": _file_scale(x) if channels else None}
        if not mean:
            about |= {"vocabulary": (raw.vocab or {})[name]}
        inputs[name] = about | dict(raw.about.get(name, {}))
    targets = {
        name: {"kind": t.kind, "size": t.size, "names": list(t.names), "mean": list(t.mean), "std": list(t.std)}
        for name, t in spec.targets.items()
    }
    return {"format": FORMAT, "data": raw.name, "key": key, "inside": False, "inputs": inputs, "targets": targets}


def _file_scale(x: Any) -> float | None:
    """By what bytes of an image file become numbers as those of an array: bytes as they are, [0, 1] as shares of 255."""
    if x.dtype == np.uint8:
        return 1.0
    if not isinstance(x, np.ndarray) or x.min() < 0 or x.max() > 255:  # what lies in a file is not read once more for this
        return None
    return BYTE if x.max() <= 1 else 1.0


def labels_of(about: Mapping[str, Any]) -> Any:
    """Return the names of the classes, labels or values in the order of the outputs; of several targets by their names."""
    names = {key: target["names"] or [str(i) for i in range(target["size"])] for key, target in about["targets"].items()}
    return next(iter(names.values())) if len(names) == 1 else names


def write_preprocess(about: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a description and its names into a folder; nothing of data that have none."""
    if not about:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in ((FILE, about), (LABELS, labels_of(about))):
        write_whole(folder / name, json.dumps(value, indent=1, ensure_ascii=False))
    return [folder / FILE, folder / LABELS]


def read_preprocess(folder: Path) -> dict[str, Any] | None:
    """Return the description in a folder, None where there is none. Raise UserError where it is damaged."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return checked(parsed_file(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: must be a description of preprocessing, got: {error}; restore it, or delete it and give --data") from None


def checked(about: Any) -> dict[str, Any]:
    """Return a description. Raise ValueError, KeyError, TypeError or AttributeError for what is none."""
    if not isinstance(about, dict):
        raise ValueError(f"a {type(about).__name__} instead of an object")
    if missing := [word for word in ("format", "inside", "inputs", "targets") if word not in about]:
        raise ValueError(f"an object without {', '.join(missing)}")
    if about["format"] != FORMAT or not isinstance(about["inside"], bool):
        raise ValueError(f"format {about['format']!r}, of another version than this one, which knows {FORMAT}")
    for word in ("inputs", "targets"):
        if not isinstance(about[word], dict) or not about[word]:
            raise ValueError(f"{word} {about[word]!r}, where there must be one or more by name")
    for name, one in about["inputs"].items():
        if lacks := ({"kind", "shape", "dtype", "scale", "mean", "std"} | NEEDED.get(one["kind"], set())) - set(one):
            raise ValueError(f"the input {name} of kind {one['kind']} without {', '.join(sorted(lacks))}")
        if wrong := _wrong_input(one):
            raise ValueError(f"the input {name} with {wrong}")
    for name, target in about["targets"].items():
        if wrong := _wrong_target(target):
            raise ValueError(f"the target {name} with {wrong}")
    return about


def _wrong_input(one: Mapping[str, Any]) -> str:
    """What of an input says nothing, or something else than the rest; nothing where all is well."""
    shape, mean, std = one["shape"], one["mean"], one["std"]
    whole = one["dtype"] == "int64"
    if one["kind"] not in (*KINDS.values(), *NEEDED, "tokens"):
        return f"kind {one['kind']!r}"
    if not shape or not all(type(n) is int and n > 0 for n in shape) or one["dtype"] not in ("uint8", "float32", "float64", "int64"):
        return f"shape {shape} and dtype {one['dtype']!r}"
    if (one["kind"] == "image" and len(shape) != 3) or whole != (one["kind"] in ("tokens", "characters")):
        return f"kind {one['kind']}, shape {shape} and dtype {one['dtype']}, which do not go together"
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in (*mean, *std, one["scale"])) or 0 in std:
        return "mean, std or scale that are no finite numbers, or a std of 0"
    many = 0 if whole else shape[0] if len(shape) == 3 else shape[-1]
    if not len(mean) == len(std) == many:
        return f"{len(mean)} means and {len(std)} deviations, where the shape {shape} needs {many}"
    if one["kind"] == "table" and sum(_width(column) for column in one["columns"]) != shape[-1]:
        return f"columns of {sum(_width(column) for column in one['columns'])} numbers, where the shape is {shape}"
    if one["kind"] == "image" and not (one["file_scale"] is None or isinstance(one["file_scale"], int | float)):
        return f"file_scale {one['file_scale']!r}"
    if one["kind"] == "characters" and not all(isinstance(letter, str) for letter in one["characters"]):
        return "characters that are no text"
    if whole and not isinstance(one.get("vocabulary"), int):
        return f"vocabulary {one.get('vocabulary')!r}"
    return ""


def _width(column: Mapping[str, Any]) -> int:
    """How many numbers a column of a table becomes."""
    if not isinstance(column["name"], str) or not all(isinstance(name, str) for name in column.get("names", [])):
        raise ValueError(f"columns must have names, got {column}")
    return len(column["names"]) if "names" in column else 1


def _wrong_target(target: Mapping[str, Any]) -> str:
    kind, size, names = target["kind"], target["size"], target["names"]
    if kind not in TARGET_KINDS or type(size) is not int or size < 1:
        return f"kind {kind!r} and size {size!r}"
    if len(names) not in (0, size) or not all(isinstance(name, str) for name in names):
        return f"{len(names)} names, where its size is {size}, or names that are no text"
    numbers, lengths = [*target["mean"], *target["std"]], {2 * size} | ({0} if kind != "value" else set())
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers) or len(numbers) not in lengths:
        return f"{len(target['mean'])} means and {len(target['std'])} deviations, where its kind is {kind} and its size {size}"
    return ""
