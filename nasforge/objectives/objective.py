"""Objectives and limits: what is wanted of a network, as words (`accuracy,-params`, `latency_ms<=5`) and as data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nasforge.errors import UserError, nearest

TRAINED = ("accuracy", "loss", "miou")  # known only after training, on val
COSTS = ("params", "macs", "weight_bytes", "peak_bytes", "activation_bytes")  # known before
MEASURED = ("latency_ms",)  # measured here
ELSEWHERE = "latency_ms@"  # predicted for a device by its profile, known before training
LEAST_ERROR = 1e-3  # below it an error counts no less: no data set here could tell
PROXIES = ("naswot", "synflow", "grad_norm", "jacob_cov", "zico")  # scores at initialisation: see `nasforge.evaluation.zero_cost_scores`
METRICS = (*TRAINED, *COSTS, *MEASURED, *PROXIES)
Losses = tuple[float, ...]  # smaller is better, one number an objective
_PRODUCT = re.compile(r"(\w+)((?:\*\([\w@.-]+/[-+0-9.eE]+\)\^[-+0-9.eE]+)+)")
_FACTOR = re.compile(r"\*\(([\w@.-]+)/([-+0-9.eE]+)\)\^([-+0-9.eE]+)")
_LIMIT = re.compile(r"^\s*([\w@.-]+)\s*(<=|>=|<|>)\s*([-+0-9.eE]+)\s*$")


def is_metric(name: str) -> bool:
    """Whether a word names a metric; `latency_ms@DEVICE` is the latency that the profile of a device predicts."""
    return name in METRICS or (name.startswith(ELSEWHERE) and len(name) > len(ELSEWHERE))


def is_cost(name: str) -> bool:
    """Whether a metric is a cost: more of it is worse, and a factor counts alike everywhere."""
    return name in (*COSTS, *MEASURED) or name.startswith(ELSEWHERE)


@dataclass(frozen=True)
class Objective:
    """What is wanted: a metric and its direction, or a weighted product such as `accuracy*(latency_ms/5)^-0.07`.

    factors: (metric, target, exponent) of each cost in a product. Source: Tan et al. 2019 (MnasNet), equation 2.
    """

    metric: str
    maximize: bool
    factors: tuple[tuple[str, float, float], ...] = ()

    def of(self, metrics: Mapping[str, float]) -> float:
        """The value for a network of these metrics."""
        if not self.factors:
            return metrics[self.metric]
        base = metrics[self.metric.partition("*")[0]]
        return base * math.prod((metrics[name] / target) ** power for name, target, power in self.factors)

    @property
    def reads(self) -> set[str]:
        """The metrics that it is made of."""
        return {self.metric.partition("*")[0], *(name for name, _, _ in self.factors)}

    def __str__(self) -> str:
        return self.metric if self.maximize else f"-{self.metric}"


@dataclass(frozen=True)
class Limit:
    """A bound that a network must keep: `excess` is 0 or below where it does, relative to the bound."""

    metric: str
    upper: bool
    bound: float

    def excess(self, value: float) -> float:
        gap = value - self.bound if self.upper else self.bound - value
        return gap / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        return f"{self.metric}{'<=' if self.upper else '>='}{self.bound:.15g}"


def parse_objectives(text: str) -> list[Objective]:
    """The objectives of `accuracy,-params`: the larger the better, with `-` the smaller the better; products as in `Objective`."""
    out = []
    for word in text.split(","):
        name, maximize = word.strip().lstrip("+-").replace(" ", ""), not word.strip().startswith("-")
        product = _PRODUCT.fullmatch(name)
        factors = tuple((n, _finite(t, text), _finite(e, text)) for n, t, e in _FACTOR.findall(product[2])) if product else ()
        out.append(Objective(name, maximize, factors))
        for metric in (*([product[1]] if product else [name]), *(n for n, _, _ in factors)):
            if not is_metric(metric):
                raise UserError(
                    f"--objective {text}: {metric!r} is no metric; {nearest(metric, METRICS)}; "
                    "a product is written accuracy*(latency_ms/5)^-0.07"
                )
        if any(target <= 0 for _, target, _ in factors):
            raise UserError(f"--objective {text}: the target of a cost must be above 0")
    if len({o.metric for o in out}) != len(out):
        raise UserError(f"--objective {text}: each metric may stand once")
    return out


def _finite(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"--objective {whole}: {text!r} must be a number")
    return value


def parse_limit(text: str) -> Limit:
    """The limit of `params<=20000`."""
    match = _LIMIT.match(text)
    try:
        bound = float(match[3]) if match else math.nan
    except ValueError:
        bound = math.nan
    if not match or not math.isfinite(bound):
        raise UserError(f"--constraint {text!r}: must be METRIC<=NUMBER or METRIC>=NUMBER, for example params<=20000")
    if not is_metric(match[1]):
        raise UserError(f"--constraint {text!r}: {match[1]!r} is no metric; {nearest(match[1], METRICS)}")
    return Limit(match[1], "<" in match[2], bound)


def limits_of(constraints: Mapping[str, object] | None) -> list[Limit]:
    """The limits of a space file: `constraints: {params: 2.0e6}` is an upper bound, `accuracy` a lower one."""
    out = []
    for name, bound in (constraints or {}).items():
        if not is_metric(name):
            raise UserError(f"constraints.{name}: no metric has that name; {nearest(name, METRICS)}")
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            raise UserError(f"constraints.{name}: must be a number, got {bound!r}")
        out.append(Limit(name, name not in ("accuracy", "miou"), float(bound)))
    return out


# ---------------------------------------------------------------- several objectives


def losses(metrics: Mapping[str, float], objectives: Sequence[Objective]) -> Losses:
    """The objective values with the sign turned so that smaller is better."""
    return tuple(-o.of(metrics) if o.maximize else o.of(metrics) for o in objectives)


def with_limits(objectives: Sequence[Objective], limits: Sequence[Limit]) -> list[Objective]:
    """The objectives, and one for each limit on what only training tells: without it early stopping could not see the limit."""
    have = {name for o in objectives for name in o.reads}
    return [*objectives, *(Objective(x.metric, not x.upper) for x in limits if x.metric in TRAINED and x.metric not in have)]


def epoch_losses(row: Mapping[str, float], metrics: Mapping[str, float], objectives: Sequence[Objective]) -> Losses:
    """The objectives as known after an epoch: trained ones from its row (val), costs from the metrics."""
    known = {**metrics, **row, "loss": row.get("val_loss", row.get("loss", 0.0))}
    return losses(known, objectives)


def scaled(metrics: Mapping[str, float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Losses as powers of ten: halving a cost, or the error of an accuracy, counts alike everywhere."""
    out = []
    for objective, loss in zip(objectives, losses(metrics, objectives), strict=True):
        if objective.metric in ("accuracy", "miou") and objective.maximize:
            out.append(math.log10(max(1 + loss, LEAST_ERROR)))
        elif is_cost(objective.metric) and not objective.maximize:
            out.append(math.log10(max(loss, 1e-9)))
        else:
            out.append(loss)
    return tuple(out)


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether losses `a` are nowhere worse than `b` and somewhere better."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """The indices of points (losses) that no other dominates; of equal points the first."""
    out = []
    for i, p in enumerate(points):
        if not any(dominates(q, p) or (j < i and tuple(q) == tuple(p)) for j, q in enumerate(points)):
            out.append(i)
    return out


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """The volume of what the points (losses) dominate below the reference. Source: Zitzler & Thiele 1999, by slicing."""
    inside = [tuple(p) for p in points if all(x < r for x, r in zip(p, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(p[0] for p in inside)
    edges = [*sorted({p[-1] for p in inside}), reference[-1]]
    return sum((high - low) * hypervolume([p[:-1] for p in inside if p[-1] <= low], reference[:-1]) for low, high in pairwise(edges))
