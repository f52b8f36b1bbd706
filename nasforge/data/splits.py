"""Cutting data into train, val and test, stratified by class and repeatable from a seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nasforge.data.arrays import Arrays
from nasforge.errors import UserError

MIN_HELD_OUT = 1000  # val and test stay at least this large where there are as many


def stratified_order(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random permutation of which every slice holds the classes of `y` in proportion, up to one sample a class.

    Sample r of the n of a class gets the place (r + 1/2) / n; ties fall in one random order of the classes.
    """
    shuffled = rng.permutation(len(y))
    inverse, counts, rank = _ranked(y[shuffled])
    place = (rank + 0.5) / counts[inverse]
    return shuffled[np.lexsort((rng.permutation(len(counts))[inverse], place))]


def held_out(y: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return which samples to hold out, as (N,) booleans: of each class its share, but never all of its samples.

    Of classes with few samples that may be none; where it would be none of any class, one sample of the most frequent is held out,
    and still none where no class has two.
    """
    shuffled = rng.permutation(len(y))
    inverse, counts, rank = _ranked(y[shuffled])
    taken = np.minimum(counts - 1, np.rint(share * counts))
    if not taken.any() and counts.max(initial=0) > 1:
        taken[counts.argmax()] = 1
    out = np.zeros(len(y), dtype=bool)
    out[shuffled] = rank < taken[inverse]
    return out


def _ranked(y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The class of each sample as a number, the samples of each class, and the place of each sample among those of its class."""
    _, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    rank = np.empty(len(y))
    rank[np.argsort(inverse, kind="stable")] = np.concatenate([np.arange(n) for n in counts])
    return inverse, counts, rank


def divide(
    parts: Mapping[str, Arrays], *, seed: int, limit: int | None, ordered: bool, stratified: bool, where: str, test: bool = True
) -> dict[str, Arrays]:
    """Return `train`, `val` and `test`, cut out of the given `train` where they are not given.

    Args:
        parts: arrays by name, `train` at least.
        seed: of the shuffle.
        limit: training samples to keep, or None for all.
        ordered: whether neighbors belong together (text), so that the parts must be contiguous.
        stratified: whether the first target is one class a sample, so that each part gets the classes in proportion.
        where: name of the data for messages.
        test: whether a `test` that is not given is cut; else it stays empty.
    """
    rng = np.random.default_rng(seed)

    def order_of(part: Arrays) -> np.ndarray:
        if ordered:
            return np.arange(len(part))
        return stratified_order(part.y, rng) if stratified else rng.permutation(len(part))

    orders = {name: order_of(part) for name, part in parts.items()}
    order = orders["train"]
    sizes = _held_out(len(order), {"val", *["test"] * test} - set(parts))
    n_train = len(order) - sum(sizes.values())
    start = n_train
    for name, count in sizes.items():
        orders[name] = order[start : start + count]
        start += count
    orders["train"] = order[:n_train]
    if limit is not None:
        orders = _shrink(orders, limit, keep_test="test" in parts)
    _check(orders, parts["train"], stratified, where)
    made = {}
    for name, chosen in orders.items():
        if name != "train" and name in parts:
            chosen = np.sort(chosen)  # a given part keeps its order
        made[name] = parts.get(name, parts["train"])[chosen]
    return {**made, "test": made["test"] if "test" in made else parts["train"][order[:0]]}


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
    for name in [part for part in ("val", "test") if part in orders]:
        n = len(orders[name])
        keep = n if name == "test" and keep_test else max(min(MIN_HELD_OUT, n), round(share * n))
        smaller[name] = orders[name][:keep]
    return smaller


def _check(orders: Mapping[str, np.ndarray], train: Arrays, stratified: bool, where: str) -> None:
    for name, chosen in orders.items():
        if len(chosen) == 0:
            raise UserError(f"{where}: too few samples ({len(train)}) to cut train, val and test; {name} would be empty")
    if not stratified:
        return
    classes, kept = len(np.unique(train.y)), len(np.unique(train.y[orders["train"]]))
    if kept < classes:
        raise UserError(
            f"{where}: the {len(orders['train'])} training samples kept must hold each of the {classes} classes, "
            f"got {kept} of them; raise limit"
        )
