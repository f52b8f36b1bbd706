"""The metric table: what a metric is called, which direction is better, its unit and when its value is known.

Nothing else in the package knows a metric by its name but the task that computes it. A metric of something in particular is written
NAME@WHERE: `latency_ms@phone` is the latency on a device that is elsewhere, `miou@mask` the mean IoU of the head `mask`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from nasforge.errors import UserError, nearest


class Known(StrEnum):
    """When the value of a metric is known."""

    PAPER = "paper"  # counted before anything runs
    MEASURED = "measured"  # on this machine, before training
    PREDICTED = "predicted"  # for a device, by its profile, before training
    ZERO_COST = "zero-cost"  # at initialization, from one batch
    TRAINED = "trained"  # after training, on val


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: in files, on the command line and in records.
        title: in sentences and beside axes.
        maximize: whether larger is better.
        unit: `share` of 1 (printed in per cent), `count` of things, `bytes`, `ms`, or a plain `number`.
        known: when its value is known.
    """

    name: str
    title: str
    maximize: bool
    unit: Literal["share", "count", "bytes", "ms", "number"]
    known: Known

    @property
    def is_cost(self) -> bool:
        """Whether it is a size or a time: less is better, it spans powers of ten, and a factor counts alike everywhere."""
        return self.known in (Known.PAPER, Known.MEASURED, Known.PREDICTED)


def _metrics(known: Known, *rows: tuple[str, str, bool, Literal["share", "count", "bytes", "ms", "number"]]) -> list[Metric]:
    return [Metric(*row, known) for row in rows]


COUNTED = ("accuracy", "top5")  # shares of the samples that are answered rightly: their error by chance is binomial


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *_metrics(
            Known.TRAINED,
            ("accuracy", "accuracy", True, "share"),
            ("top5", "top-5 accuracy", True, "share"),
            ("balanced_accuracy", "balanced accuracy", True, "share"),
            ("macro_f1", "macro F1", True, "share"),
            ("micro_f1", "micro F1", True, "share"),
            ("auc", "area under the ROC curve", True, "share"),
            ("mean_ap", "mean average precision", True, "share"),
            ("miou", "mean IoU", True, "share"),
            ("r2", "R²", True, "number"),
            ("mse", "mean squared error", False, "number"),
            ("mae", "mean absolute error", False, "number"),
            ("perplexity", "perplexity", False, "number"),
            ("loss", "loss", False, "number"),
        ),
        *_metrics(
            Known.PAPER,
            ("params", "parameters", False, "count"),
            ("macs", "multiply-adds", False, "count"),
            ("weight_bytes", "bytes of weights", False, "bytes"),
            ("peak_bytes", "peak bytes of feature maps", False, "bytes"),
            ("activation_bytes", "training bytes a sample", False, "bytes"),
        ),
        *_metrics(Known.MEASURED, ("latency_ms", "latency", False, "ms")),
        *_metrics(
            Known.ZERO_COST,
            ("naswot", "naswot", True, "number"),
            ("synflow", "synflow", True, "number"),
            ("grad_norm", "gradient norm", True, "number"),
            ("jacob_cov", "Jacobian covariance", True, "number"),
            ("zico", "ZiCo", True, "number"),
        ),
    )
}

ALIASES = {"size": "weight_bytes", "latency": "latency_ms"}


def metric(name: str) -> Metric:
    """Return the metric of a name, NAME or NAME@WHERE.

    Raises:
        UserError: no metric is called so.
    """
    base, at, where = name.partition("@")
    if base not in METRICS or (at and not where):
        raise UserError(f"metric: must be a known name, got {name!r}; {nearest_metric(name)}")
    found = METRICS[base]
    if not at:
        return found
    if found.known is Known.MEASURED:
        return replace(found, name=name, title=f"{found.title} on {where}", known=Known.PREDICTED)
    return replace(found, name=name, title=f"{found.title} of {where}")


def full_name(name: str) -> str:
    """Return the name of the metric that people call `size` or `latency`; another name as it is."""
    base, at, where = name.partition("@")
    return ALIASES.get(base, base) + at + where


def nearest_metric(name: str) -> str:
    """Return, in words, the metric that a wrong name is nearest to, and all there are."""
    base = name.partition("@")[0]
    return nearest(base, METRICS if base in ALIASES else (*METRICS, *ALIASES), "nasforge metrics")


def is_metric(name: str) -> bool:
    """Return whether a name is that of a metric."""
    base, at, where = name.partition("@")
    return base in METRICS and bool(where or not at)


def metric_or_value(name: str) -> Metric:
    """Return the metric of a name, or a plain number of that name: a column of a table, a product of metrics."""
    return metric(name) if is_metric(name) else Metric(name, name, True, "number", Known.TRAINED)


def names(*known: Known) -> tuple[str, ...]:
    """Return the names of the metrics whose value is known then."""
    return tuple(m.name for m in METRICS.values() if m.known in known)


def trained(wanted: Iterable[str]) -> list[str]:
    """Return those of the names whose value only training tells."""
    return [name for name in wanted if metric_or_value(name).known is Known.TRAINED]
