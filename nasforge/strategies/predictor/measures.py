"""What can be said of the network of any space: how large, how deep, how wide, of what kinds of operations, on which ways.

Unlike the features of `features.py` these mean the same in every space, so that what one teaches holds in another (`prior.py`).
Source of several: Kadlecová et al. 2024 (Surprisingly strong performance prediction with neural graph features), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasforge.spaces.arch import WIRES, Node
from nasforge.strategies.predictor.graph import SKIP, START, Graph

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
PASSIVE = {SKIP, "pool", "norm", "act", "dropout", "drop_path", "lrn", "zero"}  # operations without weights worth counting
GRAPHS = ("longest", "longest wide", "shortest", "mean", "direct", "paths", "wide", "narrow", "pools", "skips", "edges")
MEASURES = ("weights", "multiply-adds", "convolutions", "depthwise", "width", *GRAPHS)


def graph_measures(graph: Graph) -> Vector:
    """(GRAPHS,): of one block. Lengths count operations with weights, wide ones those that see more than one pixel.

    `direct`: whether a way passes the input on untouched; `mean`: the length of ways on average.
    """
    words = [text.split() for text in graph.labels]
    weighs = [word[0] not in PASSIVE for word in words]
    wide = [weighs[i] and "kernel=1" not in word and word[0] != "linear" for i, word in enumerate(words)]
    ways, total, most, most_wide, least, bare = ({START: float(i == 0)} for i in range(6))
    bare[START] = 1.0
    for i, reads in enumerate([*graph.reads, tuple(graph.ends)]):
        own, own_wide = (weighs[i], wide[i]) if i < len(words) else (False, False)
        ways[i] = sum(ways[r] for r in reads)
        total[i] = sum(total[r] for r in reads) + own * ways[i]
        most[i] = max((most[r] for r in reads), default=0.0) + own
        most_wide[i] = max((most_wide[r] for r in reads), default=0.0) + own_wide
        least[i] = min((least[r] for r in reads), default=0.0) + own
        bare[i] = float(any(bare[r] for r in reads) and (i == len(words) or words[i][0] == SKIP))
    end = len(words)
    kinds = [word[0] for word in words]
    counts = (sum(wide), sum(weighs) - sum(wide), kinds.count("pool"), kinds.count(SKIP), sum(map(len, graph.reads)) + len(graph.ends))
    lengths = (most[end], most_wide[end], least[end], total[end] / max(ways[end], 1.0), bare[end], math.log2(1 + ways[end]))
    return np.array([*lengths, *counts], dtype=float)


def sizes(form: Mapping[str, Any], chains: Sequence[Sequence[Node]]) -> Vector:
    """(5,): of a canonical architecture, roughly: weights and multiply-adds as powers of two, convolutions, the widest."""
    tape = _Sizes()
    spec = form.get("input")
    width = float(spec[0]) if isinstance(spec, list | tuple) and spec and isinstance(spec[0], int) else 1.0
    area = 1.0
    for chain in chains:
        width, area = tape.chain(chain, width, area)
    return np.array([math.log2(1 + tape.weights), math.log2(1 + tape.macs), tape.convs, tape.depthwise, math.log2(1 + tape.width)])


class _Sizes:
    """Sums over blocks; a map's area is told as a share of the input's."""

    def __init__(self) -> None:
        self.weights = self.macs = self.width = 0.0
        self.convs = self.depthwise = 0

    def chain(self, chain: Any, width: float, area: float) -> tuple[float, float]:
        """Add a chain that reads maps of this width and area; return those that it gives."""
        for node in chain if isinstance(chain, list) else ():
            for name, args in node.items() if isinstance(node, Mapping) else ():
                if isinstance(args, Mapping) and name not in WIRES:
                    width, area = self.block(name, args, width, area)
                elif isinstance(args, list):  # a part of a cell that reads another cell
                    width, area = self.chain(args, width, area)
        return width, area

    def block(self, name: str, args: Mapping[str, Any], width: float, area: float) -> tuple[float, float]:
        if name in ("conv", "linear"):
            return self.product(name, args, width, area)
        if name == "pool" and "kernel" in args:
            return width, area / _number(args.get("stride", args["kernel"])) ** 2
        if name == "residual":
            self.chain(args.get("shortcut"), width, area)
            return self.chain(args["body"], width, area)
        if name == "parallel":
            ends = [self.chain(branch, width, area) for branch in args["branches"]]
            return sum(end[0] for end in ends), min((end[1] for end in ends), default=area)
        if name == "dense":
            for layer in args["layers"]:
                width += self.chain(layer, width, area)[0]
            return width, area
        if "graph" in args:
            wide, small = _number(args.get("out", width)), area / _number(args.get("stride", 1)) ** 2
            for _ in range(int(_number(args.get("depth", 1)))):
                self.chain([inner for edges in args["graph"][0] for _, chain in edges for inner in chain], wide, small)
            return wide, small
        for value in args.values():
            self.chain(value, width, area)
        return _number(args.get("out", width)), area

    def product(self, name: str, args: Mapping[str, Any], width: float, area: float) -> tuple[float, float]:
        """Add a convolution or a matrix."""
        out = _number(args.get("out", width * _number(args.get("expand", 1))))
        groups = args.get("groups", 1)
        side = _number(args.get("kernel", 3)) if name == "conv" else 1.0
        area = area / _number(args.get("stride", 1)) ** 2 if name == "conv" else 0.0
        weights = side**2 * out * (1.0 if groups == "depthwise" else width / _number(groups))
        self.weights += weights
        self.macs += 2**10 * area * weights
        self.convs += 1
        self.depthwise += groups == "depthwise"
        self.width = max(self.width, out)
        return out, area


def _number(value: Any) -> float:
    """A number, the mean of several, 1 for a word."""
    if isinstance(value, list | tuple):
        return sum(map(_number, value)) / max(len(value), 1)
    return float(value) if isinstance(value, int | float) and value > 0 else 1.0
