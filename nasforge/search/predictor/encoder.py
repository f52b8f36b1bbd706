"""From choices to rows of numbers that models read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from nasforge.arch import canonical, digest
from nasforge.build import opened
from nasforge.choosers import random_chooser, replay
from nasforge.errors import UserError
from nasforge.openings import Opening, Scalar
from nasforge.search.predictor.features import GROUPS, choice_features, graph_features
from nasforge.space import Choices, Space

MOST_ROWS = 20_000  # remembered
MOST_COLUMNS = 1200  # that models read: the commonest
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """The features of one network, as places in the vocabulary and numbers; `name` is equal for networks of one function."""

    name: str
    places: NDArray[np.int64]
    numbers: NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """The features that models read: their places in the vocabulary, ordered by name, their group, their middle and their scale.

    Scaled, two networks of the sample differ by 1 (squared, on average) in each group.
    """

    places: NDArray[np.int64]
    groups: NDArray[np.int64]
    middle: NDArray[np.float64]
    scale: NDArray[np.float64]

    def scaled(self, numbers: Matrix) -> list[Matrix]:
        """The columns of each group, scaled."""
        whole = (numbers - self.middle) * self.scale
        return [whole[:, self.groups == g] for g in np.unique(self.groups)]


class Encoder:
    """Rows of networks by their choices. What it remembers spares work and changes no result."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.rows: dict[tuple[tuple[str, Scalar], ...], Row | None] = {}
        self.vocabulary: dict[str, int] = {}
        self.words: list[str] = []

    def row(self, choices: Mapping[str, Scalar]) -> Row | None:
        """The row of a network; None where no network can be built from the choices on paper."""
        known = tuple(sorted(choices.items()))
        if known not in self.rows:
            if len(self.rows) >= MOST_ROWS:
                for old in list(self.rows)[: MOST_ROWS // 2]:
                    del self.rows[old]
            self.rows[known] = self._encode(choices)
        return self.rows[known]

    def sample(self, count: int, seed: str) -> list[tuple[Choices, Row]]:
        """Random networks that can be built on paper: always the same ones of a seed."""
        rng = Random(seed)
        drawn = (self.space.draw(random_chooser(rng))[1] for _ in range(count))
        return [(choices, row) for choices in drawn if (row := self.row(choices)) is not None]

    def _encode(self, choices: Mapping[str, Scalar]) -> Row | None:
        found: dict[str, float] = {}
        recorded = replay(choices)

        def ask(opening: Opening) -> Scalar:
            value = recorded(opening)
            found.update(choice_features(opening, value))
            return value

        try:
            arch, _ = self.space.draw(ask)
            form = canonical(arch, opened)
        except UserError:
            return None
        except (ValueError, TypeError, KeyError):
            return None
        recipe = arch.get("recipe")
        found.update(graph_features(form))
        places = np.array([self._place(word) for word in found], dtype=np.int64)
        return Row(digest([form, recipe]), places, np.array(list(found.values()), dtype=float))

    def _place(self, word: str) -> int:
        if word not in self.vocabulary:
            self.vocabulary[word] = len(self.words)
            self.words.append(word)
        return self.vocabulary[word]

    def dense(self, rows: Sequence[Row], places: NDArray[np.int64] | None = None) -> Matrix:
        """The numbers of rows, (rows, vocabulary), or in the given places of the vocabulary only."""
        out = np.zeros((len(rows), len(self.words)))
        for i, row in enumerate(rows):
            out[i, row.places] = row.numbers
        return out if places is None else out[:, places]

    def columns(self, rows: Sequence[Row]) -> Columns:
        """What differs among rows."""
        numbers = self.dense(rows)
        spread = numbers.std(axis=0)
        common = (numbers != 0).sum(axis=0)
        some = np.flatnonzero(spread > 1e-9)
        some = np.array(sorted(some, key=lambda i: (-common[i], self.words[i]))[:MOST_COLUMNS], dtype=np.int64)
        places = np.array(sorted(some, key=lambda i: self.words[i]), dtype=np.int64)
        groups = np.array([GROUPS.index(self.words[i].split("/")[0]) for i in places], dtype=np.int64)
        size = np.bincount(groups, minlength=len(GROUPS))[groups]
        return Columns(places, groups, numbers[:, places].mean(axis=0), 1 / (spread[places] * np.sqrt(2 * size)))
