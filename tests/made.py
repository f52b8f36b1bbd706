"""Small data of every kind of target, each with something to learn; read as functions of the user's own are."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasforge.data import Dataset, Source
from nasforge.tasks import load_data

FEATURES = 6


def _table(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, FEATURES))


def label() -> dict[str, Any]:
    """Three classes of a table, the last one rare."""
    x = _table(300, 0)
    return {"x": x, "y": np.digitize(x[:, 0] + 0.5 * x[:, 1], (0.0, 1.4))}


def mask() -> dict[str, Any]:
    """Bright and dark pixels of 8 x 8 images; the first row does not count."""
    x = np.random.default_rng(1).integers(0, 256, (60, 3, 8, 8)).astype(np.uint8)
    y = (x[:, 0] > 100).astype(np.int64) + (x[:, 0] > 200)
    y[:, 0] = 255
    return {"x": x, "y": y}


def steps() -> dict[str, Any]:
    """Tokens that follow one another, now and then by chance."""
    rng = np.random.default_rng(2)
    text = [0]
    for chance in rng.random(60 * 10):
        text.append((text[-1] + 1) % 7 if chance > 0.1 else int(rng.integers(7)))
    return {"x": np.array(text[:-1]).reshape(60, 10), "y": np.array(text[1:]).reshape(60, 10)}


def value() -> dict[str, Any]:
    """Two numbers of very different size."""
    x = _table(200, 3)
    noise = 0.1 * _table(200, 4)
    return {"x": x, "y": np.stack([1000 + 50 * (x[:, 0] + noise[:, 0]), 0.01 * (x[:, 1] - x[:, 2] + noise[:, 1])], 1)}


def labels() -> dict[str, Any]:
    """Three labels, the last one rare."""
    x = _table(200, 5)
    return {"x": x, "y": (x[:, :3] > (0.0, 0.3, 1.2)).astype(int)}


def seq2seq() -> dict[str, Any]:
    """A text and the same one again, each token one higher, from what was written so far; the last place does not count."""
    source = np.random.default_rng(6).integers(1, 6, (80, 5))
    written = source + 1
    before = np.concatenate([np.zeros((80, 1), int), written], 1)
    after = np.concatenate([written, np.full((80, 1), -100)], 1)
    return {"x:source": source, "x:target": before, "y": after}


def several() -> dict[str, Any]:
    """Images with a class for every pixel, and one for the image."""
    arrays = mask()
    return {"x": arrays["x"], "y:ink": arrays["y"], "y:bright": (arrays["x"][:, 1].mean((1, 2)) > 127).astype(int)}


NETWORKS: dict[str, dict[str, Any]] = {
    "label": {"body": ["flatten", {"linear": {"out": 16, "act": "relu"}}], "head": ["linear"]},
    "mask": {"body": [{"conv": {"out": 8}}], "head": [{"conv": {"out": "classes", "kernel": 1, "norm": "none", "act": "none"}}]},
    "steps": {"stem": [{"embedding": {"out": 16}}], "body": [{"gru": {"hidden": 16}}], "head": ["linear"]},
    "value": {"body": ["flatten", {"linear": {"out": 16, "act": "relu"}}], "head": ["linear"]},
    "labels": {"body": ["flatten", {"linear": {"out": 16, "act": "relu"}}], "head": ["linear"]},
    "seq2seq": {
        "input": {"source": {"tokens": 2, "length": 2}, "target": {"tokens": 2, "length": 2}},
        "stem": [{"embedding": {"out": 16}}],
        "body": [
            {"gru": {"hidden": 16}, "as": "memory"},
            {"embedding": {"out": 16}, "from": "target"},
            {"gru": {"hidden": 16}},
            {"attend": {"score": "dot", "join": "concat"}, "from": ["last", "memory"]},
        ],
        "head": ["linear"],
    },
    "several": {
        "body": [{"conv": {"out": 8}}],
        "heads": {
            "ink": [{"conv": {"out": 3, "kernel": 1, "norm": "none", "act": "none"}}],
            "bright": [{"pool": {"kind": "avg"}}, {"linear": {"out": 2}}],
        },
    },
}


def small(name: str, task: str | None = None, limit: int | None = None) -> Dataset:
    """Return the data of a name above, for a task where it is not the one that the target tells."""
    return load_data(Source(f"{__file__}:{name}", limit, allow_code=True, task=task))
