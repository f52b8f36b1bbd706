"""Calibrating for another machine: a folder to take there, and what is brought back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nasforge.blocks.core.shapes import Tokens, example
from nasforge.errors import UserError
from nasforge.export.to_python import write_python
from nasforge.files import parsed_file
from nasforge.latency import Profile, remote_script
from nasforge.latency.profile import profile_of
from nasforge.latency.runtimes import write_onnx
from nasforge.networks.build import build, input_shapes
from nasforge.spaces.arch import Arch

RUNTIMES = ("eager", "onnxruntime")


def write_folder(archs: Sequence[Arch], folder: Path, space: str, runtime: str, batch: int) -> Path:
    """Return the folder with the networks, measure.py and networks.json. Raises UserError for a runtime that cannot be taken away."""
    if runtime not in RUNTIMES:
        raise UserError(f"--script: networks are taken away for {' or '.join(RUNTIMES)}, got --runtime {runtime}; take one of them")
    folder.mkdir(parents=True, exist_ok=True)
    for i, arch in enumerate(archs):
        network, name = build(arch).eval(), f"network_{i:02d}"
        if runtime == "eager":
            for path in write_python(arch, network, folder, name):
                if path.suffix != ".py":
                    path.unlink()  # weights: a network takes as long with any
        else:
            write_onnx(network, tuple(example(shape, batch) for shape in input_shapes(arch).values()), folder / f"{name}.onnx")
    shapes = list(input_shapes(archs[0]).values())
    inputs = [{"tokens": s.vocab, "length": s.length} if isinstance(s, Tokens) else list(s) for s in shapes]
    plan = {"space": space, "runtime": runtime, "batch": batch, "inputs": inputs, "networks": list(archs)}
    (folder / "networks.json").write_text(json.dumps(plan), encoding="utf-8")
    shutil.copyfile(remote_script.__file__, folder / "measure.py")
    return folder


def read_measured(path: Path) -> Profile:
    """Return the profile of a machine from the file that measure.py wrote there. Raises UserError for another file."""
    try:
        data: dict[str, Any] = parsed_file(path)
        about = {name: data[name] for name in ("runtime", "device", "threads", "batch", "processor", "versions", "date", "space")}
        archs, times = data["networks"], [float(t) for t in data["times_ms"]]
        errors = [float(e) for e in data["errors"]]
        if len(archs) != len(times) or not all(0 < t < 1e9 for t in times):
            raise ValueError("needs one time above 0 for each network")
        noise = {"noisy": sum(e > remote_script.NOISY for e in errors) / len(errors), "waiting": float(data["waiting"])}
        return profile_of(archs, times, noise, precision="float32", **about)
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{path}: is not what measure.py writes ({error}); make its folder with calibrate --script") from None
