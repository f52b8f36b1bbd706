"""Measure the networks beside this file; it needs Python and torch, or Python and onnxruntime, alone.

    python measure.py [--threads 1] [--repeats 30] [--out measured.json]

Take measured.json back and read it with `nasforge calibrate SPACE --measured measured.json`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

NOISY = 0.05  # share of the median by which it may be wrong
AGAIN = 3
WARMUP = 3
HERE = Path(__file__).resolve().parent


def main() -> None:
    """Measure, and write the file."""
    args = _arguments()
    plan = json.loads((HERE / "networks.json").read_text(encoding="utf-8"))
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch is imported
    make = {"eager": eager, "onnxruntime": onnx}[plan["runtime"]]
    calls = [make(HERE / f"network_{i:02d}", plan["inputs"], plan["batch"], args.threads) for i in range(len(plan["networks"]))]
    times: list[list[float]] = [[] for _ in calls]
    began = time.perf_counter(), time.process_time()
    for turn in range(1 + AGAIN):
        rounds(calls, times, args.repeats, WARMUP if turn == 0 else 0, args.threads == 1)
        errors = [error(one) for one in times]
        if max(errors) <= NOISY:
            break
        print(f"noisy (a median may be wrong by {max(errors):.0%}); measuring again", file=sys.stderr)
    waiting = 1 - (time.process_time() - began[1]) / (time.perf_counter() - began[0])
    out = {
        **plan,
        "device": "cpu",
        "threads": args.threads,
        "processor": processor(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "onnxruntime") if importlib.util.find_spec(name)},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 (Python before 3.11 may run this)
        "times_ms": [statistics.median(one) for one in times],
        "errors": errors,
        "waiting": max(0.0, waiting) if args.threads == 1 else 0.0,
    }
    Path(args.out).write_text(json.dumps(out, indent=1), encoding="utf-8")
    fastest, slowest = min(out["times_ms"]), max(out["times_ms"])
    print(f"{args.out}: {len(calls)} networks, {fastest:.3g} to {slowest:.3g} ms, none more wrong than {max(errors):.1%}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the networks beside this file.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--out", default="measured.json")
    return parser.parse_args()


def eager(path: Path, inputs: list[Any], batch: int, threads: int) -> Callable[[], Any]:
    """A call of the network in a Python file. inputs: (T, ...) of floats, or {"tokens": vocabulary, "length": T}."""
    import torch

    torch.set_num_threads(threads)
    spec = importlib.util.spec_from_file_location(path.name, path.with_suffix(".py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model().eval()
    feed = [torch.zeros(batch, one["length"], dtype=torch.long) if isinstance(one, dict) else torch.zeros(batch, *one) for one in inputs]

    def call() -> Any:
        with torch.inference_mode():
            return model(*feed)

    return call


def onnx(path: Path, inputs: list[Any], batch: int, threads: int) -> Callable[[], Any]:
    """A call of the network in an ONNX file."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path.with_suffix(".onnx")), options, providers=["CPUExecutionProvider"])
    arrays = [
        numpy.zeros((batch, one["length"]), numpy.int64) if isinstance(one, dict) else numpy.zeros((batch, *one), numpy.float32)
        for one in inputs
    ]
    feed = {one.name: array for one, array in zip(session.get_inputs(), arrays)}
    return lambda: session.run(None, feed)


def rounds(calls: list[Callable[[], Any]], times: list[list[float]], repeats: int, warmup: int, one_thread: bool) -> None:
    """Add milliseconds: the networks take turns, each runs untimed before it is timed."""
    clock = time.thread_time if one_thread else time.perf_counter  # waiting for a processor is not the network's
    for turn in range(warmup + repeats):
        for call, own in zip(calls, times):
            call()
            began = clock()
            call()
            if turn >= warmup:
                own.append(1000 * (clock() - began))


def error(times: list[float]) -> float:
    """What the median may be wrong by, as a share of it: twice its standard error, from the quartiles."""
    low, middle, high = statistics.quantiles(times, n=4)
    return 2 * 0.93 * (high - low) / middle / len(times) ** 0.5


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
