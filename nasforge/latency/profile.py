"""What the blocks of a space take on one machine, from measured networks; and the latency that follows for any other.

A profile is its measurements: blocks with their work, how often each stands in each measured network, and the times. The fit is made
again whenever a profile is read, so a better fit needs no new measurement, and finalists that are measured may join.
"""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nasforge.errors import UserError
from nasforge.files import parsed_file
from nasforge.latency.fit import Fit, apart, estimate, fit, left_out, rank_correlation, widening
from nasforge.latency.measure import Latency, measure_many
from nasforge.latency.runtimes import PACKAGES
from nasforge.latency.units import AMOUNTS, Units, amounts, labels, units_of
from nasforge.spaces.arch import Arch

FEWEST = 4  # networks that a fit and its check need
CONDITIONS = ("runtime", "device", "threads", "batch", "precision")
NORMAL = 1.645  # standard deviations to both sides that hold 90 % of a normal distribution
NEAR = 0.1  # a prediction is near if it is within so much of the measurement


class Prediction(NamedTuple):
    """A predicted latency, and the interval that holds 90 % of the latencies of such networks."""

    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class Profile:
    """What networks took on one machine, for one runtime, number of threads, batch and precision.

    blocks: texts of blocks with their amounts of work; networks: how often each block, by its place, stands in each measured network;
    times_ms. error: relative error of the prediction of each measured network from the others (median, worst, share within 10 %),
    their rank correlation, half the width of an interval that held 90 % of them in standard deviations, and the shares of the
    measurements that were noisy and of the time spent waiting for a processor.
    """

    runtime: str
    device: str
    threads: int
    batch: int
    precision: str
    processor: str
    versions: dict[str, str]
    date: str
    space: str
    blocks: dict[str, list[float]]
    networks: list[dict[str, int]]
    times_ms: list[float]
    error: dict[str, float] = field(default_factory=dict)
    input: Any = None  # of the networks, as an architecture writes it; older profiles do not tell

    @cached_property
    def units(self) -> list[Units]:
        """The blocks of each measured network."""
        texts = list(self.blocks)
        return [Counter({texts[int(i)]: n for i, n in network.items()}) for network in self.networks]

    @cached_property
    def predictor(self) -> Predictor:
        """What predicts by this profile."""
        return Predictor(fit(self.units, np.array(self.times_ms)), float(self.error.get("widening", NORMAL)))


class Predictor:
    """Predictions by one fit, with intervals of so many standard deviations; those of known sets of blocks are remembered."""

    def __init__(self, found: Fit, widening: float) -> None:
        self.fit, self.widening = found, widening
        self.known: dict[frozenset[tuple[str, int]], Prediction] = {}

    def __call__(self, arch: Arch) -> Prediction:
        units = units_of(arch)
        name = frozenset(units.items())
        if name not in self.known:
            times, spreads = estimate(self.fit, [units])
            ms, width = float(times[0]), self.widening * float(spreads[0])
            self.known[name] = Prediction(ms, max(0.0, ms - width), ms + width)
        return self.known[name]


def calibrate(
    archs: Sequence[Arch],
    *,
    runtime: str = "eager",
    device: str = "cpu",
    threads: int = 1,
    batch: int = 1,
    precision: str = "float32",
    repeats: int = 30,
    space: str = "",
    timer: Callable[..., list[Latency]] = measure_many,
) -> Profile:
    """Return the profile of networks measured here. Raises UserError for fewer than 4."""
    conditions = {"runtime": runtime, "device": device, "threads": threads, "batch": batch, "precision": precision}
    _enough(archs)
    found = timer(archs, repeats=repeats, **conditions)
    about = {
        "processor": processor(),
        "versions": versions(runtime),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "space": space,
    }
    noise = {"noisy": sum(one.noisy for one in found) / len(found), "waiting": float(np.median([one.waiting for one in found]))}
    return profile_of(archs, [one.median_ms for one in found], noise, **conditions, **about)


