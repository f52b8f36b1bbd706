"""Cutting data into train, val and test, stratified by class and repeatable from a seed."""

from __future__ import annotations

import numpy as np

from nasforge.data.arrays import Arrays
from nasforge.errors import UserError

MIN_HELD_OUT = 1000  # val and test stay at least this large where there are as many


def stratified_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random permutation of which every slice holds the classes of `y` in proportion, up to one sample a class.

    Sample r of the n of a class gets the place (r + 1/2) / n; ties fall in one random order of the classes.
    """
    shuffled = rng.permutation(len(y))
    _, inverse, counts = np.unique(y[shuffled], return_inverse=True, return_counts=True)
    by_class = np.argsort(inverse, kind="stable")
    rank = np.empty(len(y))
    rank[by_class] = np.concatenate([np.arange(n) for n in counts])
    place = (rank + 0.5) / counts[inverse]
    return shuffled[np.lexsort((rng.permutation(len(counts))[inverse], place))]


def divide(parts: dict[str, Arrays], *, seed: int, limit: int | None, ordered: bool, where: str) -> dict[str, Arrays]:
    """`train`, `val` and `test`, cut out of the given `train` where they are not given.

    Args:
        parts: arrays by name, `train` at least.
        seed: of the shuffle.
        limit: training samples to keep, or None for all.
        ordered: whether neighbours belong together (text), so that the parts must be contiguous.
        where: name of the data for messages.
    """
    rng = np.random.default_rng(seed)
    orders = {name: _order(y, rng, ordered) for name, (_, y) in parts.items()}
    order = orders["train"]
    held_out = _held_out(len(order), {"val", "test"} - set(parts))
    n_train = len(order) - sum(held_out.values())
    start = n_train
    for name, count in held_out.items():
        orders[name] = order[start : start + count]
        start += count
    orders["train"] = order[:n_train]
    if limit is not None:
        orders = _shrink(orders, limit, keep_test="test" in parts)
    _check(orders, parts["train"][1], where)
    made = {}
    for name, chosen in orders.items():
        x, y = parts.get(name, parts["train"])
        if name != "train" and name in parts:
            chosen = np.sort(chosen)  # a given part keeps its order
        made[name] = (x[chosen], y[chosen])
    return made


def _order(y: np.ndarray, rng: np.random.Generator, ordered: bool) -> np.ndarray:
    if ordered:
        return np.arange(len(y))
    return stratified_order(y, rng) if y.ndim == 1 else rng.permutation(len(y))


def _held_out(n: int, missing: set[str]) -> dict[str, int]:
    """How many of `n` training samples become val and test, whichever is missing."""
    fifth = max(1, round(0.2 * n))
    if "test" in missing:
        return {name: fifth for name in ("val", "test") if name in missing}
    if "val" in missing:
        return {"val": max(1, round(0.1 * n), min(MIN_HELD_OUT, fifth))}
    return {}


def _shrink(orders: dict[str, np.ndarray], limit: int, keep_test: bool) -> dict[str, np.ndarray]:
    share = min(1.0, limit / max(1, len(orders["train"])))
    smaller = {"train": orders["train"][:limit]}
    for name in ("val", "test"):
        n = len(orders[name])
        keep = n if name == "test" and keep_test else max(min(MIN_HELD_OUT, n), round(share * n))
        smaller[name] = orders[name][:keep]
    return smaller


def _check(orders: dict[str, np.ndarray], y: np.ndarray, where: str) -> None:
    for name, chosen in orders.items():
        if len(chosen) == 0:
            raise UserError(f"{where}: too few samples ({len(y)}) to cut train, val and test; {name} would be empty")
    if y.ndim != 1:
        return
    classes, kept = len(np.unique(y)), len(np.unique(y[orders["train"]]))
    if kept < classes:
        raise UserError(
            f"{where}: the {len(orders['train'])} training samples kept must hold each of the {classes} classes, "
            f"got {kept} of them; raise limit"
        )
