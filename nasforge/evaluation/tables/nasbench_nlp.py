"""NAS-Bench-NLP (Klyuchnikov et al. 2020): recurrent cells trained as language models, as rows of a table.

The file is theirs, a line of json for each training: `recepie` (json in json: the gates of a cell, `{"f": {"op": "linear", "input": ["x",
"h_prev_0"]}, ...}`), the losses after each epoch, `status`, `num_params`, and the sizes of the network. They trained a small sample of all
cells, so the space here is the choice among the cells of the file. Columns, of which less is better: `val_loss`, the lowest of all epochs;
`test_loss` of the same epoch; both infinite where the training broke off; `params` and `seconds` as told.

The networks are theirs but for two things that the grammar has not: they share the weights of embedding and output, and they drop out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasforge.errors import UserError
from nasforge.spaces.domains import Scalar

USUAL = ("val_loss", "test_loss")
VOCABULARY = 33_278  # of WikiText-2
OURS = {  # their operations in our words
    "linear": "linear", "blend": "blend", "elementwise_sum": "add", "elementwise_prod": "mul",
    "activation_tanh": "tanh", "activation_sigm": "sigmoid", "activation_leaky_relu": "leaky_relu",
}  # fmt: skip
SIZES = ("emsize", "nhid", "nlayers", "bptt")

Columns = dict[str, list[float]]


def is_recurrent(text: str) -> bool:
    """Whether a text begins as the runs of NAS-Bench-NLP do."""
    return '"recepie"' in text.partition("\n")[0]


def recurrent_rows(text: str, path: Path) -> tuple[dict[str, Any], list[dict[str, Scalar]], Columns]:
    """The space of all cells in the file, the choices of each run in it, and the columns. Raises UserError for another file."""
    cells: dict[str, Any] = {}
    columns: Columns = {name: [] for name in (*USUAL, "params", "seconds")}
    sizes: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}:{number}"
        try:
            run = json.loads(line)
            cell = {name: {"op": OURS[node["op"]], "from": node["input"]} for name, node in json.loads(run["recepie"]).items()}
            found = {name: int(run[name]) for name in SIZES}
            told = [*_losses(run), float(run["num_params"]), math.fsum(run["wall_times"])]
            label = str(run["recepie_id"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{where}: must be a run of NAS-Bench-NLP as json, got {type(error).__name__}: {error}") from None
        if found != (sizes := sizes or found):
            raise UserError(f"{where}: all networks of a table have one size, {sizes}, got {found}")
        cells[label if label not in cells else f"{label}#{number}"] = cell  # one was trained twice under one number
        for column, value in zip(columns.values(), told, strict=True):
            column.append(value)
    return _space(cells, sizes), [{"let.cell": label} for label in cells], columns


def recurrent_curves(text: str) -> list[list[float]]:
    """The losses on the validation set after each epoch, of each run; none of a training that broke off."""
    runs = [json.loads(line) for line in text.splitlines()]
    return [[float(loss) for loss in run["val_losses"]] if run["status"] == "OK" else [] for run in runs]


def _losses(run: Mapping[str, Any]) -> tuple[float, float]:
    """The lowest loss on the validation set and the one on the test set after the same epoch."""
    if run["status"] != "OK":
        return math.inf, math.inf
    return min(zip(run["val_losses"], run["test_losses"], strict=True))


def _space(cells: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """A choice of one cell for all layers; the last layer is as wide as the embedding."""
    widths = [sizes["nhid"]] * (sizes["nlayers"] - 1) + [sizes["emsize"]]
    return {
        "name": "nas_bench_nlp",
        "input": {"tokens": VOCABULARY, "length": sizes["bptt"]},
        "classes": VOCABULARY,
        "let": {"cell": {"choose": dict(cells)}},
        "stem": [{"embedding": {"out": sizes["emsize"]}}],
        "body": [{"recurrent_cell": {"nodes": "$cell", "hidden": width}} for width in widths],
        "head": [{"linear": {}}],
    }
