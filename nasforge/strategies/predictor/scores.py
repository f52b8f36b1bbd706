"""Zero-cost scores as features, where a search asks for them: what proxies say of the untrained network, against random networks.

A score alone is a poor guide; beside the outcomes of what was trained, models learn how far to trust it. Source: White et al. 2021 (How
powerful are performance predictors in neural architecture search?), the predictor OMNI.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nasforge.strategies.predictor.features import Features

FARTHEST = 4.0  # times the usual spread from the middle: a score beyond counts no more


class Usual:
    """The middle and the spread of each score among some networks."""

    def __init__(self, some: Sequence[Mapping[str, float]]) -> None:
        self.names = sorted({name for scores in some for name in scores})
        values = [[v for scores in some if math.isfinite(v := scores.get(name, math.nan))] or [0.0] for name in self.names]
        self.quartiles = [np.quantile(v, [0.25, 0.5, 0.75]) for v in values]

    def features(self, scores: Mapping[str, float]) -> Features:
        """Scores as features; one that is missing is as usual, an infinite one as far from it as any can be."""
        out = {}
        for name, (low, middle, high) in zip(self.names, self.quartiles, strict=True):
            far = (scores.get(name, middle) - middle) / max(high - low, 1e-9 * abs(middle), 1e-300)
            out[f"score/{name}"] = 0.0 if math.isnan(far) else float(np.clip(far, -FARTHEST, FARTHEST))
        return out
