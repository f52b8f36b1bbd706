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
    if about["format"] != FORMAT or not isinstance(about["inside"], bool):
        raise ValueError(f"format {about['format']!r}, of another version than this one, which knows {FORMAT}")
    for one in about["inputs"].values():
        numbers = [float(v) for word in ("mean", "std") for v in one[word]]
        if len(one["mean"]) != len(one["std"]) or not np.isfinite([*numbers, float(one["scale"])]).all() or 0.0 in one["std"]:
            raise ValueError("mean and std must be finite numbers for each channel, std none of them 0")
        if not all(isinstance(n, int) and n > 0 for n in one["shape"]) or one["dtype"] not in ("uint8", "float32", "float64", "int64"):
            raise ValueError(f"shape {one['shape']} or dtype {one['dtype']} of an input")
        if one["kind"] == "table" and not all(isinstance(column["name"], str) for column in one["columns"]):
            raise ValueError("columns must have names")
        if lacks := NEEDED.get(one["kind"], set()) - set(one):
            raise ValueError(f"an input of kind {one['kind']} must have {', '.join(sorted(lacks))}")
    for target in about["targets"].values():
        if not isinstance(target["kind"], str) or not isinstance(target["size"], int) or len(target["names"]) not in (0, target["size"]):
            raise ValueError(f"a target of kind {target['kind']!r} must have as many names as outputs")
    return dict(about)
