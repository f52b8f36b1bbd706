"""Milliseconds of blocks from milliseconds of networks: non-negative rates for work, then corrections by a Gaussian process.

A network is expected to take rates["network"] plus what the work of its blocks costs at the rates. Blocks deviate from that by shares:
each block at its shapes, each kind of block, and each value of its arguments. So a profile knows the blocks that it has seen one by
one, and of others that 7x7 kernels are slow here. What a runtime fuses inside a block is in the times of the networks that were
measured, and so in the corrections. Errors are relative throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nasforge.latency.gaussian_process import Part, Posterior, condition
from nasforge.latency.units import AMOUNTS, Units, amounts, labels

Rates = dict[str, float]  # ms for a network as such, and for one unit of each of AMOUNTS
Columns = dict[str, tuple[int, int]]  # the part and the column of a label
RATES = ("network", *AMOUNTS)
EXACT_VARIANCES = (1e-4, 1e-3, 1e-2)  # of the share by which one block at its shapes differs from its rates
KIND_VARIANCES = (1e-4, 1e-3, 1e-2, 1e-1)  # of the shares by which a kind of block, or a value of an argument, does
LEAST_UNSEEN = (1e-3, 4e-2)  # the same of a block, of a kind or value that no measured network had
NOISES = (0.01, 0.02, 0.05, 0.1)
POWER = 2.0  # noise is a share of the time
CONFIDENCE = 0.9


@dataclass(frozen=True)
class Fit:
    """What measured networks say about blocks: the rates, the corrections, and how far predictions may be off.

    columns: the place of each label in the parts of the posterior, (part, column).
    """

    rates: Rates
    posterior: Posterior
    columns: Columns


def fit(networks: Sequence[Units], times_ms: np.ndarray) -> Fit:
    """Return the fit to the times of measured networks."""
    rates = dict(zip(RATES, non_negative(np.array([[1.0, *_work(units)] for units in networks]) / times_ms[:, None]).tolist(), strict=True))
    columns = label_columns(networks)
    mean, rows, _ = expected(networks, rates, columns)
    scale = float(np.mean(times_ms))
    parts = [Part(rows[i] / scale, variances) for i, variances in enumerate((EXACT_VARIANCES, KIND_VARIANCES))]
    posterior = condition(mean / scale, parts, times_ms, power=POWER, noises=NOISES, scale=scale)
    return Fit(rates, posterior, columns)


def estimate(found: Fit, networks: Sequence[Units]) -> tuple[np.ndarray, np.ndarray]:
    """Return the milliseconds of networks, and the standard deviations of measurements around them."""
    mean, rows, unseen = expected(networks, found.rates, found.columns)
    scale = found.posterior.scale
    shares = [part / scale for part in rows]
    variance = found.posterior.spread(mean / scale, shares) ** 2
    for least, prior, ms in zip(LEAST_UNSEEN, found.posterior.variances, unseen, strict=True):
        variance += max(least, prior) * ms**2
    times = np.maximum(found.posterior.predict(mean / scale, shares), 0.1 * mean)
    return times, np.sqrt(variance)


def left_out(networks: Sequence[Units], times_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `estimate` says of each network by a fit to the others."""
    out = []
    for i, units in enumerate(networks):
        rest = [j for j in range(len(networks)) if j != i]
        out.append(estimate(fit([networks[j] for j in rest], times_ms[rest]), [units]))
    return np.array([float(times[0]) for times, _ in out]), np.array([float(spread[0]) for _, spread in out])


def widening(estimates: np.ndarray, spreads: np.ndarray, times_ms: np.ndarray) -> float:
    """Half the width of an interval that holds 90 % of the networks to come, in standard deviations, if they come as these did.

    Source: Lei et al. 2018, section 2 (conformal prediction, here with leave-one-out errors).
    """
    distances = np.sort(np.abs(estimates - times_ms) / spreads)
    return float(distances[min(int(np.ceil(CONFIDENCE * (len(distances) + 1))), len(distances)) - 1])


def expected(networks: Sequence[Units], rates: Rates, columns: Columns) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """(n,) ms at the rates; of these the ms under each label of both parts, (n, f); and under labels that have no column, (n,)."""
    rows = [np.zeros((len(networks), sum(part == i for part, _ in columns.values()))) for i in (0, 1)]
    unseen = [np.zeros(len(networks)) for _ in (0, 1)]
    mean = np.full(len(networks), rates["network"])
    for i, units in enumerate(networks):
        for block, n in units.items():
            ms = n * at_rates(block, rates)
            mean[i] += ms
            for place, label in enumerate(labels(block)):
                if label in columns:
                    part, column = columns[label]
                    rows[part][i, column] += ms
                else:
                    unseen[min(place, 1)][i] += ms
    return mean, rows, unseen


def at_rates(block: str, rates: Rates) -> float:
    """Return the milliseconds of a block by its work alone."""
    return sum(rates[name] * amount for name, amount in zip(AMOUNTS, amounts(block), strict=True))


def apart(estimates: np.ndarray, times_ms: np.ndarray) -> np.ndarray:
    """Relative errors."""
    return np.abs(estimates - times_ms) / times_ms


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's coefficient; 0 where one of them is constant."""
    ranks = [np.argsort(np.argsort(one)).astype(float) for one in (a, b)]
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def label_columns(networks: Sequence[Units]) -> Columns:
    """Blocks at their shapes stand in part 0, kinds and arguments in part 1."""
    blocks = sorted({block for units in networks for block in units})
    kinds = sorted({label for block in blocks for label in labels(block)[1:]})
    return {**{block: (0, i) for i, block in enumerate(blocks)}, **{label: (1, i) for i, label in enumerate(kinds)}}


def _work(units: Units) -> list[float]:
    columns = zip(*([n * amount for amount in amounts(block)] for block, n in units.items()), strict=True)
    return [float(sum(column)) for column in columns]


def non_negative(rows: np.ndarray) -> np.ndarray:
    """Return the w >= 0 for which rows @ w is nearest to ones: the best of the least-squares fits of every subset of columns."""
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
