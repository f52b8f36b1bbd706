"""Numbers as a reader wants them: 99.2 %, 6,912, 12.3 k, 0.0312, 3 min 20 s. The unit and title of a metric come from the metric table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nasforge.objectives.metrics import metric_or_value

# ---------------------------------------------------------------- values of a metric


def word(metric: str) -> str:
    """Return what a metric is called in a sentence."""
    return metric_or_value(metric).title


def lower(metric: str) -> str:
    """Return ', lower is better' where that is so, else nothing."""
    return "" if metric_or_value(metric).maximize else ", lower is better"


def value(metric: str, number: float | None) -> str:
    """Return the value of a metric with its unit."""
    if number is None:
        return "–"
    match metric_or_value(metric).unit:
        case "share":
            return percent(number)
        case "count":
            return whole(number)
        case "bytes":
            return f"{short(number)}B" if number >= 1000 else f"{number:.0f} B"
        case "ms":
            return f"{_plain(number)} ms"
        case "number":
            return _plain(number)


def spread(metric: str, mean: float | None, std: float | None, seeds: int = 2) -> str:
    """Return a mean and its standard deviation; the deviation only where there are several seeds."""
    if mean is None:
        return "no result"
    if std is None or seeds < 2:
        return value(metric, mean)
    if metric_or_value(metric).unit == "share":
        return f"{100 * mean:.1f} ± {100 * std:.1f} %"
    if max(abs(mean), std) >= 1e6:
        return f"{mean:.3g} ± {std:.1g}"
    decimals = max(_decimals(max(abs(mean), std), 3), _decimals(std, 1))
    return f"{_rounded(mean, decimals)} ± {_rounded(std, decimals)}"


def on_test(row: Mapping[str, Any]) -> str:
    """Return the test score of a network of the finals; a dash where the data have no test part."""
    if row["test_mean"] is None and row["val"] is not None:
        return "–"
    return spread(row["metric"], row["test_mean"], row["test_std"], len(row["test_seeds"]))


def score(metric: str, mean: float | None, std: float | None = None, seeds: int = 1) -> str:
    """Return a mean with the name of its metric: '98.3 ± 0.2 % accuracy', 'mean squared error 2,910 ± 80'."""
    said = spread(metric, mean, std, seeds)
    return f"{said} {word(metric)}" if metric_or_value(metric).unit == "share" else f"{word(metric)} {said}"


def difference(metric: str, a: float, b: float = 0.0) -> str:
    """Return how far two values are apart, without a sign: of shares in percentage points."""
    if metric_or_value(metric).unit != "share":
        return value(metric, abs(a - b))
    amount = abs(round(100 * a, 1) - round(100 * b, 1))  # of the numbers as they are printed
    return f"{amount:.1f} {'point' if round(amount, 1) == 1 else 'points'}"


def tick(metric: str, number: float) -> str:
    """Return the value of a metric for the ticks of an axis."""
    match metric_or_value(metric).unit:
        case "share":
            return percent_tick(number)
        case "count":
            return short(number)
        case "bytes":
            return f"{short(number)}B" if number >= 1000 else f"{number:.0f} B"
        case "ms":
            return f"{number:,.6g} ms"
        case "number":
            return f"{number:,.6g}" if abs(number) < 1e6 else f"{number:.3g}"


def cap(metric: str) -> float:
    """Return the largest value that a metric can have."""
    return 1.0 if metric_or_value(metric).unit == "share" else math.inf


# ---------------------------------------------------------------- other numbers


def whole(number: float) -> str:
    """Return a whole number with a comma between thousands."""
    return f"{round(number):,}"


def short(number: float) -> str:
    """Return a count in three digits with k, M, G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size * 0.9995:
            return f"{_three(number / size)} {unit}"
    return _three(number)


def _three(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 99.95 or number == round(number) else f"{number:.3g}"


def _plain(number: float) -> str:
    """A number in three significant digits; a very large or small one as a power of ten."""
    if not 1e-4 <= abs(number) < 999_500:
        return f"{number:.3g}"
    return _rounded(number, _decimals(number, 3))


def _decimals(number: float, digits: int) -> int:
    """The decimals that show so many significant digits; fewer than none round to tens, hundreds and so on."""
    return digits - 1 - math.floor(math.log10(abs(number))) if number else -99


def _rounded(number: float, decimals: int) -> str:
    return f"{round(number, decimals):,.{max(0, decimals)}f}"


def percent(share: float, decimals: int = 1) -> str:
    """Return a share of 1 in per cent."""
    return f"{100 * share:.{decimals}f} %"


def percent_tick(share: float) -> str:
    """Return a share of 1 for the ticks of an axis."""
    return f"{100 * share:.6g} %"


def clock(seconds: float) -> str:
    """Return a duration in its two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def many(count: int, noun: str, plural: str = "") -> str:
    """Return '1 trial', '3 trials'."""
    return f"{whole(count)} {noun if count == 1 else plural or noun + 's'}"


def times(ratio: float) -> str:
    """Return how many times larger, in two digits."""
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}"


def brief(name: str) -> str:
    """Return a name short enough for a plot: of a path the last part, without its ending."""
    last = name.rsplit("/", 1)[-1].removesuffix(".yaml")
    return last if len(last) <= 18 else f"{last[:17]}…"


def tied(text: str) -> str:
    """Return the text with spaces that no line breaks at before units and around ±."""
    return text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0")
