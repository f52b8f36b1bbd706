"""What other spaces taught: how accurate a network may be expected before any of this space was trained.

Each hint is a line through measures that every space has (`measures.py`), these against random networks of the space. `hints.json` has
the slopes, what taught them and the command that fitted them (`benchmarks/make_hints.py`). Models begin with the mean of the hints and
learn how far to trust each, so that hints that mislead cost a few trials.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from nasforge.strategies.predictor.encoder import Encoder, Row
from nasforge.strategies.predictor.measures import MEASURES, Matrix, Vector

FARTHEST = 4.0  # times the usual spread from the middle: a measure beyond counts no more
FILE = Path(__file__).with_name("hints.json")


@cache
def slopes() -> Mapping[str, Mapping[str, float]]:
    """Return what the package ships: the slopes of measures, by what taught them."""
    found: Mapping[str, Mapping[str, float]] = json.loads(FILE.read_text(encoding="utf-8"))["slopes"]
    return found


class Hints:
    """Hints of networks of a space: each has mean 0 and spread 1 among random ones.

    known: whether there are any: for networks that read images and differ in multiply-adds.
    """

    def __init__(self, encoder: Encoder) -> None:
        usual = np.array([row.measures for row in encoder.usual_rows]).reshape(-1, len(MEASURES))
        differs = usual.std(axis=0) > 1e-6
        self.middle, self.spread = usual.mean(axis=0), np.where(differs, usual.std(axis=0), 1.0)
        self.slopes = np.array([[line.get(name, 0.0) for line in slopes().values()] for name in MEASURES]) * differs[:, None]
        self.known = encoder.of_images and bool(differs[MEASURES.index("multiply-adds")])
        some = self._lines(usual)
        self.low, self.scale = some.mean(axis=0), np.maximum(some.std(axis=0), 1e-6)

    def of(self, rows: Sequence[Row]) -> Matrix:
        """(rows, hints): larger is better."""
        out: Matrix = (self._lines(np.array([row.measures for row in rows]).reshape(-1, len(MEASURES))) - self.low) / self.scale
        return out

    def voice(self, rows: Sequence[Row], turn: int) -> Vector:
        """(rows,): the mean of the hints, then each in its turn."""
        hints = self.of(rows)
        place = turn % (1 + hints.shape[1])
        out: Vector = hints[:, place - 1] if place else hints.mean(axis=1)
        return out

    def sizes(self, rows: Sequence[Row]) -> Matrix:
        """(rows, 2): weights and multiply-adds against those of random networks."""
        both = [MEASURES.index(name) for name in ("weights", "multiply-adds")]
        far: Matrix = (np.array([row.measures for row in rows]) - self.middle) / self.spread
        return far[:, both]

    def _lines(self, measures: Matrix) -> Matrix:
        out: Matrix = np.clip((measures - self.middle) / self.spread, -FARTHEST, FARTHEST) @ self.slopes
        return out
