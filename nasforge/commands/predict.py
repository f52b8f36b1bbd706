"""nasforge predict: what a network says of images, rows of tables, texts."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from nasforge.api.data import OPTIONS
from nasforge.api.predict import against_truth, predictor, rows
from nasforge.commands.common import print_json
from nasforge.errors import UserError
from nasforge.export.alone import in_words


def run(args: argparse.Namespace) -> int:
    """Carry out the command: 1 where some files could not be read."""
    options = {name: getattr(args, name) for name in ("data", *OPTIONS) if getattr(args, name)}
    if args.csv and Path(args.csv).is_dir():
        raise UserError(f"--csv {args.csv}: must be a file, got a folder; name a file in it")
    if args.csv and any(Path(file).exists() and Path(args.csv).exists() and Path(args.csv).samefile(file) for file in args.files):
        raise UserError(f"--csv {args.csv}: must not be one of the files to predict; name another one")
    if args.csv:
        Path(args.csv).parent.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    network = predictor(args.network, options)
    trained = bool(network.about.get("trained", True))
    if not trained:
        print(f"nasforge predict: WARNING: the weights of {network.name} are fresh, not trained", file=sys.stderr)
    for row in rows(network, args.files, args.top):
        found.append(row)
        if "error" in row:
            print(f"nasforge predict: {row['file']}: {row['error']}", file=sys.stderr)
        elif not args.json and not args.csv:
            print(in_words(row))
    if args.csv:
        table = [flat(row) for row in found]
        names = list(dict.fromkeys(name for row in table for name in row))
        with Path(args.csv).open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, names)
            writer.writeheader()
            writer.writerows(table)
    wrong = sum("error" in row for row in found)
    truth = against_truth(found, network.about, args.files)
    if args.json:
        print_json({"network": args.network, "trained": trained, "predictions": found, "errors": wrong, "truth": truth})
    elif args.csv:
        print(f"{len(found) - wrong} predictions in {args.csv}")
    if truth and not args.json:
        score = f"{truth['right']:.1%} right" if "right" in truth else f"mean absolute error {truth['mean_absolute_error']:.6g}"
        print(f"the column {truth['column']} is the target, and no input: {score} on the {truth['rows']:,} rows that have it")
    return 1 if wrong or not found else 0


def flat(row: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return a row of predictions as cells: file, class, probability, class_2, probability_2, ..., or a column for each value."""
    cells: dict[str, Any] = {}
    for name, value in row.items():
        if name == "values":
            cells |= {before + key: number for key, number in value.items()}
        elif name == "top":
            for i, one in enumerate(value):
                cells |= {f"{before}{key}{f'_{i + 1}' if i else ''}": cell for key, cell in one.items()}
        elif isinstance(value, dict):
            cells |= flat(value, f"{name}.")
        else:
            cells[before + name] = " ".join(value) if isinstance(value, list) else value
    return cells