def profile_of(archs: Sequence[Arch], times_ms: Sequence[float], noise: dict[str, float], **about: Any) -> Profile:
    """Return the profile of networks and their times, wherever they were measured; `about` are the other fields of a profile."""
    _enough(archs)
    counted = [units_of(arch) for arch in archs]
    texts = {block: i for i, block in enumerate(sorted({block for units in counted for block in units}))}
    networks = [{str(texts[block]): n for block, n in units.items()} for units in counted]
    profile = Profile(
        blocks={block: list(amounts(block)) for block in texts}, networks=networks, times_ms=[float(t) for t in times_ms],
        input=archs[0].get("input"), **about,
    )
    times = np.array(profile.times_ms)
    others, spreads = left_out(counted, times)
    errors = apart(others, times)
    summary = {
        "median": float(np.median(errors)), "worst": float(errors.max()), "within_10_percent": float(np.mean(errors <= NEAR)),
        "rank_correlation": rank_correlation(others, times), "widening": widening(others, spreads, times), **noise,
    }  # fmt: skip
    return replace(profile, error=summary)


def _enough(archs: Sequence[Arch]) -> None:
    if len(archs) < FEWEST:
        raise UserError(f"calibrate: needs at least {FEWEST} networks to fit and check a profile, got {len(archs)}")


def predict(profile: Profile, arch: Arch, **asked: Any) -> Prediction:
    """Return the predicted latency of an architecture; `asked` may name runtime, device, threads, batch and precision.

    Raises UserError where the profile was made for other conditions than those asked.
    """
    check_conditions(profile, **asked)
    return profile.predictor(arch)


def check_conditions(profile: Profile, **asked: Any) -> None:
    """Raise UserError where a profile was made for other conditions than those asked; None asks for nothing."""
    for name, wanted in asked.items():
        own = getattr(profile, name)
        if wanted is not None and wanted != own:
            raise UserError(f"profile: is for {name} {own!r}, asked for {wanted!r}; calibrate again with {name} {wanted!r}")


def with_measured(profile: Profile, archs: Sequence[Arch], times_ms: Sequence[float]) -> Profile:
    """Return the profile with more networks, measured under its conditions: finalists of a search, say."""
    texts = {block: i for i, block in enumerate(profile.blocks)}
    networks = list(profile.networks)
    for arch in archs:
        counted = units_of(arch)
        networks.append({str(texts.setdefault(block, len(texts))): n for block, n in counted.items()})
    blocks = {block: profile.blocks.get(block) or list(amounts(block)) for block in texts}
    return replace(profile, blocks=blocks, networks=networks, times_ms=[*profile.times_ms, *map(float, times_ms)])


# ---------------------------------------------------------------- the machine


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions(runtime: str) -> dict[str, str]:
    """Return the versions of what a runtime computes with."""
    out = {}
    for package in ("torch", *filter(None, [PACKAGES.get(runtime)])):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


# ---------------------------------------------------------------- files


def write_profile(profile: Profile, path: str | Path) -> Path:
    """Return the path of the JSON file written."""
    path = Path(path)
    path.write_text(json.dumps(asdict(profile), indent=1), encoding="utf-8")
    return path


def read_profile(path: str | Path) -> Profile:
    """Return the profile in a JSON file. Raises UserError where the file holds none."""
    try:
        data = parsed_file(path)
        profile = Profile(**data)
        _check(profile)
        return profile
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise UserError(f"{path}: is no latency profile ({error}); make one with calibrate") from None


def _check(profile: Profile) -> None:
    """Raise ValueError or TypeError for values that no profile has."""
    words = (profile.runtime, profile.device, profile.precision, profile.processor, profile.date, profile.space)
    if not all(isinstance(word, str) for word in words) or not isinstance(profile.error, dict) or not isinstance(profile.versions, dict):
        raise TypeError("a field has the wrong type")
    for block, work in profile.blocks.items():
        labels(block)
        if len(work) != len(AMOUNTS) or not all(0 <= float(w) < 1e18 for w in work):
            raise ValueError(f"a block needs {len(AMOUNTS)} amounts of work, got {work}")
    if len(profile.networks) != len(profile.times_ms) or len(profile.networks) < FEWEST:
        raise ValueError(f"it needs {FEWEST} or more networks and as many times")
    if not all(1e-9 < float(ms) < 1e9 for ms in profile.times_ms):
        raise ValueError("times are milliseconds above 0")
    if not all(isinstance(value, int | float) for value in profile.error.values()):
        raise TypeError("errors are numbers")
    for network in profile.networks:
        if not network or not all(0 <= int(i) < len(profile.blocks) and 0 < n < 1e6 for i, n in network.items()):
            raise ValueError("a network counts blocks of the list")
