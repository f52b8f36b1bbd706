"""Make the hints of the default strategy: which measures of a network go with accuracy, as other spaces taught it.

    python benchmarks/make_hints.py --once-for-all ofa_mbv3_w10_imagenet.csv.gz     # fits nasforge/strategies/predictor/hints.json
    python benchmarks/make_hints.py --once-for-all FILE --train 36 --mnist FOLDER   # trains first where there are fewer: 10 minutes

Three hints: one of short trainings of random cells on the digits and MNIST, one of chains of stages on the digits, both of spaces that are
here alone, and one of the ImageNet accuracies of once-for-all networks that DyNAS-T published. No table on which the strategy is
reported is read. The trainings stand in benchmarks/hints_trainings.jsonl, row by row; a second call goes on. Each hint is a ridge
regression of the normal score of the loss, or accuracy, on the measures against those of 96 random networks of the space; each task
counts alike. Printed: the rank correlation of each hint with each task.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from scipy.stats import norm, rankdata, spearmanr

from nasforge.commands.common import table
from nasforge.data import Source
from nasforge.evaluation import prepared
from nasforge.evaluation.base import Context, Decision, Evaluator, Job
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.domains import Domain, Scalar
from nasforge.spaces.space import Choices, Chooser, Space
from nasforge.strategies.predictor.encoder import Encoder
from nasforge.strategies.predictor.hints import FARTHEST, FILE
from nasforge.strategies.predictor.measures import MEASURES, Matrix, Vector

TRAININGS = Path(__file__).parent / "hints_trainings.jsonl"
OPERATIONS = {
    "none": "zero",
    "skip": "identity",
    "conv_1x1": {"conv": {"kernel": 1, "preact": True}},
    "conv_3x3": {"conv": {"preact": True}},
    "separable": {"separable": {}},
    "avg": {"pool": {"kind": "avg", "kernel": 3, "stride": 1}},
    "max": {"pool": {"kind": "max", "kernel": 3, "stride": 1}},
}
BLOCKS = ["conv", "separable", "basic", {"mbconv": {"expand": {"choose": [2, 4]}}}, "bottleneck"]
ROWS = 30  # that each task counts for
PENALTY = 10.0
IMAGES = 5000  # of MNIST


def cells(nodes: int, width: int, side: int) -> dict[str, Any]:
    """The space of cells with one operation between each two of so many places, in two stages of one cell."""
    pairs = [(i, j) for j in range(1, nodes) for i in range(j)]
    cell = {"nodes": [[{"from": i, "op": f"$op{i}{j}"} for i in range(j)] for j in range(1, nodes)]}
    return {
        "input": [1, side, side],
        "classes": 10,
        "let": {**{f"op{i}{j}": {"choose": OPERATIONS} for i, j in pairs}, "cell": {"cell": cell}},
        "stem": [{"conv": {"out": width, "stride": 2, "act": "none"}}],
        "body": ["$cell", {"basic": {"out": 2 * width, "stride": 2}}, "$cell"],
        "head": [{"norm": {"kind": "batch"}}, "relu", {"pool": {"kind": "avg"}}, "linear"],
    }


def stages(side: int) -> dict[str, Any]:
    """The space of three stages of one kind of block each, of many depths and widths."""
    kinds = {"choose": [block if isinstance(block, dict) else {block: {}} for block in BLOCKS]}
    some = [{"depth": {"int": [0, 3]}}, {"depth": {"int": [1, 3]}, "stride": 2}, {"depth": {"int": [0, 2]}, "stride": 2}]
    return {
        "input": [1, side, side],
        "classes": 10,
        "stem": [{"conv": {"out": {"choose": [4, 6, 10, 20]}, "kernel": 3}}],
        "body": [{"stage": {"block": kinds, "out": {"choose": [4, 8, 12, 20, 32]}, **stage}} for stage in some],
        "head": ["gap_head"],
    }


SLOW, FAST = {"epochs": 8, "batch_size": 32}, {"epochs": 4, "batch_size": 64}
TASKS = {  # space, data, recipe
    "stages, digits": (stages(8), "digits", SLOW),
    "cells of 5, digits": (cells(5, 4, 8), "digits", SLOW),
    "cells of 3, digits": (cells(3, 4, 8), "digits", SLOW),
    "cells of 5, mnist": (cells(5, 4, 14), "mnist", FAST),
}


def uneven(rng: Random) -> Chooser:
    """Options with chances of this network's own, so that there are some of nearly one kind of operation."""
    chances: dict[Scalar, float] = {}
    even = random_chooser(rng)

    def ask(domain: Domain) -> Scalar:
        if domain.kind != "choose":
            return even(domain)
        for option in domain.options:
            chances.setdefault(option, rng.expovariate(1.0))
        return rng.choices(domain.options, [chances[o] for o in domain.options])[0]

    return ask


