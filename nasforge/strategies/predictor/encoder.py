"""From choices to rows of numbers that models read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasforge.errors import UserError
from nasforge.networks.build import opened
from nasforge.spaces.arch import Arch, Node, canonical, digest
from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Choices, Space
from nasforge.strategies.base import Scores
from nasforge.strategies.predictor.features import GROUPS, Features, chains, choice_features, part
from nasforge.strategies.predictor.graph import graph_of
from nasforge.strategies.predictor.measures import graph_measures, sizes
from nasforge.strategies.predictor.scores import Usual

MOST_ROWS = 4000  # remembered
MOST_BLOCKS = 4000
MOST_SAMPLES = 8
REFERENCE = 96  # random networks that tell, with the trained ones, what is usual in the space
MOST_COLUMNS = 1000  # that models read: the commonest
Matrix = NDArray[np.float64]
Places = NDArray[np.integer]
Numbers = NDArray[np.floating]


@dataclass(frozen=True)
class Row:
    """The features of one network, as places in the vocabulary and numbers; `name` is equal for networks of one function.

    measures: what means the same in every space (`nasforge.strategies.predictor.measures`).
    """

    name: str
    places: Places
    numbers: Numbers
    measures: Numbers


@dataclass(frozen=True)
class Columns:
    """The features that models read: their places in the vocabulary, ordered by name, their group, their middle and their scale.

    Scaled, two networks of the sample differ by 1 (squared, on average) in each group.
    """

    places: Places
    groups: Places
    middle: Numbers
    scale: Numbers

    def scaled(self, numbers: Matrix) -> list[Matrix]:
        """Return the columns of each group, scaled."""
        whole = (numbers - self.middle) * self.scale
        return [whole[:, self.groups == g] for g in np.unique(self.groups)]


@dataclass(frozen=True)
class Coded:
    """The features of a block as places and numbers; the digest of the block; its kind."""

    digest: str
    kind: str
    places: Places
    numbers: Numbers
    most_places: Places
    most_numbers: Numbers
    measures: Numbers


class Encoder:
    """Rows of networks by their choices. What it remembers spares work and changes no result."""

    def __init__(self, space: Space, scores: Scores | None = None, seed: int = 0) -> None:
        self.space, self.scores = space, scores
        self.reference = f"{seed}/reference"
        self.rows: dict[bytes, Row | None] = {}  # by a digest of the choices, which is a tenth as large
        self.blocks: dict[str, Coded] = {}
        self.samples: dict[str, list[tuple[Choices, Row]]] = {}
        self.vocabulary: dict[str, int] = {}
        self.words: list[str] = []

    def row(self, choices: Mapping[str, Scalar]) -> Row | None:
        """Return the row of a network; None where no network can be written down for the choices."""
        known = blake2b(repr(sorted(choices.items())).encode(), digest_size=16).digest()
        if known not in self.rows:
            _shorten(self.rows, MOST_ROWS)
            row = self._encode(choices)
            if row is not None and self.scores is not None:
                row = self._more(row, self.usual.features(self.scores(choices)))
            self.rows[known] = row
        return self.rows[known]

    def sample(self, count: int, seed: str) -> list[tuple[Choices, Row]]:
        """Random networks: always the same ones of a seed."""
        if seed not in self.samples:
            _shorten(self.samples, MOST_SAMPLES)
            drawn = self._drawn(count, seed)
            self.samples[seed] = [(choices, row) for choices in drawn if (row := self.row(choices)) is not None]
        return self.samples[seed]

    def _drawn(self, count: int, seed: str) -> list[Choices]:
        rng = Random(seed)
        return [self.space.draw(random_chooser(rng))[1] for _ in range(count)]

    def dense(self, rows: Sequence[Row], places: Places) -> Matrix:
        """(rows, places): the numbers of rows in some places of the vocabulary."""
        column = np.full(len(self.words), -1)
        column[places] = np.arange(len(places))
        out = np.zeros((len(rows), len(places)))
        for i, row in enumerate(rows):
            where = column[row.places]
            read = where >= 0
            out[i, where[read]] = row.numbers[read]
        return out

    def columns(self, rows: Sequence[Row]) -> Columns:
        """Return what differs among rows."""
        common = np.bincount(np.concatenate([row.places for row in rows]), minlength=len(self.words))
        some = sorted(np.flatnonzero(common), key=lambda i: (-common[i], self.words[i]))[: 2 * MOST_COLUMNS]
        places = np.array(sorted(some, key=lambda i: self.words[i]), dtype=np.int64)
        numbers = self.dense(rows, places)
        differ = np.flatnonzero(numbers.std(axis=0) > 1e-9)[:MOST_COLUMNS]
        places, numbers = places[differ], numbers[:, differ]
        groups = np.array([GROUPS.index(self.words[i].split("/")[0]) for i in places], dtype=np.int64)
        size = np.bincount(groups, minlength=len(GROUPS))[groups]
        return Columns(places, groups, numbers.mean(axis=0), 1 / (numbers.std(axis=0) * np.sqrt(2 * size)))

    @property
    def usual_rows(self) -> list[Row]:
        """Rows of random networks."""
        return [row for _, row in self.sample(REFERENCE, self.reference)]

    @property
    def of_images(self) -> bool:
        """Whether the networks read [channels, height, width]."""
        spec = self.space.data.get("input")
        return isinstance(spec, list | tuple) and len(spec) == 3 and all(isinstance(n, int) for n in spec)

    # ------------------------------------------------------------ zero-cost scores

    @cached_property
    def usual(self) -> Usual:
        """What is usual of scores: in random networks."""
        assert self.scores is not None
        return Usual([self.scores(c) for c in self._drawn(REFERENCE, self.reference) if self._encode(c) is not None])

    def _more(self, row: Row, features: Features) -> Row:
        """The row with features that it does not have."""
        places = np.concatenate([row.places, [self._place(word) for word in features]]).astype(np.int32)
        numbers = np.concatenate([row.numbers, list(features.values())]).astype(np.float32)
        return Row(row.name, places, numbers, row.measures)

    # ------------------------------------------------------------ one network

    def _encode(self, choices: Mapping[str, Scalar]) -> Row | None:
        found: Features = {}
        recorded = replay(choices)

        def ask(domain: Domain) -> Scalar:
            value = recorded(domain)
            found.update(choice_features(domain, value))
            return value

        try:
            arch, _ = self.space.draw(ask)
            form = canonical(arch, opened)
        except (UserError, ValueError, TypeError, KeyError):  # it will be asked, and told to be infeasible with the reason
            return None
        return self._row(found, form, arch)

    def _row(self, found: Features, form: Mapping[str, Any], arch: Arch) -> Row:
        nodes = list(chains(form))
        coded = [[self._block(node) for node in chain] for chain in nodes]
        blocks = [block for chain in coded for block in chain]
        pairs = [self._place(f"near/{a.kind}>{b.kind}") for a, b in pairwise(blocks)]
        places = np.concatenate([[self._place(word) for word in found], pairs, *(b.places for b in blocks)]).astype(np.int64)
        numbers = np.concatenate([list(found.values()), np.ones(len(pairs)), *(b.numbers for b in blocks)])
        whole = np.bincount(places, numbers, minlength=len(self.words))
        for block in blocks:
            whole[block.most_places] = np.maximum(whole[block.most_places], block.most_numbers)
        some = np.flatnonzero(whole)
        measures = np.concatenate([sizes(form, nodes), np.sum([block.measures for block in blocks], axis=0)])
        return Row(_name(form, coded, arch), some.astype(np.int32), whole[some].astype(np.float32), measures)

    def _block(self, node: Node) -> Coded:
        text = repr(node)
        if text not in self.blocks:
            _shorten(self.blocks, MOST_BLOCKS)
            own = part(node)
            codes = [(np.array([self._place(w) for w in f], dtype=np.int64), np.array(list(f.values()))) for f in (own.sums, own.most)]
            self.blocks[text] = Coded(digest(node), own.kind, *codes[0], *codes[1], graph_measures(graph_of([node])))
        return self.blocks[text]

    def _place(self, word: str) -> int:
        if word not in self.vocabulary:
            self.vocabulary[word] = len(self.words)
            self.words.append(word)
        return self.vocabulary[word]


def _name(form: Mapping[str, Any], coded: Sequence[Sequence[Coded]], arch: Arch) -> str:
    """The name of the function that a canonical architecture computes, trained as its recipe says."""
    rest = {k: v for k, v in form.items() if k not in ("steps", "heads")}
    wires = [(step["from"], step["as"]) for step in form["steps"]] + [(end[0], end[2]) for end in form["heads"]]
    whole = repr((rest, wires, [[b.digest for b in chain] for chain in coded], arch.get("recipe")))
    return blake2b(whole.encode(), digest_size=16).hexdigest()


def _shorten(memory: dict[Any, Any], most: int) -> None:
    """Forget the older half of a full memory."""
    if len(memory) >= most:
        for old in list(memory)[: most // 2]:
            del memory[old]
