"""Numbers as people write them: 300M multiply-adds, 1MB of weights, 5ms, 98%."""

from __future__ import annotations

import math
import re

from nasforge.objectives.metrics import Metric

_QUANTITY = re.compile(r"\s*([-+]?[\d_.]+(?:e[-+]?\d+)?)\s*([a-zµμ%]*)\s*", re.IGNORECASE)
COUNTS = {"k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
TIMES_MS = {"us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}
UNITS: dict[str, dict[str, float]] = {"count": COUNTS, "bytes": BYTES, "ms": TIMES_MS, "share": {"%": 0.01}, "number": {}}


def quantity(text: str, of: Metric) -> float:
    """Return what a number with or without a unit is in the unit of a metric. Raises ValueError, with the units there are."""
    match, units = _QUANTITY.fullmatch(text), UNITS[of.unit]
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        value = math.nan
    factor = units.get(match[2], math.nan) if match and match[2] else 1.0
    if not math.isfinite(value * factor):
        known = f" with or without a unit of {', '.join(units)}" if units else ""
        raise ValueError(f"must be a number{known}, got {text.strip()!r}")
    return float(f"{value * factor:.15g}")  # 98% is .98, not .9800000000000001
