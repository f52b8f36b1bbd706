"""Take a network away: one Python file, ONNX, or torch.export; each is run in a fresh Python before it is handed over."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasforge.data.originals import Originals
from nasforge.data.preprocess import FILE as PREPROCESS
from nasforge.data.preprocess import LABELS, read_preprocess, write_preprocess
from nasforge.errors import UserError, nearest
from nasforge.export import to_onnx, to_python, to_torch
from nasforge.export.check import BATCHES, Exporter, ExportRefused, Outputs, apart, check, named, run_fresh
from nasforge.export.describe import for_network, names_of
from nasforge.export.raw import FromRaw
from nasforge.export.script import NAME as SCRIPT
from nasforge.export.script import script
from nasforge.networks.build import build
from nasforge.networks.network import Network
from nasforge.spaces.arch import Arch

__all__ = ["EXPORTERS", "ExportRefused", "Exported", "Exporter", "FromRaw", "Samples", "export", "for_network", "named", "names_of"]

EXPORTERS = {
    "python": Exporter(to_python.write_python, to_python.RUN, ("torch",), 1e-5),
    "onnx": Exporter(to_onnx.write_onnx, to_onnx.RUN, ("onnxruntime", "numpy"), 1e-4),
    "torch": Exporter(to_torch.write_torch, to_torch.RUN, ("torch",), 1e-4),
}
ENDINGS = {"python": ".py", "onnx": ".onnx", "torch": ".pt2"}
ON_FILES_TOLERANCE = 1e-3  # of the largest output: pixels and rows are the same, only sums are made in another order
ON_FILES = """
import runpy
from pathlib import Path
import numpy
found = runpy.run_path(str(Path(file).with_name("predict.py")), run_name="predict")
rows = list(found["outputs"](found["Exported"](Path(file)), sorted(Path("files").iterdir())))
wrong = [f"{name}: {y}" for name, y in rows if isinstance(y, Exception)]
if wrong:
    sys.exit(wrong[0])
