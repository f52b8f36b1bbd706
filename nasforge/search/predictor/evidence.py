"""What the trials of a search say about its objectives: the numbers that models learn, of stopped and failed trainings too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasforge.search.history import Brief, Seen
from nasforge.search.objectives import COSTS, Losses, Objective
from nasforge.search.objectives import scaled as scaled_metrics

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
LEAST_PAIRS = 4  # finished curves from which the end of a stopped one is told
DOUBT = 0.3  # variance of a standardised target that was told from a part of its curve
SHARPNESS = 0.05  # of the warp: the share of the usual distance to the best at which distances stop to count on a log scale


@dataclass(frozen=True)
class Evidence:
    """Trials with a verdict. points: scaled losses, (trials, objectives); doubt: variance of a standardised target beyond the noise."""

    trials: Sequence[Seen]
    points: Matrix
    doubt: Vector


def known_before(objective: Objective) -> bool:
    """Whether the objective follows from the architecture on paper."""
    return objective.reads <= set(COSTS)


def scaled(losses: Sequence[float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Losses, costs and errors among them as powers of ten."""
    values = {o.metric: -x if o.maximise else x for o, x in zip(objectives, losses, strict=True)}
    return scaled_metrics(values, [Objective(o.metric, o.maximise) for o in objectives])


def teaches(trial: Seen) -> bool:
    """Whether a trial says anything about the objectives."""
    return (trial.kind == "finished" and bool(trial.losses)) or trial.kind == "failed" or (trial.kind == "pruned" and bool(trial.curve))


def evidence(trials: Sequence[Seen], brief: Brief) -> Evidence:
    """What trials that teach something say.

    A stopped training is told from the finished ones at its last epoch, a failed one counts as the worst that finished.
    """
    done = [t for t in trials if t.kind == "finished"]
    kept, points, doubt = [], [], []
    worst = np.max([scaled(t.losses or (), brief.objectives) for t in done], axis=0) if done else None
    for trial in trials:
        found: Losses | None = trial.losses
        if trial.kind == "pruned":
            found = _told(trial, done, brief.objectives)
        if trial.kind == "failed" and worst is not None:
            points.append(worst)
        elif found is not None:
            points.append(np.array(scaled(found, brief.objectives)))
        else:
            continue
        kept.append(trial)
        doubt.append(0.0 if trial.kind == "finished" else DOUBT)
    return Evidence(kept, np.array(points).reshape(len(kept), len(brief.objectives)), np.array(doubt))


def _told(trial: Seen, done: Sequence[Seen], objectives: Sequence[Objective]) -> Losses | None:
    """The losses that a stopped training would have ended with: a line through those that finished, at the same epoch."""
    own = trial.rungs(objectives)[-1]
    others = [(t.rungs(objectives)[len(trial.curve) - 1], t.losses or ()) for t in done if len(t.curve) >= len(trial.curve)]
    if len(others) < LEAST_PAIRS:
        return None
    out = []
    for i, now in enumerate(own):
        early = np.array([a[i] for a, _ in others])
        late = np.array([b[i] for _, b in others])
        slope = float(np.clip(((early - early.mean()) * (late - late.mean())).sum() / max(early.var() * len(early), 1e-12), 0.0, 1.0))
        told = float(late.mean()) + slope * (now - float(early.mean()))
        out.append(now if known_before(objectives[i]) else max(told, float(np.median(late))))  # it was stopped for being bad
    return tuple(out)


# ---------------------------------------------------------------- targets


def warped(points: Vector) -> Vector:
    """Standardised targets, larger is better: the logarithm of the distance to the best, so that a model sees the best most finely."""
    best = points.min()
    usual = max(float(np.median(points) - best), 1e-9)
    return standard(-np.log(SHARPNESS + (points - best) / usual))


def standard(values: Vector) -> Vector:
    """The values with mean 0 and spread 1."""
    return (values - values.mean()) / max(float(values.std()), 1e-9)
