"""What of the finalists' scores is chance: smaller networks as good as the winner, and those that did worse than in the search."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nasforge.objectives.metrics import metric_or_value
from nasforge.report.format import difference, many, spread, times, value, whole, word
from nasforge.report.run import Row, Run

SMALLER = 1.2  # times fewer parameters, from which on a network is worth naming
# words of a recipe that are told where finals and search differ, in this order
TOLD = ("epochs", "batch_size", "optimizer", "lr", "schedule", "label_smoothing", "augment", "init", "early_stopping", "ema", "soup",
        "sam", "weight_decay", "data_fraction", "resolution", "class_weights", "sampling")  # fmt: skip


@dataclass(frozen=True)
class AsGood:
    """A finalist within one standard error of the winner on val. error: that standard error. ratio: how many times smaller it is."""

    row: Row
    error: float
    ratio: float


def as_good(run: Run) -> AsGood | None:
    """Return the smallest finalist that keeps all limits and is within one standard error of the winner on val; None without such.

    The one-standard-error rule of Breiman et al. 1984 (CART, section 3.4.3). Test has no part in it. Nothing is said where a cost comes
    first, for the winner is then the cheapest, and where nobody knows the standard error.
    """
    best = run.best()
    error = None if best is None else standard_error(run, best)
    if best is None or error is None or run.first.described.is_cost:
        return None
    sign = 1 if metric_or_value(best["metric"]).maximize else -1
    rows = [r for r in run.rows("finalist") if r["val"] is not None and not r["refused"] and sign * (best["val"] - r["val"]) <= error]
    small = min(rows, key=lambda r: r["params"], default=best)
    ratio = best["params"] / max(1, small["params"])
    return AsGood(small, error, ratio) if ratio >= SMALLER else None


def standard_error(run: Run, row: Row) -> float | None:
    """Return the standard error of a network's mean score on val; None where nothing tells it.

    Two parts, independent of each other: the deviation of its trainings over the root of their number; and, of a share p of n samples, the
    sampling of those, sqrt(p (1 - p) / n), which is an upper bound for any mean of numbers between 0 and 1.
    """
    scores = _scores(run, row)
    parts = [statistics.stdev(scores) / math.sqrt(len(scores))] if len(scores) > 1 else []
    samples = _samples(run, max(1, len(scores)))
    if samples and metric_or_value(row["metric"]).unit == "share":
        parts.append(math.sqrt(max(0.0, row["val"] * (1 - row["val"])) / samples))
    return math.hypot(*parts) if parts else None


def _scores(run: Run, row: Row) -> list[float]:
    """The scores on val of each final training of a network."""
    results = [r for r in run.finals.get(row["key"], {}).values() if not r.get("error")]
    return [r["metrics"][row["metric"]] for r in results if row["metric"] in r.get("metrics", {})]


def _samples(run: Run, trainings: int) -> float:
    """The samples that val has, as far as the answers of the winner tell; 0 where they do not."""
    told = ((run.summary or {}).get("answers") or {}).get("val")
    rows = [one for one in told.values() if isinstance(one, dict)] if isinstance(told, dict) else []
    counts = [one.get("samples") or sum(one.get("total") or ()) for one in rows]
    return max((count / trainings for count in counts), default=0.0)


def smaller_ones(run: Run) -> list[str]:
    """Return a sentence on the smallest network that is as good as the winner, with how to take it away; nothing without one."""
    best, found = run.best(), as_good(run)
    if best is None or found is None:
        return []
    row, metric = found.row, found.row["metric"]
    scores = f"{value(metric, row['val'])} against {value(metric, best['val'])} {word(metric)} on validation"
    return [
        f"{row['name']} is as good within the noise, and {times(found.ratio)} times smaller: {scores} (one standard error: "
        f"{difference(metric, found.error)}), {whole(row['params'])} against {many(best['params'], 'parameter')}. "
        f"To take it away: nasforge export {run.folder}:{row['name']} --to python."
    ]


# ---------------------------------------------------------------- finals and search


def final_recipe(run: Run) -> str:
    """Return how the recipe of the finals differs from that of the search, in words; nothing where it does not, or is not known."""
    told = run.manifest.get("recipes")
    if not isinstance(told, Mapping) or run.manifest.get("evaluator") != "train":
        return ""
    kinds = (("short", "recipe"), ("full", "final_recipe"))
    short, full = ({**(told.get(name) or {}), **(run.manifest.get(changes) or {})} for name, changes in kinds)
    if run.manifest.get("minutes"):  # there the clock says how many
        for one in (short, full):
            one.pop("epochs", None)
    differ = [f"{name} {_plain(full.get(name))} (search: {_plain(short.get(name))})" for name in TOLD if full.get(name) != short.get(name)]
    return ", ".join([*_epochs(run), *differ])


def _epochs(run: Run) -> list[str]:
    """The epochs that trainings of a search for some minutes had, in finals and search."""
    if not run.manifest.get("minutes"):
        return []
    finals = [len(r["curve"]) for results in run.finals.values() for r in results.values() if r.get("curve")]
    trials = [len(r.curve) for r in run.search.records.values() if r.kind == "finished" and r.curve]
    return [f"epochs as the time allowed, {_range(finals)} (search: {_range(trials)})"] if finals and trials else []


def _range(counts: list[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _plain(found: Any) -> str:
    if isinstance(found, Mapping):
        return " ".join(f"{k} {v:g}" if isinstance(v, int | float) else f"{k} {v}" for k, v in found.items()) or "none"
    return "none" if found is None else f"{found:g}" if isinstance(found, float) else str(found)


def worse_than_in_search(run: Run) -> list[str]:
    """Return a sentence on the finalists whose final trainings gave less on val than the search did, and why; nothing without such."""
    rows = []
    for row in run.rows("finalist"):
        sign = 1 if metric_or_value(row["metric"]).maximize else -1
        if row["val"] is not None and row["search_val"] is not None and sign * (row["search_val"] - row["val"]) > 0:
            rows.append(row)
    rows = [row for row in rows if abs(row["search_val"] - row["val"]) > (standard_error(run, row) or 0.0)]
    if not rows:
        return []
    each = "; ".join(f"{r['name']} {spread(r['metric'], r['val'], None)} after {spread(r['metric'], r['search_val'], None)}" for r in rows)
    recipe = final_recipe(run)
    why = f"the recipe of the finals differs: {recipe}" if recipe else "the recipe is the same"
    remedy = "give the finals more time (--minutes)" if run.manifest.get("minutes") else "try other --final-epochs"
    return [
        f"Worse on validation after the final trainings than in the search: {each}. The best of many single trainings look a little "
        f"better than they are; and {why}. If that is it, {remedy}, or nasforge train {run.folder}:{rows[0]['name']} --set WORD=VALUE."
    ]
