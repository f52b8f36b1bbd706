"""Architectures by one call each: listed, shown, scaled, timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from nasforge import zoo as documented
from nasforge.api.named import Network, arch_of, is_space, space_named
from nasforge.api.tables import frame
from nasforge.errors import UserError
from nasforge.latency import Latency, measure, read_profile
from nasforge.networks.cost import count, layer_table
from nasforge.objectives.metrics import full_name, is_metric, metric
from nasforge.objectives.quantity import quantity
from nasforge.scaling import Coefficients, along, cost_of, largest, matched
from nasforge.scaling import scale as compound
from nasforge.scaling.compound import ALIASES, LIMITS
from nasforge.spaces.arch import Arch
from nasforge.spaces.space import Space


def zoo(pattern: str = "*") -> Any:
    """Return the documented networks whose name matches, as a data frame: name, family, input, params, macs, published, source."""
    return frame([row for row in documented.listed(pattern) if row["status"] != "missing"])


def show(what: Network) -> Any:
    """Return the layers of an architecture as a data frame (its totals in `attrs`), or the open choices of a space.

    Args:
        what: a documented network, a file, RUN:NAME, a packaged space, or one of these as data.
    """
    if is_space(what):
        space = Space(dict(what) if isinstance(what, Mapping) else space_named(str(what)))
        found = frame([{"domain": domain.name, "values": str(domain)} for domain in space.domains()])
        found.attrs = {"size": space.size()}
        return found
    name, arch = arch_of(what)
    rows, cost = layer_table(arch), count(arch)
    found = frame([{k: v for k, v in asdict(row).items() if k != "args"} for row in rows])
    found.attrs = {"name": name, "params": cost.params, "macs": cost.macs, "weight_bytes": cost.weight_bytes, "peak_bytes": cost.peak_bytes}
    return found


def scale(
    network: Network,
    phi: float | None = None,
    *,
    fit: str | Mapping[str, float] | None = None,
    axis: str | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    divisor: int = 8,
    profile: str | None = None,
) -> Arch:
    """Return an architecture grown or shrunk.

    Args:
        phi: compound coefficient: depth alpha^phi, width beta^phi, resolution gamma^phi.
        fit: limits instead, such as `{"params": 1e6}` or "params=1e6,latency_ms=5": the largest member within them.
        axis: one axis instead of three: depth, width, resolution, cardinality, pyramid.
        alpha, beta, gamma: bases, 1.2, 1.1 and 1.15 by default.
        divisor: of the widths, where they are multiples of it now.
        profile: a file of `calibrate` that predicts latency_ms; else it is measured here.

    Raises:
        UserError: not exactly one of `phi` and `fit` is given, or no member fits.
    """
    if (phi is None) == (fit is None):
        raise UserError("scale: give either phi or fit, for example fit='params=1e6'")
    if divisor < 1:
        raise UserError(f"--divisor: must be a whole number >= 1, got {divisor}")
    given = {"depth": alpha, "width": beta, "resolution": gamma}
    bases = Coefficients(**{name: value for name, value in given.items() if value is not None})
    _, arch = arch_of(network)

    def member(phi: float) -> Arch:
        return compound(arch, phi, *bases, divisor=divisor)

    if fit is not None:
        limits = limits_of(fit)
        return largest(member if not axis else lambda phi: along(arch, axis, 2.0**phi, divisor), limits, meters_of(profile))
    assert phi is not None
    if not axis:
        return member(phi)
    return matched(arch, axis, cost_of(member(phi), "macs"), lambda one: cost_of(one, "macs"), divisor)


def meters_of(profile: str | None) -> dict[str, Callable[[Arch], float]]:
    """Return how to find out what is not counted: latency_ms by a profile, or measured here (eager, one thread, batch 1)."""
    if profile is None:
        return {"latency_ms": lambda arch: measure(arch).median_ms}
    predictor = read_profile(profile).predictor
    return {"latency_ms": lambda arch: predictor(arch).ms}


def limits_of(fit: str | Mapping[str, float]) -> dict[str, float]:
    """Return limits by metric: of 'params=1e6', several with commas between, or a mapping."""
    words = fit.split(",") if isinstance(fit, str) else [f"{name}={value}" for name, value in fit.items()]
    limits = {}
    for one in words:
        word, _, number = one.partition("=")
        name = full_name(word.strip().rstrip("<"))
        try:
            limits[name] = quantity(number, metric(name) if is_metric(name) else metric("peak_bytes"))  # LIMITS are counts or bytes
        except ValueError as error:
            raise UserError(f"--fit {fit}: must be METRIC=NUMBER, for example params=1e6 or size=1MB ({', '.join((*LIMITS, *ALIASES))}, "
                            f"latency_ms); {word.strip()} {error}") from None  # fmt: skip
    return limits


def latency(
    network: Network, *, device: str = "cpu", runtime: str = "eager", batch: int = 1, threads: int = 1, precision: str = "float32",
    repeats: int = 30,
) -> Latency:  # fmt: skip
    """Measure the latency of an architecture on this machine; `median_ms` and `error` of the result say how long and how sure.

    Args:
        runtime: eager, compile, onnxruntime, openvino.
        precision: float32, bfloat16, float16.
        repeats: timed passes; repeated while they are noisy.
    """
    where = {"runtime": runtime, "device": device, "threads": threads, "batch": batch, "precision": precision}
    return measure(arch_of(network)[1], **where, repeats=repeats)  # type: ignore[arg-type]
