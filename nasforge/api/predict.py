"""What a network says of files: images, rows of tables, texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from nasforge.api.exports import data_of, described_at, kept_of
from nasforge.api.named import arch_and_weights
from nasforge.data.preprocess import FILE, checked, read_preprocess
from nasforge.data.reading import TABLES, Broken, files_of, is_float, rows_of
from nasforge.errors import UserError
from nasforge.export import FromRaw, for_network, named, names_of
from nasforge.export.alone import ENDINGS, Exported, Predictor
from nasforge.export.alone import predict as predicted
from nasforge.networks.build import build


def predict(
    network: str | Path, files: str | Path | Sequence[str | Path], top: int = 5, out: str | Path | None = None, **options: Any
) -> list[dict[str, Any]]:  # fmt: skip
    """Return one row a sample: `file`, and `class` and `top` with names and probabilities, `labels`, `values` in the units of the data,
    or `error` where it could not be read.

    Args:
        network: RUN (its best), RUN:NAME, the folder of a training, an exported file (.onnx, .pt2, .py), or a folder with one.
        files: images, tables, texts, arrays FILE.npy as the network has learned from them, or folders.
        top: classes to tell of.
        out: a folder for the label maps of segmentation: the class of each pixel of an image as PNG, whose path is `map` of a row. Pixels
            that were cut off are 255.
        options: allow_code, and data with the options of `nasforge.load_data`, for a run that has kept no description of its data.

    Raises:
        UserError: there is no such network, or it reads what no file holds.
    """
    given = [files] if isinstance(files, str | Path) else files
    return list(rows(predictor(str(network), options), [str(one) for one in given], top, out))


def rows(network: Predictor, files: Sequence[str], top: int, out: str | Path | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of `predict`. Raise UserError as it does."""
    if top < 1:
        raise UserError(f"--top: must be at least 1, got {top}")
    try:
        yield from predicted(network, files, top, out)
    except Broken as error:
        raise UserError(str(error)) from None


def against_truth(found: Sequence[Mapping[str, Any]], about: Mapping[str, Any], files: Sequence[str]) -> dict[str, Any] | None:
    """Return how the rows of `predict` compare with the column of the target, which tables may have too and which is no input.

    The column, the rows that have it, and of classes the share that is right, of values the mean absolute error; None where nothing is
    to be compared: other files, no such column, or several targets.
    """
    described, targets = next(iter(about["inputs"].values())), list(about["targets"].values())
    columns, kind = described.get("target_columns") or [], targets[0]["kind"]
    if described["kind"] != "table" or len(columns) != 1 or len(targets) != 1 or kind not in ("label", "value"):
        return None
    truth: dict[str, str] = {}
    for path in files_of(files, "table"):
        try:
            given = rows_of(path, described) if path.name.lower().endswith(TABLES) else ()
            truth |= {f"{path}, {place}": row.get(columns[0], "") for place, row in given if isinstance(row, dict)}
        except Broken:
            continue
    pairs = [(row, truth[row["file"]]) for row in found if "error" not in row and truth.get(row["file"])]
    told: dict[str, Any] = {"column": columns[0], "rows": len(pairs)}
    if kind == "label" and pairs:
        return told | {"right": sum(_same(row["class"], word) for row, word in pairs) / len(pairs)}
    pairs = [(row, word) for row, word in pairs if is_float(word)]
    if not pairs:
        return None
    errors = [abs(next(iter(row["values"].values())) - float(word)) for row, word in pairs]
    return told | {"rows": len(pairs), "mean_absolute_error": sum(errors) / len(errors)}


def _same(name: str, word: str) -> bool:
    """Whether a cell is the name of a class: the same text, or the same number."""
    return name == word or (is_float(name) and is_float(word) and float(name) == float(word))


def predictor(name: str, options: Mapping[str, Any]) -> Predictor:
    """Return what predicts: an exported file, or a network of a run. Raise UserError where there is none, or its input is not known."""
    file = _exported(Path(name))
    if file is not None and file.suffix != ".onnx" and not options.get("allow_code"):
        raise UserError(f"{file}: would run code of its own; if you trust it, add --allow-code, or name an .onnx file")
    if file is not None:
        try:
            found = Exported(file)
            checked(found.about)
        except ImportError as error:
            raise UserError(f"{file}: needs {error.name}, which is not installed") from None
        except Broken as error:
            raise UserError(str(error)) from None
        except Exception as error:  # onnxruntime and torch raise of all kinds
            raise UserError(f"{file}: must be a network as nasforge exports it, got: {str(error).splitlines()[0]}") from None
        _check_beside(file, found.about, file != Path(name))
        return found
    arch, weights = arch_and_weights(name)
    if weights is None:
        raise UserError(f"{name}: has no trained weights; name a run, RUN:NAME, the folder of a training, or an exported file")
    kept = kept_of(name)
    about, notes = kept.about, list[str]()
    beside = sorted(option for option, value in options.items() if option != "allow_code" and value not in (None, False))
    if about is not None and beside:
        words = ", ".join(f"--{option.replace('_', '-')}" for option in beside)
        raise UserError(f"{words}: the network reads files as it did in its training, which {name} has kept; leave it out")
    if about is None:  # of a run that was begun before it was kept: fitted again to the same data
        data, _, notes = data_of(kept, arch, options.get("data"), {k: v for k, v in options.items() if k != "data"})
        about = None if data is None else dict(data.spec.preprocess)
    if not about:
        raise UserError(f"{name}: {FILE} is missing, and it cannot be fitted again ({'; '.join(notes)})")
    model = build(arch)
    try:
        model.load_state_dict({**model.state_dict(), **load_file(weights)})
    except (OSError, SafetensorError, RuntimeError) as error:
        said = str(error).splitlines()[-1].strip()
        raise UserError(f"{weights}: must hold the weights of {name}, got: {said}; train it again, or name another network") from None
    try:
        about = for_network(about, arch, model, True)
    except UserError as error:
        raise error if kept.about is None else described_at(error, kept) from None
    return Trained(name, FromRaw(model, about, names_of(about, model)).eval(), about)


class Trained:
    """A network in this process as `alone.Exported` is one in a file."""

    def __init__(self, name: str, model: FromRaw, about: dict[str, Any]) -> None:
        self.name, self.model, self.about = name, model, about

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {key: y.numpy() for key, y in named(self.model(torch.from_numpy(x))).items()}


def _check_beside(file: Path, about: Mapping[str, Any], asked: bool) -> None:
    """Raise UserError where the description in the folder that was named is damaged, or another than its network carries."""
    beside = read_preprocess(file.parent) if asked else None
    for word in ("inside", "inputs", "targets"):
        if beside is not None and beside[word] != about[word]:
            said = f"its {word} must be those that {file.name} carries, got {json.dumps(beside[word])[:120]}"
            raise UserError(f"{file.parent / FILE}: {said}; export it again, or name {file}, which needs no other file")


def _exported(path: Path) -> Path | None:
    """The exported file that a path names, or the only one in a folder; None for other things."""
    if path.is_file() and path.suffix in ENDINGS:
        return path
    if not path.is_dir() or not (path / FILE).is_file() or any((path / one).exists() for one in ("manifest.json", "arch.yaml")):
        return None
    found = [p for p in sorted(path.iterdir()) if p.suffix in ENDINGS and p.name != "predict.py"]
    if len(found) != 1 and len({p.stem for p in found}) != 1:
        raise UserError(f"{path}: must hold one exported network, got {', '.join(p.name for p in found) or 'none'}; name the file")
    return found[0]
