"""The latency of all networks of a table on a new device, from a few of them measured there and from devices that are known.

Every known device gives a smooth curve: its times as a weighted sum of the features of the networks. Their mean, each chip counting once,
is what is expected of a new device; their differences from it are the ways in which devices are known to differ; and the
features themselves may explain what is left. Without known devices, features are all there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nasforge.errors import UserError
from nasforge.latency.design import covering
from nasforge.latency.gaussian_process import Part, Posterior, condition, noise_variance
from nasforge.latency.tables import Latencies, chip

POWER = 1.0  # of the noise: see gaussian.noise_variance
WEIGHTING = 0.5  # the same for the curves of known devices, where a large share of a small time matters less
SMOOTH = 1e-5  # ridge of these curves
MEAN_VARIANCES = (0.1,)  # of the scale around its first guess
DEVICE_VARIANCES = (0.3, 1.0, 3.0)  # of differences between devices, by those between known ones
FEATURE_VARIANCES = (1e-4, 1e-3, 1e-2, 1e-1)
EXPECTED = (0.1, 1.0, 1e-2)  # of mean, devices and features, for the choice of networks
EXPECTED_NOISE = 0.1


@dataclass(frozen=True)
class Prior:
    """What is known of each network of a table before any is measured: mean (n,), and rows of its mean, devices and features."""

    mean: np.ndarray
    rows: tuple[np.ndarray, np.ndarray, np.ndarray]


def scaled(table: Latencies, like: Latencies) -> np.ndarray:
    """(n, f) the features of a table, each group with variance weight**2 in the table `like`, and a column of ones."""
    columns = [np.ones((table.networks, 1))]
    for (weight, group), (_, other) in zip(table.groups, like.groups, strict=True):
        columns.append(weight * (group - other.mean(0)) / max(float(np.sqrt(other.var(0).sum())), 1e-9))
    return np.concatenate(columns, 1)


def curve(features: np.ndarray, times: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """(n,) the times of a device as a smooth function of features, for the networks of `onto`, with mean 1."""
    seen = np.isfinite(times)
    share = times[seen] / np.median(times[seen])
    x, weights = features[seen], np.maximum(share, 0.05) ** -WEIGHTING
    weights /= weights.sum()
    fit = np.linalg.solve((x * weights[:, None]).T @ x + SMOOTH * np.eye(x.shape[1]), x.T @ (weights * share))
    out = onto @ fit
    return out / out.mean()


def curves(table: Latencies, like: Latencies) -> dict[str, np.ndarray]:
    """Return the curve of every device of a table over the networks of `like`. Raises UserError where these are of another kind."""
    if table.kind != like.kind or [g.shape[1] for _, g in table.groups] != [g.shape[1] for _, g in like.groups]:
        raise UserError(f"--transfer {table.name}: its networks must be of the kind of {like.name}, {like.kind}; got {table.kind}")
    features = scaled(table, like)
    onto = features if table is like else scaled(like, like)
    return {name: curve(features, times, onto) for name, times in table.devices.items() if np.isfinite(times).sum() > 1}


def prior(features: np.ndarray, known: Mapping[str, np.ndarray]) -> Prior:
    """Return the prior from the curves of known devices (there may be none); each chip has one vote, its settings share it."""
    if not known:
        mean = np.ones(len(features))
        return Prior(mean, (mean[:, None], np.zeros((len(mean), 0)), features))
    votes = Counter(chip(name) for name in known)
    weights = np.array([1 / votes[chip(name)] for name in known]) / len(votes)
    table = np.stack(list(known.values()), 1)
    mean = table @ weights
    return Prior(mean, (mean[:, None], (table - mean[:, None]) * np.sqrt(weights), features))


def order(known: Prior, times: np.ndarray, wanted: int, pool: np.ndarray) -> np.ndarray:
    """Return the networks of `pool` to measure, best first; of `times` only whether a network that was asked for runs is looked at."""
    noise = np.sqrt(noise_variance(known.mean[pool], 1.0, POWER))[:, None]
    rows = np.concatenate([np.sqrt(v) * part[pool] for v, part in zip(EXPECTED, known.rows, strict=True)], 1) / noise
    return pool[covering(rows, EXPECTED_NOISE, wanted, lambda i: bool(np.isfinite(times[pool[i]])))]


def learn(known: Prior, measured: np.ndarray, times: np.ndarray) -> Posterior:
    """Return what the times of the measured networks say about all."""
    grids = (MEAN_VARIANCES, DEVICE_VARIANCES if known.rows[1].shape[1] else (1.0,), FEATURE_VARIANCES)
    parts = [Part(rows[measured], grid) for rows, grid in zip(known.rows, grids, strict=True)]
    return condition(known.mean[measured], parts, times, power=POWER)


def predict_all(known: Prior, posterior: Posterior) -> np.ndarray:
    """(n,) times of all networks of the table; never below a hundredth of the scale."""
    return np.maximum(posterior.predict(known.mean, known.rows), 0.01 * posterior.scale)
