"""Numbers as a reader wants them: 99.2 %, 6,912, 12.3 k, 3 min 20 s."""

from __future__ import annotations

import math

from nasforge.objectives.metrics import metric_or_value

SHARES = ("accuracy", "miou")
WORDS = {
    "accuracy": "accuracy",
    "miou": "mean IoU",
    "loss": "loss",
    "params": "parameters",
    "macs": "multiply-adds",
    "weight_bytes": "bytes of weights",
    "peak_bytes": "peak bytes of feature maps",
    "activation_bytes": "training bytes a sample",
    "latency_ms": "latency (ms)",
}


def whole(number: float) -> str:
    """A whole number with thousands apart."""
    return f"{round(number):,}"


def short(number: float) -> str:
    """A number in three digits with k, M, G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size * 0.9995:
            return f"{_three(number / size)} {unit}"
    return _three(number)


def _three(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 99.95 or number == round(number) else f"{number:.3g}"


def percent(share: float, decimals: int = 1) -> str:
    """A share of 1 in per cent."""
    return f"{100 * share:.{decimals}f} %"


def spread(mean: float | None, std: float | None, seeds: int = 2) -> str:
    """A mean share and its standard deviation in per cent; the deviation only where there are several seeds."""
    if mean is None:
        return "no result"
    if std is None or seeds < 2:
        return percent(mean)
    return f"{100 * mean:.1f} ± {100 * std:.1f} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, without its sign."""
    amount = abs(100 * difference)
    return f"{amount:.1f} {'point' if round(amount, 1) == 1 else 'points'}"


def value(metric: str, number: float | None) -> str:
    """The value of a metric with its unit."""
    if number is None:
        return "–"
    if metric in SHARES:
        return percent(number)
    if metric in ("params", "macs"):
        return whole(number)
    if metric.endswith("_bytes"):
        return f"{short(number)}B" if number >= 1000 else f"{number:.0f} B"
    return f"{number:.3g} ms" if metric == "latency_ms" else f"{number:.4g}"


def tick(metric: str, number: float) -> str:
    """The value of a metric beside an axis."""
    if metric in SHARES:
        return f"{100 * number:.6g} %"
    return short(number) if is_cost(metric) else f"{number:.4g}"


def cap(metric: str) -> float:
    """The largest value that a metric can have."""
    return 1.0 if metric in SHARES else math.inf


def is_cost(metric: str) -> bool:
    """Whether a metric is a size or a time, which spans powers of ten."""
    return metric_or_value(metric).is_cost


def word(metric: str) -> str:
    """What a metric is called in a sentence."""
    return WORDS.get(metric, metric)


def clock(seconds: float) -> str:
    """A duration in its two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def many(count: int, noun: str, plural: str = "") -> str:
    """'1 trial', '3 trials'."""
    return f"{whole(count)} {noun if count == 1 else plural or noun + 's'}"


def times(ratio: float) -> str:
    """How many times larger, in two digits."""
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}"


def brief(name: str) -> str:
    """A name short enough to stand in a plot: of a path the last part, without its ending."""
    last = name.rsplit("/", 1)[-1].removesuffix(".yaml")
    return last if len(last) <= 18 else f"{last[:17]}…"


def tied(text: str) -> str:
    """The text with spaces that no line breaks at before units and around ±."""
    return text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0")
