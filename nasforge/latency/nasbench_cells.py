"""What a compiler or an interpreter would run of a NAS-Bench-201 cell, as counts.

A cell is six operations on the edges 0->1, 0->2, 1->2, 0->3, 1->3, 2->3. An interpreter runs all of them; a compiler drops those that the
output does not need; and a good one also those that only pass zeros on. Devices differ in this, so features of all three are given.
Source: Dong & Yang 2020, figure 1.
"""

from __future__ import annotations

import numpy as np

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
PATHS = ((0, 0, 1, 1, 1), (0, 0, 0, 1, 0), (0, 0, 1, 1, 0), (0, 1, 1, 1, 1), (0, 0, 0, 0, 1), (0, 0, 1, 9, 0))  # lengths of operations


def reached(ops: np.ndarray) -> np.ndarray:
    """(n, 6) operations without those that read nothing but zeros."""
    alive = np.zeros((len(ops), 4), bool)
    alive[:, 0] = True
    out = np.zeros_like(ops)
    for i, (source, target) in enumerate(EDGES):  # edges into a node stand before those out of it
        kept = (ops[:, i] != 0) & alive[:, source]
        out[:, i] = np.where(kept, ops[:, i], 0)
        alive[:, target] |= kept
    return out


def needed(ops: np.ndarray) -> np.ndarray:
    """(n, 6) operations without those whose result the output does not read."""
    wanted = np.zeros((len(ops), 4), bool)
    wanted[:, 3] = True
    out = np.zeros_like(ops)
    for i, (source, target) in reversed(list(enumerate(EDGES))):
        kept = (ops[:, i] != 0) & wanted[:, target]
        out[:, i] = np.where(kept, ops[:, i], 0)
        wanted[:, source] |= kept
    return out


def longest(ops: np.ndarray, lengths: tuple[int, ...]) -> np.ndarray:
    """(n,) the length of the longest path from input to output, each operation as long as `lengths` says; 0 where there is none."""
    far = np.full((len(ops), 4), -np.inf)
    far[:, 0] = 0
    for i, (source, target) in enumerate(EDGES):
        step = np.where(ops[:, i] == 0, -np.inf, np.array(lengths, float)[ops[:, i]] + far[:, source])
        far[:, target] = np.maximum(far[:, target], step)
    return np.maximum(far[:, 3], 0)


def positions(ops: np.ndarray, values: range) -> np.ndarray:
    """(n, positions * values) which value stands at which position."""
    return np.concatenate([(ops == value).astype(float) for value in values], 1)


def counts(ops: np.ndarray, values: range) -> np.ndarray:
    """(n, values) how often each value stands anywhere."""
    return np.stack([(ops == value).sum(1) for value in values], 1).astype(float)


def cell_features(ops: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Groups of features with their weights: how much a group may explain beside the others.

    Counts weigh more than positions: an operation costs much the same wherever it stands.
    """
    kept = needed(ops)
    live = needed(reached(ops))
    some = range(1, len(OPS))
    cut = (live == 0).all(1, keepdims=True).astype(float)
    paths = np.stack([longest(live, lengths) for lengths in PATHS], 1)
    return [
        (1.0, counts(ops, some)), (2.0, counts(kept, some)), (1.0, counts(live, some)), (1.0, paths), (0.3, cut),
        (0.3, positions(ops, range(len(OPS)))), (1.0, positions(kept, some)), (0.3, positions(live, some)),
    ]  # fmt: skip
