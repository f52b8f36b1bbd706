"""What the blocks of a space take on one machine, fitted to measured networks; and the latency that follows for any other."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nasforge.arch import Arch
from nasforge.errors import UserError
from nasforge.latency.fit import apart, estimate, fit, leave_one_out, rank_correlation
from nasforge.latency.measure import Latency, measure_many
from nasforge.latency.units import units

FEWEST = 4  # networks that a fit and its check need
PENALTIES = (0.01, 0.1, 1.0, 10.0, float("inf"))


@dataclass(frozen=True)
class Profile:
    """What blocks take on one machine, for one runtime, number of threads and batch.

    rates: ms of a network as such and of one unit of each kind of work. table: corrections of a block's time at these rates, by the
    block with its shapes, by its name, by its arguments (see fit.py). error: relative error of the estimate of each measured network
    by a fit to the others (median, worst), the rank correlation of these estimates with the measurements, and the share of
    measurements that were noisy.
    """

    runtime: str
    device: str
    threads: int
    batch: int
    processor: str
    networks: int
    rates: dict[str, float]
    table: dict[str, float]
    error: dict[str, float]


def calibrate(
    archs: Sequence[Arch],
    *,
    runtime: str = "eager",
    device: str = "cpu",
    threads: int = 1,
    batch: int = 1,
    repeats: int = 30,
    timer: Callable[..., list[Latency]] = measure_many,
) -> Profile:
    """The profile fitted to measured networks; the strength of its ridge is the one with the smallest leave-one-out error.

    Raises UserError for fewer than 4 networks.
    """
    if len(archs) < FEWEST:
        raise UserError(f"calibrate: needs at least {FEWEST} networks to fit and check a profile, got {len(archs)}")
    measured = timer(archs, runtime=runtime, device=device, threads=threads, batch=batch, repeats=repeats)
    times_ms = np.array([one.median_ms for one in measured])
    networks = [Counter(units(arch)) for arch in archs]
    trials = [(penalty, leave_one_out(networks, times_ms, penalty)) for penalty in PENALTIES]
    penalty, held_out = min(trials, key=lambda trial: float(np.mean(apart(trial[1], times_ms))))
    rates, table = fit(networks, times_ms, penalty)
    errors = apart(held_out, times_ms)
    summary = {
        "median": float(np.median(errors)),
        "worst": float(errors.max()),
        "rank_correlation": rank_correlation(held_out, times_ms),
        "noisy": sum(one.noisy for one in measured) / len(measured),
    }
    processor = platform.processor() or platform.machine()
    return Profile(runtime, device, threads, batch, processor, len(archs), rates, table, summary)


def predict(
    profile: Profile,
    arch: Arch,
    *,
    runtime: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    batch: int | None = None,
) -> float:
    """The predicted milliseconds of an architecture. Raises UserError where the profile was made for other conditions than those asked."""
    for name, asked in (("runtime", runtime), ("device", device), ("threads", threads), ("batch", batch)):
        own = getattr(profile, name)
        if asked is not None and asked != own:
            raise UserError(f"profile: is for {name} {own!r}, asked for {asked!r}; calibrate again with {name} {asked!r}")
    return estimate(Counter(units(arch)), profile.rates, profile.table)


def write_profile(profile: Profile, path: str | Path) -> Path:
    """The path of the JSON file written."""
    path = Path(path)
    path.write_text(json.dumps(asdict(profile), indent=1), encoding="utf-8")
    return path


def read_profile(path: str | Path) -> Profile:
    """The profile in a JSON file. Raises UserError where the file holds none."""
    try:
        return Profile(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is no latency profile ({error}); make one with calibrate") from None
