"""Milliseconds of blocks from milliseconds of networks: non-negative rates for work, then corrections by ridge regression.

A network takes rates["network"] plus the times of its blocks. A block takes what its work costs at the rates, times one plus the sum of the
corrections of its labels: the block itself at its shapes, its name, and each of its arguments. So a profile knows the blocks that it
has seen one by one, and of others that 7x7 kernels are slow here. Both fits minimise relative errors.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np

from nasforge.latency.units import AMOUNTS, amounts, labels

Units = Counter[str]  # block texts and how often they stand in a network
Rates = dict[str, float]  # ms for a network as such, and for one unit of each of AMOUNTS
Table = dict[str, float]  # corrections of labels, as a share of the time at the rates
RATES = ("network", *AMOUNTS)


def fit(networks: list[Units], times_ms: np.ndarray, penalty: float) -> tuple[Rates, Table]:
    """The rates and the corrections; `penalty` holds the corrections small, infinity leaves none."""
    rows = np.array([[1.0, *_work(units)] for units in networks]) / times_ms[:, None]
    rates = dict(zip(RATES, _non_negative(rows).tolist(), strict=True))
    if penalty == float("inf"):
        return rates, {}
    times = {block: at_rates(block, rates) for units in networks for block in units}
    seen = {label: i for i, label in enumerate(sorted({label for block in times for label in labels(block)}))}
    shares = np.zeros((len(networks), len(seen)))  # of a network's time, by label
    missing = 1 - rates["network"] / times_ms
    for i, units in enumerate(networks):
        for block, n in units.items():
            share = n * times[block] / times_ms[i]
            missing[i] -= share
            for label in labels(block):
                shares[i, seen[label]] += share
    scale = penalty * max(float(np.mean(np.sum(shares**2, 1))), 1e-12)
    corrections = shares.T @ np.linalg.solve(shares @ shares.T + scale * np.eye(len(times_ms)), missing)
    return rates, dict(zip(seen, corrections.tolist(), strict=True))


def estimate(units: Units, rates: Rates, table: Table) -> float:
    """The milliseconds of a network; labels never seen have no correction."""
    total = rates["network"]
    for block, n in units.items():
        total += n * at_rates(block, rates) * max(0.0, 1 + sum(table.get(label, 0.0) for label in labels(block)))
    return total


def at_rates(block: str, rates: Rates) -> float:
    """The milliseconds of a block by its work alone."""
    return sum(rates[name] * amount for name, amount in zip(AMOUNTS, amounts(block), strict=True))


def leave_one_out(networks: list[Units], times_ms: np.ndarray, penalty: float) -> np.ndarray:
    """The estimate of each network by a fit to the others."""
    out = []
    for i, units in enumerate(networks):
        rest = np.arange(len(networks)) != i
        out.append(estimate(units, *fit([n for n in networks if n is not units], times_ms[rest], penalty)))
    return np.array(out)


def apart(estimates: np.ndarray, times_ms: np.ndarray) -> np.ndarray:
    """Relative errors."""
    return np.abs(estimates - times_ms) / times_ms


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's coefficient; 0 where one of them is constant."""
    ranks = [np.argsort(np.argsort(one)).astype(float) for one in (a, b)]
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _work(units: Units) -> list[float]:
    columns = zip(*([n * amount for amount in amounts(block)] for block, n in units.items()), strict=True)
    return [float(sum(column)) for column in columns]


def _non_negative(rows: np.ndarray) -> np.ndarray:
    """The w >= 0 for which rows @ w is nearest to ones: the best of the least-squares fits of every subset of columns."""
    best, least = np.zeros(rows.shape[1]), float("inf")
    scale = np.maximum(rows.max(0), 1e-30)  # amounts differ by many powers of ten
    for size in range(1, rows.shape[1] + 1):
        for columns in map(list, combinations(range(rows.shape[1]), size)):
            found = np.linalg.lstsq(rows[:, columns] / scale[columns], np.ones(len(rows)), rcond=None)[0] / scale[columns]
            distance = float(np.sum((rows[:, columns] @ found - 1) ** 2))
            if (found >= 0).all() and distance < least * (1 - 1e-9):
                best, least = np.zeros(rows.shape[1]), distance
                best[columns] = found
    return best