numpy.savez("outputs.npz", **{head: numpy.stack([y[head] for _, y in rows]) for head in rows[0][1]})
"""


@dataclass(frozen=True)
class Exported:
    """What was written and how far it is from the network.

    path: the main file; files: all files. largest_difference: relative to the largest output. modules: what the check had to import.
    rounding: None, or where rounding in float32 moves the outputs by more than the tolerance, how far it moves those of the network from
    float64; then `largest_difference` is that of the file from float64. preprocess: the description that it carries. outputs: by head, of
    the samples that it was tried on as files.
    """

    path: Path
    files: tuple[Path, ...]
    largest_difference: float
    seconds: float
    modules: frozenset[str]
    rounding: float | None = None
    preprocess: Mapping[str, Any] | None = None
    outputs: Outputs | None = None


@dataclass(frozen=True)
class Samples:
    """Samples of the data to try an export on, in one order.

    originals: as their files have them. normalized: yields the inputs of the network, some samples at once. most: how many to try.
    """

    originals: Originals
    normalized: Callable[[], Iterator[tuple[Tensor, ...]]]
    most: int


def export(
    arch: Arch, state: dict[str, Tensor] | None, to: str, out: str | Path, *, name: str = "model",
    preprocess: Mapping[str, Any] | None = None, inside: bool = True, samples: Samples | None = None,
) -> Exported:  # fmt: skip
    """Write the files of a network into the folder `out`, or as `out` where that ends in .py, .onnx or .pt2 as the kind does.

    Without `state` its weights are drawn from torch's generator, which the files say. With a description of its preprocessing the files
    carry this, and preprocess.json, labels.json and predict.py, which reads files for it where these can hold a sample, stand beside them;
    `inside` lets the network read raw numbers and normalize them itself.

    Files appear only once they were run on two batches in a fresh Python without nasforge and agreed with the network, up to a tolerance
    or, where rounding in float32 moves the network itself by more, up to a few times that. With `samples` they were also run by predict.py
    on the files of these, and agreed with what the network gives for them as it was trained.
    Raise UserError for an unknown kind, foreign weights or a folder that cannot be written, ExportRefused for a file that disagrees.
    """
    if to not in EXPORTERS:
        raise UserError(f"to: there is no export {to!r}; {nearest(to, EXPORTERS)}")
    if Path(out).suffix == ENDINGS[to]:
        out, name = Path(out).parent, Path(out).stem
    elif Path(out).suffix in ENDINGS.values():
        raise UserError(f"out: {to} is written as {ENDINGS[to]}, got {out}; name a folder, or a file that ends so")
    if not name or name.strip(".") != name or any(c in '/\\:*?"<>|\0' or c.isspace() for c in name):
        raise UserError(f"name: must be a plain file name without an ending, got {name!r}")
    started, out = perf_counter(), Path(out)
    network = _network(arch, state)
    about = None if preprocess is None else {**for_network(preprocess, arch, network, inside), "trained": state is not None}
    reads_raw = about is not None and inside
    exported = FromRaw(network, about, names_of(about, network)).eval() if about is not None and inside else network
    exporter, outputs = EXPORTERS[to], None
    _check_beside(out, name, about)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as place:
            written = _written(exporter, to, arch, exported, Path(place), name, about, state is not None)
            if about is not None:
                written += write_preprocess(about, Path(place))
            if about is not None and readable(about):
                (Path(place) / SCRIPT).write_text(script(), encoding="utf-8")
                written.append(Path(place) / SCRIPT)
            found = check(exporter, arch, exported, written[0], samples.originals.arrays(max(BATCHES)) if samples and reads_raw else None)
            if about is not None and samples is not None and readable(about):
                outputs = on_files(exporter, exported, written[0], about, samples)
            files = tuple(path.replace(out / path.name) for path in written)
    except OSError as error:
        raise UserError(f"out: must be a folder that can be written, got {out} ({error.strerror or error}); name another") from None
    seconds = perf_counter() - started
    return Exported(files[0], files, found.largest_difference, seconds, found.modules, found.rounding, about, outputs)


def _check_beside(out: Path, name: str, about: Mapping[str, Any] | None) -> None:
    """Raise UserError where a folder holds a network with another description, which would be replaced."""
    others = [p for p in sorted(out.glob("*")) if p.suffix in ENDINGS.values() and p.name != SCRIPT and p.stem != name]
    if about is None or not others or not (out / PREPROCESS).exists():
        return
    old = read_preprocess(out)
    if old is not None and any(old[word] != json.loads(json.dumps(about[word])) for word in ("inputs", "targets", "inside")):
        raise UserError(f"out: {out} holds {others[0].name}, whose {PREPROCESS} and {LABELS} say something else; name another folder")


def readable(about: Mapping[str, Any]) -> bool:
    """Return whether predict.py can read files for a network: it reads one input, and is not to resize what is normalized already."""
    return len(about["inputs"]) == 1 and (about["inside"] or not any(one.get("resize_to") for one in about["inputs"].values()))


def on_files(exporter: Exporter, exported: Network | FromRaw, file: Path, about: Mapping[str, Any], samples: Samples) -> Outputs:
    """Return the outputs of a file for samples as predict.py beside it reads them, in a fresh Python.

    Raises:
        ExportRefused: they are others than those of the network for the samples as it was trained on them.
    """
    runner = replace(exporter, program=ON_FILES, needs=(*exporter.needs, "numpy", *["pillow"] * (sole(about)["kind"] == "image")))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "files"
        folder.mkdir()
        samples.originals.write(folder, about, samples.most)
        run_fresh(runner, file.resolve(), Path(place))
        with np.load(Path(place) / "outputs.npz") as arrays:
            got = {key: torch.from_numpy(arrays[key]) for key in arrays}
    network = exported.network if isinstance(exported, FromRaw) else exported
    with torch.no_grad():
        every = [named(network(*xs)) for xs in samples.normalized()]
    expected = {key: torch.cat([one[key] for one in every])[: samples.most] for key in every[0]}
    if isinstance(exported, FromRaw):
        alone = next(iter(about["targets"]))
        expected = {key: exported.valued(y, alone if key == "output" else key) for key, y in expected.items()}
    for key, difference in apart(file.name, len(got[next(iter(got))]), expected, got).items():
        if difference > ON_FILES_TOLERANCE:
            raise ExportRefused(
                f"{file.name}: must give for the files of the data what the network gives for them as it was trained, up to "
                f"{ON_FILES_TOLERANCE:g} of the largest output, {key} differs by {difference:.3g}; nothing was kept"
            )
    return got


def sole(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the description of the first input."""
    return next(iter(about["inputs"].values()))


def _network(arch: Arch, state: dict[str, Tensor] | None) -> Network:
    """Return the network in eval mode with the given weights; those of auxiliary heads may be absent."""
    network = build(arch)
    if state is not None:
        try:
            missing, unexpected = network.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise UserError(f"state: the weights must have the shapes of the architecture; {str(error).splitlines()[-1].strip()}") from None
        missing = [key for key in missing if not key.startswith("aux.")]
        if missing or unexpected:
            raise UserError(
                f"state: the weights must be those of this architecture, {len(missing)} are missing ({', '.join(missing[:3])}) "
                f"and {len(unexpected)} belong to another ({', '.join(unexpected[:3])})"
            )
    return network.eval()


def _written(
    exporter: Exporter, to: str, arch: Arch, network: Network | FromRaw, folder: Path, name: str, about: Mapping[str, Any] | None,
    trained: bool,
) -> list[Path]:  # fmt: skip
    """Return the files of one exporter. Raise ExportRefused with what torch says of a network that it cannot export."""
    try:
        return exporter.write(arch, network, folder, name, about, trained)
    except (UserError, OSError):
        raise
    except Exception as error:  # torch's exporters raise of all kinds
        text = next((line for line in str(error).splitlines() if line.strip()), "no message")
        raise ExportRefused(f"to: {to} cannot express this network ({type(error).__name__}: {text}); try another kind") from error
