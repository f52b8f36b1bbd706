"""A small model of what networks score: ridge regression on which values were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nasforge.spaces.domains import Scalar
from nasforge.strategies.moves import Catalog
from nasforge.strategies.slots import slot_of

STRENGTH = 1.0  # of the regularisation: one trial counts as much as the prior that a value makes no difference

Array = NDArray[np.float64]


class Surrogate:
    """Predicts rows of targets of choices. An effect for every value of every domain; those never seen have none."""

    def __init__(self, catalog: Catalog, choices: Sequence[Mapping[str, Scalar]], targets: Array) -> None:
        self.catalog = catalog
        self._columns: dict[tuple[str, int], int] = {}
        for row in choices:
            for value in self._values(row):
                self._columns.setdefault(value, len(self._columns))
        features = self._features(choices)
        self._mean, self._center = targets.mean(axis=0), features.mean(axis=0)
        x, y = features - self._center, targets - self._mean
        gram = x @ x.T + STRENGTH * np.eye(len(x))  # as many unknowns as trials, not as values
        self._effects = x.T @ np.linalg.solve(gram, y)

    def predict(self, choices: Sequence[Mapping[str, Scalar]]) -> Array:
        """A row of targets for each."""
        return self._mean + (self._features(choices) - self._center) @ self._effects

    def _values(self, choices: Mapping[str, Scalar]) -> list[tuple[str, int]]:
        return [(o.name, slot_of(o, choices[o.name])) for o in self.catalog.domains(choices)]

    def _features(self, choices: Sequence[Mapping[str, Scalar]]) -> Array:
        out = np.zeros((len(choices), len(self._columns)))
        for row, chosen in zip(out, choices, strict=True):
            row[[self._columns[v] for v in self._values(chosen) if v in self._columns]] = 1
        return out
