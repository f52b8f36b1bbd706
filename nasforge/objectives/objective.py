"""Objectives and limits: what is wanted of a network, as words (`accuracy,-params`, `latency_ms<=5`) and as data."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nasforge.errors import UserError
from nasforge.objectives.metrics import Known, Metric, full_name, is_metric, metric, metric_or_value, nearest_metric
from nasforge.objectives.quantity import quantity

LIFTED = "none"  # as a limit: without those of the space
LEAST_ERROR = 1e-3  # below it an error counts no less: no data set here could tell
Losses = tuple[float, ...]  # smaller is better, one number an objective
_PRODUCT = re.compile(r"([\w@.-]+?)((?:\*\([\w@.-]+/[-+0-9.eE]+\)\^[-+0-9.eE]+)+)")
_FACTOR = re.compile(r"\*\(([\w@.-]+)/([-+0-9.eE]+)\)\^([-+0-9.eE]+)")
_LIMIT = re.compile(r"^\s*([\w@.-]+)\s*(<=|>=|<|>)\s*([^\s=].*?)\s*$")


@dataclass(frozen=True)
class Objective:
    """What is wanted: a metric and its direction, or a weighted product such as `accuracy*(latency_ms/5)^-0.07`.

    factors: (metric, target, exponent) of each cost in a product. Source: Tan et al. 2019 (MnasNet), equation 2.
    """

    metric: str
    maximize: bool
    factors: tuple[tuple[str, float, float], ...] = ()

    def value(self, metrics: Mapping[str, float]) -> float:
        """Return the value for a network of these metrics; NaN where the product is larger than any number, or none."""
        if not self.factors:
            return metrics[self.metric]
        try:
            found = metrics[self.base] * math.prod((metrics[name] / target) ** power for name, target, power in self.factors)
        except ArithmeticError:
            return math.nan
        return found if isinstance(found, int | float) and math.isfinite(found) else math.nan  # a root of a negative number is complex

    @property
    def base(self) -> str:
        """The metric itself, or the one that a product begins with."""
        return self.metric.partition("*")[0]

    @property
    def reads(self) -> set[str]:
        """The metrics that it is made of."""
        return {self.base, *(name for name, _, _ in self.factors)}

    @property
    def described(self) -> Metric:
        """The row of the metric table; of a product a plain number."""
        return metric_or_value(self.metric)

    def __str__(self) -> str:
        return self.metric if self.maximize else f"-{self.metric}"


@dataclass(frozen=True)
class Limit:
    """A bound that a network must keep: `excess` is 0 or below where it does, relative to the bound.

    strict: whether the bound itself breaks it, as in `params<20000`.
    """

    metric: str
    upper: bool
    bound: float
    strict: bool = False

    def excess(self, value: float) -> float:
        gap = value - self.bound if self.upper else self.bound - value
        return sys.float_info.epsilon if self.strict and gap == 0 else gap / (abs(self.bound) or 1.0)

    def __str__(self) -> str:
        return f"{self.metric}{'<' if self.upper else '>'}{'' if self.strict else '='}{self.bound:.15g}"


def parse_objectives(text: str) -> list[Objective]:
    """Return the objectives of `accuracy,-params`: the larger the better, with `-` the smaller the better; products as in `Objective`.

    Raises:
        UserError: a word is no metric, a number is none, or a metric stands twice.
    """
    out = []
    for word in text.split(","):
        name, maximize = full_name(word.strip().lstrip("+-").replace(" ", "")), not word.strip().startswith("-")
        product = _PRODUCT.fullmatch(name)
        factors = tuple((n, _finite(t, text), _finite(e, text)) for n, t, e in _FACTOR.findall(product[2])) if product else ()
        out.append(Objective(name, maximize, factors))
        for one in (*([product[1]] if product else [name]), *(n for n, _, _ in factors)):
            if not is_metric(one):
                raise UserError(
                    f"--objective {text}: {one!r} is no metric; {nearest_metric(one)}; a product is written accuracy*(latency_ms/5)^-0.07"
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


def parse_limit(text: str, option: str = "--constraint") -> Limit:
    """Return the limit of `params<=20000`, `params<20k`, `size<=1MB` or `latency<=5ms`.

    Raises UserError, which names the option, where the text is none.
    """
    match = _LIMIT.match(text)
    if not match:
        raise UserError(f"{option} {text!r}: must be METRIC<=NUMBER or METRIC>=NUMBER, for example params<=20000 or size<=1MB")
    name = full_name(match[1])
    if not is_metric(name):
        raise UserError(f"{option} {text!r}: {match[1]!r} is no metric; {nearest_metric(match[1])}")
    try:
        bound = quantity(match[3], metric(name))
    except ValueError as error:
        raise UserError(f"{option} {text!r}: the bound {error}") from None
    return _possible(Limit(name, "<" in match[2], bound, "=" not in match[2]), f"{option} {text!r}")


def lifted(words: Iterable[str]) -> tuple[bool, list[str]]:
    """Return whether the limits of the space are lifted, as by the word `none` among those asked for, and the other words."""
    given = list(words)
    return LIFTED in given, [word for word in given if word != LIFTED]


def together(limits: Iterable[Limit]) -> list[Limit]:
    """Return the limits that hold: of each metric the last from above and from below. Raise UserError where no value is within both."""
    out = {(limit.metric, limit.upper): limit for limit in limits}
    for limit in out.values():
        above = out.get((limit.metric, True))
        if above and not limit.upper and (limit.bound > above.bound or (limit.bound == above.bound and (limit.strict or above.strict))):
            raise UserError(
                f"constraints: no value keeps both {above} and {limit}; change one of them with --constraint, "
                f"or leave it out (--constraint none lifts those of a space)"
            )
    return list(out.values())


def _possible(limit: Limit, where: str) -> Limit:
    """The limit. Raise UserError where no network can keep it: a share is at most 1."""
    if metric(limit.metric).unit == "share" and limit.bound > 1 and not limit.upper:
        title = metric(limit.metric).title
        raise UserError(f"{where}: {title} is a share of at most 1, got {limit.bound:g}; for per cent write {limit.bound:g}%")
    return limit


def limits_of(constraints: Mapping[str, object] | None) -> list[Limit]:
    """Return the limits of a space file: `constraints: {params: 2.0e6}` is an upper bound, of what is to be large a lower one.

    A bound may have a unit, as in `{size: 1MB}`, or say which it is, as in `{params: ">=20k"}`.
    """
    out = []
    for word, bound in (constraints or {}).items():
        name = full_name(word)
        if not is_metric(name):
            raise UserError(f"constraints.{word}: no metric has that name; {nearest_metric(word)}")
        if isinstance(bound, bool) or not isinstance(bound, int | float | str):
            raise UserError(f"constraints.{word}: must be a number, got {bound!r}")
        if isinstance(bound, str) and bound.strip()[:1] in ("<", ">"):
            out.append(parse_limit(f"{word}{bound.strip()}", "constraints"))
            continue
        try:
            number = quantity(bound, metric(name)) if isinstance(bound, str) else float(bound)
        except ValueError as error:
            raise UserError(f"constraints.{word}: {error}") from None
        out.append(_possible(Limit(name, not metric(name).maximize, number), f"constraints.{word}"))
    return out


# ---------------------------------------------------------------- values


def losses(metrics: Mapping[str, float], objectives: Sequence[Objective]) -> Losses:
    """Return the objective values with the sign turned so that smaller is better."""
    return tuple(-o.value(metrics) if o.maximize else o.value(metrics) for o in objectives)


def with_limits(objectives: Sequence[Objective], limits: Sequence[Limit]) -> list[Objective]:
    """Return the objectives, and one for each limit on what only training tells: without it early stopping could not see the limit."""
    have = {name for o in objectives for name in o.reads}
    unseen = [x for x in limits if metric_or_value(x.metric).known is Known.TRAINED and x.metric not in have]
    return [*objectives, *(Objective(x.metric, not x.upper) for x in unseen)]


def validation(row: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics on val that a row of a learning curve holds.

    In a row `loss` is that of the training part and `val_loss` that of val; `epoch`, `lr` and `seconds` are no metrics.
    """
    found = {name: value for name, value in row.items() if _is_trained(name)}
    return {**found, "loss": row["val_loss"]} if "val_loss" in row else found


def told(row: Mapping[str, float]) -> dict[str, float]:
    """Return all that a reported row tells of a network: what was measured before its training, and the metrics on val."""
    measured = {name: value for name, value in row.items() if is_metric(name) and metric(name).known is Known.MEASURED}
    return {**measured, **validation(row)}


def _is_trained(name: str) -> bool:
    return is_metric(name) and metric(name).known is Known.TRAINED


def epoch_losses(row: Mapping[str, float], metrics: Mapping[str, float], objectives: Sequence[Objective]) -> Losses:
    """Return the objectives as known after an epoch: trained and measured ones from its row, costs from the metrics."""
    return losses({**metrics, **told(row)}, objectives)


def scaled(metrics: Mapping[str, float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return losses as powers of ten: halving a cost, or the error of a share, counts alike everywhere."""
    out = []
    for objective, loss in zip(objectives, losses(metrics, objectives), strict=True):
        found = objective.described
        if found.unit == "share" and found.maximize and objective.maximize:
            out.append(math.log10(max(1 + loss, LEAST_ERROR)))
        elif found.is_cost and not objective.maximize:
            out.append(math.log10(max(loss, 1e-9)))
        else:
            out.append(loss)
    return tuple(out)
