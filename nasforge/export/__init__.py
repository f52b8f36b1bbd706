"""Take a network away: one Python file, ONNX, or torch.export; each is run in a fresh Python before it is handed over."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from torch import Tensor

from nasforge.errors import UserError, nearest
from nasforge.export import to_onnx, to_python, to_torch
from nasforge.export.check import Exporter, ExportRefused, check
from nasforge.networks.build import build
from nasforge.networks.network import Network
from nasforge.spaces.arch import Arch

__all__ = ["EXPORTERS", "ExportRefused", "Exported", "Exporter", "export"]

EXPORTERS = {
    "python": Exporter(to_python.write_python, to_python.RUN, ("torch",), 1e-5),
    "onnx": Exporter(to_onnx.write_onnx, to_onnx.RUN, ("onnxruntime", "numpy"), 1e-4),
    "torch": Exporter(to_torch.write_torch, to_torch.RUN, ("torch",), 1e-4),
}
ENDINGS = {"python": ".py", "onnx": ".onnx", "torch": ".pt2"}


@dataclass(frozen=True)
class Exported:
    """What was written and how far it is from the network.

    path: the main file; files: all files. largest_difference: relative to the largest output. modules: what the check had to import.
    rounding: None, or where rounding in float32 moves the outputs by more than the tolerance, how far it moves those of the network from
    float64; then `largest_difference` is that of the file from float64.
    """

    path: Path
    files: tuple[Path, ...]
    largest_difference: float
    seconds: float
    modules: frozenset[str]
    rounding: float | None = None


def export(arch: Arch, state: dict[str, Tensor] | None, to: str, out: str | Path, *, name: str = "model") -> Exported:
    """Write the files of a network into the folder `out`, or as `out` where that ends in .py, .onnx or .pt2 as the kind does.

    Without `state` its weights are drawn from torch's generator.

    Files appear only once they were run on two batches in a fresh Python without nasforge and agreed with the network, up to a tolerance
    or, where rounding in float32 moves the network itself by more, up to a few times that.
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
    exporter = EXPORTERS[to]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as place:
            written = _written(exporter, to, arch, network, Path(place), name)
            found = check(exporter, arch, network, written[0])
            files = tuple(path.replace(out / path.name) for path in written)
    except OSError as error:
        raise UserError(f"out: must be a folder that can be written, got {out} ({error.strerror or error}); name another") from None
    return Exported(files[0], files, found.largest_difference, perf_counter() - started, found.modules, found.rounding)


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


def _written(exporter: Exporter, to: str, arch: Arch, network: Network, folder: Path, name: str) -> list[Path]:
    """Return the files of one exporter. Raise ExportRefused with what torch says of a network that it cannot export."""
    try:
        return exporter.write(arch, network, folder, name)
    except (UserError, OSError):
        raise
    except Exception as error:  # torch's exporters raise of all kinds
        text = next((line for line in str(error).splitlines() if line.strip()), "no message")
        raise ExportRefused(f"to: {to} cannot express this network ({type(error).__name__}: {text}); try another kind") from error
