"""Two spaces compared by the error distributions of networks drawn from them at random.

Source: Radosavovic et al. 2019 and 2020 (RegNet), section 3.1: one space is better than another where its distribution of errors lies
below, not where its best network happens to be better.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nasforge.errors import UserError
from nasforge.objectives.metrics import metric_or_value
from nasforge.report.run import Run
from nasforge.search.records import Ledger

LEAST = 5  # networks of a space, below which nothing can be said
QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def compare(one: Run, other: Run) -> dict[str, Any]:
    """Return the error distributions of the random networks of two runs: quantiles, mean error, how surely they differ.

    Errors are of the main trained metric on val: of a share what is missing to 100 %, in points; of a metric that is to be low its
    value; of any other its value with the sign turned. area: the mean of the errors, which is the area to the left of the distribution
    function; p: of the two-sided Kolmogorov-Smirnov test that both are the same. better: the run whose mean is lower where p < .05, else
    None.

    Raises:
        UserError: a run has too few networks, or the data, the recipes or the metrics differ.
    """
    for name in ("data_key", "recipe"):
        if one.manifest.get(name) != other.manifest.get(name):
            what = name.removesuffix("_key")
            raise UserError(f"--against {other.folder}: was trained with another {what}; compare runs that differ in the space alone")
    if one.score != other.score:
        raise UserError(f"--against {other.folder}: is judged by {other.score}, {one.folder} by {one.score}; compare runs of one metric")
    samples = {str(run.folder): _errors(run) for run in (one, other)}
    if len(samples) < 2:
        raise UserError(f"--against {other.folder}: is the same run; give another")
    (first, a), (second, b) = samples.items()
    from scipy.stats import ks_2samp  # a second to import, and most reports need none

    found = ks_2samp(a, b)
    means = {first: float(np.mean(a)), second: float(np.mean(b))}
    return {
        "metric": one.score,
        "runs": {name: {"networks": len(e), "area": means[name], "quantiles": [float(q) for q in np.quantile(e, QUARTILES)]}
                 for name, e in samples.items()},
        "statistic": float(found.statistic),
        "p": float(found.pvalue),
        "better": min(means, key=lambda n: means[n]) if found.pvalue < 0.05 else None,
    }  # fmt: skip


def _errors(run: Run) -> list[float]:
    """Errors of the networks that were drawn at random: the control's, or all of a random search. None may be stopped early."""
    ledger: Ledger | None = run.search if run.manifest["strategy"] == "random" else run.control
    records = [] if ledger is None else [r for r in ledger.records.values() if r.kind in ("finished", "pruned") and not r.baseline]
    if any(r.kind == "pruned" for r in records):
        raise UserError(f"{run.folder}: stopped trainings early, which hides their errors; search with --strategy random --scheduler none")
    metric = metric_or_value(run.score)
    values = [r.metrics[metric.name] for r in records if metric.name in r.metrics]
    if metric.unit == "share":
        errors = [100 * (1 - value) for value in values]
    else:
        errors = [-value if metric.maximize else value for value in values]
    if len(errors) < LEAST:
        raise UserError(
            f"{run.folder}: has {len(errors)} networks drawn at random, needs {LEAST}; search with --strategy random --scheduler none"
        )
    return errors


def told(found: dict[str, Any]) -> str:
    """Return the comparison in words."""
    metric = metric_or_value(found["metric"])
    unit = f"100 % less {metric.title}, in points" if metric.unit == "share" else f"{metric.title}{', negative' * metric.maximize}"
    digits = ".2f" if metric.unit == "share" else ",.4g"
    lines = [f"error ({unit}) on val of networks drawn at random (least, quarter, half, three quarters, most; mean):"]
    for name, run in found["runs"].items():
        quantiles = ", ".join(f"{q:{digits}}" for q in run["quantiles"])
        lines.append(f"  {name}: {quantiles}; {run['area']:{digits}} ({run['networks']} networks)")
    verdict = f"{found['better']} is the better space" if found["better"] else "no difference between the spaces is shown"
    return "\n".join([*lines, f"{verdict} (Kolmogorov-Smirnov: {found['statistic']:.2f}, p = {found['p']:.2g}); lower errors are better"])