def train(count: int, mnist: str | None, out: Path) -> None:
    """Train networks in turn until there are so many of each task."""
    done = [json.loads(line)["task"] for line in out.read_text().splitlines()] if out.exists() else []
    evaluators: dict[str, Evaluator] = {}
    for number in range(count):
        for task, (space, data, recipe) in TASKS.items():
            if done.count(task) > number:
                continue
            if data not in evaluators:
                evaluators[data] = prepared(Context(source=Source(mnist if data == "mnist" else data, limit=IMAGES)))
            arch, choices = Space(space).draw(uneven(Random(f"{task}/{number}")))
            job = Job(arch, number, test=True, recipe={**recipe, "early_stopping": None})
            result = evaluators[data].evaluate(job, lambda report: Decision.CONTINUE)
            row = {"task": task, "choices": choices}
            for name in ("loss", "accuracy"):
                row[name] = None if result.error else round(statistics.fmean([result.metrics[name], result.test[name]]), 5)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")


# ---------------------------------------------------------------- once-for-all networks


def once_for_all() -> dict[str, Any]:
    """The space of OFA's MobileNetV3 of width 1: five stages of two to four inverted residuals, each with its kernel and expansion."""
    block = {"kernel": {"choose": [3, 5, 7]}, "expand": {"choose": [3, 4, 6]}}
    rows = [(24, 2, 0), (40, 2, 0.25), (80, 2, 0), (112, 1, 0.25), (160, 2, 0.25)]
    return {
        "input": [3, 224, 224],
        "classes": 1000,
        "stem": [{"conv": {"out": 16, "stride": 2}}],
        "body": [
            {"stage": {"draw": "each", "depth": {"int": [2, 4]}, "stride": stride, "block": {"mbconv": {"out": out, "se": se, **block}}}}
            for out, stride, se in rows
        ],
        "head": [{"conv": {"out": 960, "kernel": 1}}, {"pool": {"kind": "avg"}}, "linear"],
    }


def published(path: Path) -> tuple[list[Choices], list[float]]:
    """The choices and accuracies of the networks in the file of DyNAS-T: digits of 20 kernels, 20 expansions and 5 depths."""
    lines = list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode("utf-8"))))
    found = []
    for line in lines:

        def ask(domain: Domain, line: dict[str, str] = line) -> Scalar:
            words = domain.name.split(".")  # body.STAGE.stage.depth, body.STAGE.stage.block.PLACE.mbconv.kernel
            if words[-1] == "depth":
                return int(line["d"][int(words[1])])
            place = 4 * int(words[1]) + int(words[4])
            return int(line["ks" if words[-1] == "kernel" else "e"][place])

        found.append(Space(once_for_all()).draw(ask)[1])
    return found, [float(line["top1"]) for line in lines]


# ---------------------------------------------------------------- fitting


def against_usual(space: Space, some: Sequence[Choices]) -> Matrix:
    """(networks, measures): against those of random networks of the space."""
    encoder = Encoder(space)
    usual = np.array([row.measures for row in encoder.usual_rows])
    found = np.array([row.measures for choices in some if (row := encoder.row(choices)) is not None])
    return np.clip((found - usual.mean(axis=0)) / np.maximum(usual.std(axis=0), 1e-6), -FARTHEST, FARTHEST) * (usual.std(axis=0) > 1e-6)


def slopes(tasks: Sequence[tuple[Matrix, Vector]]) -> Vector:
    """(measures,): of a ridge regression of normal scores, each task counting alike."""
    rows = np.vstack([np.hstack([np.ones((len(y), 1)), x]) * np.sqrt(ROWS / len(y)) for x, y in tasks])
    scores = np.concatenate([norm.ppf((rankdata(y) - 0.5) / len(y)) * np.sqrt(ROWS / len(y)) for _, y in tasks])
    penalty = PENALTY * np.eye(rows.shape[1])
    penalty[0, 0] = 0.0
    out: Vector = np.linalg.solve(rows.T @ rows + penalty, rows.T @ scores)[1:]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once-for-all", type=Path, required=True, metavar="FILE")
    parser.add_argument("--train", type=int, default=0, metavar="NETWORKS", help="of each task, if there are not so many yet")
    parser.add_argument("--mnist", metavar="FOLDER")
    parser.add_argument("--trainings", type=Path, default=TRAININGS)
    parser.add_argument("--out", type=Path, default=FILE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train(args.train, args.mnist, args.trainings)
    rows = [row for line in args.trainings.read_text().splitlines() if (row := json.loads(line))["loss"] is not None]
    tasks: dict[str, tuple[Matrix, Vector]] = {}
    for name, (space, _, _) in TASKS.items():
        mine = [row for row in rows if row["task"] == name]
        tasks[name] = against_usual(Space(space), [row["choices"] for row in mine]), -np.array([row["loss"] for row in mine])
    choices, accuracies = published(args.once_for_all)
    tasks["once-for-all, ImageNet"] = against_usual(Space(once_for_all()), choices), np.array(accuracies)
    hints = {kind: slopes([task for name, task in tasks.items() if name.startswith(kind)]) for kind in ("cells", "stages", "once-for-all")}
    told = {
        "command": f"python benchmarks/{Path(__file__).name} " + " ".join(Path(a).name for a in sys.argv[1:]),
        "sources": {name: len(y) for name, (_, y) in tasks.items()},
        "slopes": {kind: {m: round(float(v), 4) for m, v in zip(MEASURES, line, strict=True)} for kind, line in hints.items()},
    }
    args.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    lines = [[name, len(y), *(f"{spearmanr(x @ line, y)[0]:.2f}" for line in hints.values())] for name, (x, y) in tasks.items()]
    print(table(["task", "networks", *hints], lines))


if __name__ == "__main__":
    main()
