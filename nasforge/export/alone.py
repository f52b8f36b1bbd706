"""Predict from files with an exported network.

    python predict.py FILES...                       photographs, a folder of them, tables, texts, arrays FILE.npy
    python predict.py --network NAME.onnx --top 3 --json FILES...

From Python: `from predict import Exported, predict`. Needs numpy; Pillow for images; onnxruntime for NAME.onnx, torch for NAME.py and
NAME.pt2.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nasforge.data.reading import Broken, files_of, normalized, outcome, samples

AT_ONCE = 32  # samples
ENDINGS = (".onnx", ".pt2", ".py")


class Predictor(Protocol):
    """What gives outputs for inputs: its name, a description and a call."""

    name: str
    about: dict[str, Any]

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]: ...


class Exported:
    """A network in a file, with the description that it carries."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        text: str | None
        if not path.is_file():
            got = "a folder" if path.is_dir() else "no file"
            raise Broken(f"{path}: must be an exported network, got {got}; name a {' '.join(ENDINGS)}")
        if path.suffix == ".onnx":
            import onnxruntime

            settings = onnxruntime.SessionOptions()
            settings.log_severity_level = 4  # what goes wrong is raised
            session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
            names, reads = [one.name for one in session.get_outputs()], session.get_inputs()[0].name
            text = session.get_modelmeta().custom_metadata_map.get("preprocess")
            self.run: Any = lambda x: dict(zip(names, session.run(names, {reads: x}), strict=True))
        elif path.suffix == ".pt2":
            import torch

            extra: dict[str, Any] = {"preprocess.json": ""}
            self.model = torch.export.load(path, extra_files=extra).module()
            text, self.run = extra["preprocess.json"], self.by_torch
        else:
            found = runpy.run_path(str(path))
            if "load" not in found:
                raise Broken(f"{path}: must be a network as it was exported, got a file without load(); name another one")
            self.model, self.run = found["load"](), self.by_torch
            text = json.dumps(found["PREPROCESS"]) if "PREPROCESS" in found else None
        if not text:
            raise Broken(f"{path}: carries no description of its input; export it again from a run, or with --data")
        self.about: dict[str, Any] = json.loads(text)

    def by_torch(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs of a torch module by head."""
        import torch

        with torch.no_grad():
            y = self.model(torch.from_numpy(x))
        return {name: one.numpy() for name, one in y.items()} if isinstance(y, dict) else {"output": y.numpy()}

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs for (N, ...) raw samples by head."""
        return self.run(x if self.about["inside"] else normalized(x, next(iter(self.about["inputs"].values()))))


def outputs(network: Predictor, files: Sequence[Path]) -> Iterator[tuple[str, dict[str, np.ndarray] | Broken]]:
    """Yield the name and the outputs of each sample in files, or why there are none, in order."""
    about, many = network.about, len(network.about["inputs"])
    if many > 1:
        raise Broken(f"the network reads {many} inputs a sample ({', '.join(about['inputs'])}), which no single file holds")
    described = next(iter(about["inputs"].values()))
    if described.get("resize_to") and not about["inside"]:
        raise Broken("the network reads images of another size than its data had; export it with --preprocess inside")
    waiting: list[tuple[str, np.ndarray | Broken]] = []
    for path in files:
        for place, found in samples(path, described):
            waiting.append((f"{path}, {place}" if place else str(path), found))
            if len(waiting) == AT_ONCE:
                yield from _run(network, waiting)
                waiting = []
    yield from _run(network, waiting)


def _run(network: Predictor, waiting: Sequence[tuple[str, np.ndarray | Broken]]) -> Iterator[tuple[str, dict[str, np.ndarray] | Broken]]:
    good = [x for _, x in waiting if isinstance(x, np.ndarray)]
    try:
        found = network(np.stack(good)) if good else {}
    except Exception as error:  # onnxruntime and torch raise of all kinds
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise Broken(f"{network.name}: must read what its description of preprocessing says, got: {said}; export it again") from error
    if found:
        _check(network, found)
    place = 0
    for name, x in waiting:
        if isinstance(x, Broken):
            yield name, x
        else:
            yield name, {head: y[place] for head, y in found.items()}
            place += 1


def _check(network: Predictor, found: dict[str, np.ndarray]) -> None:
    """Raise Broken where outputs are others than the description has targets."""
    targets = network.about["targets"]
    for name, target in targets.items():
        y = next(iter(found.values())) if len(targets) == 1 else found.get(name)
        axis, axes = (1, 4) if target["kind"] == "mask" else (-1, 3 if target["kind"] == "steps" else 2)
        if y is None or y.ndim != axes or y.shape[axis] != target["size"] or len(target["names"]) not in (0, target["size"]):
            got = ", ".join(f"{head} {one.shape[1:]}" for head, one in found.items())
            said = f"{target['size']} outputs of kind {target['kind']} and {len(target['names'])} names for {name}"
            raise Broken(f"{network.name}: its description of preprocessing has {said}, the network gives {got}; export it again")


def predict(network: Predictor, files: Sequence[str], top: int = 5) -> Iterator[dict[str, Any]]:
    """Yield one row a sample: `file`, and what the network says of it, or `error`.

    Args:
        files: images, tables, texts, arrays, or folders of them. top: classes to tell of.
    """
    described = next(iter(network.about["inputs"].values()))
    for name, found in outputs(network, files_of(files, described["kind"])):
        yield {"file": name, **({"error": str(found)} if isinstance(found, Broken) else outcome(found, network.about, top))}


def in_words(row: dict[str, Any]) -> str:
    """Return a row for a reader, on one line."""
    if "values" in row:
        said = "  ".join(f"{name} {value:.6g}" for name, value in row["values"].items())
    elif "top" in row:
        said = "  ".join(f"{one['class']} {next(v for k, v in one.items() if k != 'class'):.1%}" for one in row["top"])
    else:
        said = "  ".join(f"{head}: {in_words({'file': '', **one})[2:]}" for head, one in row.items() if head != "file")
    return f"{row['file']}: {said}"


def main() -> int:
    """Return 0, or 1 where the network or a file could not be read."""
    parser = argparse.ArgumentParser(description="Predict from files with an exported network.")
    parser.add_argument("files", nargs="+", metavar="FILES")
    parser.add_argument("--network", help="NAME.onnx, NAME.py or NAME.pt2 (default: the one beside this file)")
    parser.add_argument("--top", type=int, default=5, help="classes to tell of (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a sample")
    args = parser.parse_args()
    beside = [p for p in sorted(Path(__file__).parent.iterdir()) if p.suffix in ENDINGS and p.name != Path(__file__).name]
    if not args.network and len(beside) != 1:
        parser.error(f"--network: must name one of {', '.join(p.name for p in beside) or 'the exported files'}")
    if args.top < 1:
        parser.error(f"--top: must be at least 1, got {args.top}")
    status = 0
    try:
        network = Exported(Path(args.network or beside[0]))
        if not network.about.get("trained", True):
            print(f"{parser.prog}: WARNING: the weights of {network.name} are fresh, not trained", file=sys.stderr)
        for row in predict(network, args.files, args.top):
            if "error" in row:
                status = 1
                print(f"{row['file']}: {row['error']}", file=sys.stderr)
            elif not args.json:
                print(in_words(row))
            if args.json:
                print(json.dumps(row, ensure_ascii=False))
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:  # onnxruntime and torch raise of all kinds
        path, said = args.network or beside[0], (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, ImportError) and error.name:
            said = f"{path}: needs {error.name}, which is not installed"
        elif not isinstance(error, Broken):
            said = f"{path}: must be a network as it was exported, got: {said}; export it again"
        print(f"{parser.prog}: {said}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
