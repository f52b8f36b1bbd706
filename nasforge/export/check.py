"""Whether an exported file computes what the network computes, asked in a fresh Python that can import only what the file's user has."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasforge.blocks.core.shapes import Shape, Tokens, is_uneven
from nasforge.errors import UserError
from nasforge.export.describe import random_raw
from nasforge.export.raw import FromRaw
from nasforge.networks.build import input_shapes
from nasforge.networks.network import Network
from nasforge.spaces.arch import Arch

BATCHES = (1, 5)
TIMEOUT_S = 900
ROUNDING = 4  # times as far from float64 as the network itself a file may be: its kernels add up in another order
MOST = 0.1  # of the largest output, by which a file may differ however much rounding moves the network: else the check would see nothing
CARRIES = "; the source of a plugin's block carries no global or class attribute that was changed at run time: set such values in __init__"
Outputs = dict[str, Tensor]  # by the name of the head, or "output"

GUARD = """
import sys

file, allowed = sys.argv[1], {{*sys.argv[2].split(","), *sys.stdlib_module_names}}

class Only:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in allowed or top.startswith("_sysconfigdata")  # Python's own, but named after the platform
        return self.finder.find_spec(name, path, target) if known else None

sys.meta_path[:] = [Only(finder) for finder in sys.meta_path]
{program}
with open("modules.txt", "w") as out:
    out.write(" ".join(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


class ExportRefused(UserError):
    """The exported file cannot be made, does not run, or does not compute what the network computes."""


@dataclass(frozen=True)
class Exporter:
    """One kind of export.

    write: (arch, network, folder, name, description or None, whether its weights are trained) -> files, the main one first; the network
        may read raw numbers.
    program: Python text that runs the file called `file` on inputs.pt or inputs.npz and leaves outputs.pt or outputs.npz.
    needs: the distributions whose packages, with those they require, the program may import.
    tolerance: the largest difference allowed, relative to the largest output.
    """

    write: Callable[..., list[Path]]
    program: str
    needs: tuple[str, ...]
    tolerance: float


@dataclass(frozen=True)
class Checked:
    """The largest difference relative to the largest output, and the top-level modules that the fresh Python had imported.

    rounding: where rounding in the network itself exceeds the tolerance, how far it is from the network computed in float64; then
    `largest_difference` is that of the file from float64.
    """

    largest_difference: float
    rounding: float | None
    modules: frozenset[str]


def check(
    exporter: Exporter, arch: Arch, network: Network | FromRaw, file: Path, samples: Mapping[str, np.ndarray] | None = None
) -> Checked:
    """Return how far the file, in a fresh process, is from the network in eval mode here. Raise ExportRefused.

    samples: raw ones of the data by input, for a network that reads such; without them it is tried on random numbers.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = [tuple(_random(shape, batch, generator) for shape in input_shapes(arch).values()) for batch in BATCHES]
    inner: Any = network.network if isinstance(network, FromRaw) else network
    if isinstance(network, FromRaw):
        inputs = [tuple(_raw(network.inputs[name], (samples or {}).get(name), n, generator) for name in network.names) for n in BATCHES]
    expected = _run(network, inputs)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        torch.save(inputs, folder / "inputs.pt")
        arrays = {f"{i}.{name}": x.numpy() for i, xs in enumerate(inputs) for name, x in zip(inner.inputs, xs, strict=True)}
        np.savez(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
        modules = run_fresh(exporter, file.resolve(), folder)
        got = _outputs(folder)
    difference, own = max(_distances(file.name, expected, got).values()), None
    if not difference <= exporter.tolerance:
        hint = CARRIES if file.suffix == ".py" and _has_others(network) else ""
        difference, own = _beside_float64(file.name, exporter.tolerance, _exact(network, inputs), expected, got, hint)
    return Checked(difference, own, modules)


def _raw(described: Mapping[str, Any], samples: np.ndarray | None, batch: int, generator: torch.Generator) -> Tensor:
    """Raw samples of the data, or random ones."""
    if samples is None or not len(samples):
        return random_raw(described, batch, generator)
    chosen = np.arange(batch) % len(samples)
    return torch.from_numpy(samples[chosen].astype(described["dtype"]))


def _run(network: Network | FromRaw, inputs: Sequence[tuple[Tensor, ...]]) -> list[Outputs]:
    with torch.no_grad():
        return [named(network(*xs)) for xs in inputs]


def _exact(network: Network | FromRaw, inputs: Sequence[tuple[Tensor, ...]]) -> list[Outputs]:
    """Return the outputs computed in float64, in place: a copy of a large network might not fit into memory."""
    try:
        return _run(network.double(), [tuple(x.double() if x.is_floating_point() else x for x in xs) for xs in inputs])
    finally:
        network.float()


def _has_others(network: Network | FromRaw) -> bool:
    """Whether some blocks are neither ours nor torch's."""
    return any(type(module).__module__.partition(".")[0] not in ("nasforge", "torch") for module in network.modules())


def _beside_float64(
    file: str, tolerance: float, exact: list[Outputs], expected: list[Outputs], got: list[Outputs], hint: str = ""
) -> tuple[float, float]:
    """Return how far the file and the network are from float64. Raise ExportRefused where the file is further than rounding explains."""
    apart, own, far = (_distances(file, *pair) for pair in ((expected, got), (exact, expected), (exact, got)))
    for name, distance in far.items():
        if not distance <= allowed(tolerance, own[name]):
            raise ExportRefused(
                f"{file}: must compute what the network computes up to {tolerance:g} of its largest output, differs by {apart[name]:.3g}; "
                f"rounding does not excuse it: from float64 the file is {distance:.3g} away, the network itself {own[name]:.3g}, "
                f"and {ROUNDING} times that is allowed, at most {MOST:g}{hint}; nothing was kept"
            )
    return max(far.values()), max(own.values())


def allowed(tolerance: float, rounding: float | None) -> float:
    """Return how far a file may be from its network, or, where rounding moves this one from float64 by `rounding`, from float64."""
    return max(tolerance, min(ROUNDING * (rounding or 0.0), MOST))


def _random(shape: Shape, batch: int, generator: torch.Generator) -> Tensor:
    """Return random numbers or tokens; sequences that may end early have different lengths."""
    if isinstance(shape, Tokens):
        x = torch.randint(shape.vocab, (batch, shape.length), generator=generator)
    else:
        x = torch.randn(batch, *shape, generator=generator)
    if is_uneven(shape):
        lengths = -(-shape[0] * torch.arange(1, batch + 1) // batch)  # (B,), of a batch of five a fifth of the steps, two fifths, ...
        x[torch.arange(shape[0]) >= lengths[:, None]] = torch.nan if x.is_floating_point() else -1
    return x


def named(out: Any) -> Outputs:
    """Return what a network gives by the name of the head, or "output"."""
    return dict(out) if isinstance(out, dict) else {"output": out}


def run_fresh(exporter: Exporter, file: Path, folder: Path) -> frozenset[str]:
    """Return the modules imported by a fresh, isolated Python that ran the file in `folder`."""
    command = [sys.executable, "-I", "-c", GUARD.format(program=exporter.program), str(file), ",".join(sorted(packages(exporter.needs)))]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ExportRefused(f"{file.name}: must run within {TIMEOUT_S} s in a fresh Python, was still running; nothing was kept") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ExportRefused(f"{file.name}: must run in a fresh Python without nasforge, ended with {last!r}; nothing was kept")
    modules = frozenset((folder / "modules.txt").read_text().split())
    assert "nasforge" not in modules
    return modules


def packages(distributions: Sequence[str]) -> set[str]:
    """Return the importable top-level names of distributions and of all that they require."""
    waiting, seen = list(distributions), set()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # needed on another platform only
            continue
        waiting += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in required if "extra ==" not in line]
    owners = metadata.packages_distributions().items()
    return {package for package, owned in owners if any(re.sub(r"[-_.]+", "-", o).lower() in seen for o in owned)}


def _outputs(folder: Path) -> list[Outputs]:
    """Return the outputs for each batch, as the program left them."""
    if (folder / "outputs.pt").exists():
        return [named(out) for out in torch.load(folder / "outputs.pt")]
    found: list[Outputs] = [{} for _ in BATCHES]
    with np.load(folder / "outputs.npz") as arrays:
        for key in arrays:
            number, _, name = key.partition(".")
            found[int(number)][name] = torch.from_numpy(arrays[key])
    return found


def _distances(file: str, expected: list[Outputs], got: list[Outputs]) -> dict[str, float]:
    """Return for each output the largest relative difference in any batch."""
    found = [apart(file, batch, *pair) for batch, *pair in zip(BATCHES, expected, got, strict=True)]
    return {name: max(one[name] for one in found) for name in found[0]}


def apart(file: str, batch: int, expected: Outputs, got: Outputs) -> dict[str, float]:
    """Return for each output the largest difference relative to its largest value. Raise ExportRefused where they cannot be compared."""
    shapes = [{name: tuple(y.shape) for name, y in one.items()} for one in (expected, got)]
    if shapes[0] != shapes[1]:
        raise ExportRefused(f"{file}: for a batch of {batch} the outputs must be {shapes[0]}, got {shapes[1]}; nothing was kept")
    found = {}
    for name, y in expected.items():
        if not (y.isfinite().all() and got[name].isfinite().all()):
            who = "the file" if y.isfinite().all() else "the network itself"
            raise ExportRefused(f"{file}: outputs must be finite, {who} gives NaN or infinity in {name!r}; look at the weights")
        difference = (y.double() - got[name].double()).abs().max().item()
        found[name] = difference / max(y.double().abs().max().item(), torch.finfo(torch.float32).tiny)
    return found
