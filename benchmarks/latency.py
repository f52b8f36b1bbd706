"""How well a profile predicts networks that it has not seen, on this machine.

    python benchmarks/latency.py [--space mobile] [--runtime eager,onnxruntime] [--networks 40] [--held-out 40] [--repeats 30] [--json]

The networks of the profile and the held-out ones take turns in one measurement, so that both see the same machine. The profile's are picked
by `nasforge calibrate`, the held-out ones are drawn at random from those not picked. One thread.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from nasforge.api.named import space_named
from nasforge.commands.calibrate import spread
from nasforge.latency import predict
from nasforge.latency.fit import apart, rank_correlation
from nasforge.latency.measure import measure_many
from nasforge.latency.profile import profile_of
from nasforge.networks.build import key
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Space

ABOUT = {"device": "cpu", "threads": 1, "batch": 1, "precision": "float32", "processor": "", "versions": {}, "date": ""}


def main() -> None:
    """Print the figures of each runtime."""
    args = _arguments()
    space = Space(space_named(args.space))
    known = spread(space, args.networks, args.seed)
    held_out = others(space, known, args.held_out, args.seed + 1)
    out = {runtime: compare(known, held_out, runtime, args.repeats, args.space) for runtime in args.runtime.split(",")}
    if args.json:
        print(json.dumps(out, indent=1))
        return
    for runtime, one in out.items():
        print(f"{runtime}: {one['held_out']} held-out networks of {args.space} ({one['fastest_ms']:.2f} to {one['slowest_ms']:.2f} ms) "
              f"after {one['measured']} measured: median error {one['median_error']:.1%}, {one['within_10_percent']:.0%} within 10 %, "
              f"rank correlation {one['rank_correlation']:.3f}; {one['inside_interval']:.0%} inside the 90 % interval "
              f"(± {one['interval']:.1%}); measurements uncertain by {one['uncertain']:.1%}, processor busy with other work for "
              f"{one['waiting']:.0%} of the time; {one['seconds']:.0f} s")  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How well a profile predicts networks that it has not seen, on this machine.")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--runtime", default="eager,onnxruntime")
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def others(space: Space, known: Sequence[Arch], wanted: int, seed: int) -> list[Arch]:
    """Random networks of the space that are not among those of the profile."""
    rng, seen, out = random.Random(seed), {key(arch) for arch in known}, []
    while len(out) < wanted:
        arch, _ = space.draw(random_chooser(rng))
        if key(arch) not in seen:
            seen.add(key(arch))
            out.append(arch)
    return out


def compare(known: Sequence[Arch], held_out: Sequence[Arch], runtime: str, repeats: int, space: str) -> dict[str, Any]:
    """Prediction against measurement of the held-out networks."""
    began = time.perf_counter()
    found = measure_many([*known, *held_out], runtime=runtime, repeats=repeats)
    ms = np.array([one.median_ms for one in found])
    profile = profile_of(known, ms[: len(known)].tolist(), {}, runtime=runtime, space=space, **ABOUT)
    predictions = [predict(profile, arch) for arch in held_out]
    predicted, truth = np.array([p.ms for p in predictions]), ms[len(known) :]
    errors = apart(predicted, truth)
    inside = [p.low_ms <= t <= p.high_ms for p, t in zip(predictions, truth, strict=True)]
    return {
        "measured": len(known), "held_out": len(held_out), "fastest_ms": float(truth.min()), "slowest_ms": float(truth.max()),
        "median_error": float(np.median(errors)), "within_10_percent": float(np.mean(errors <= 0.1)), "worst_error": float(errors.max()),
        "rank_correlation": rank_correlation(predicted, truth), "inside_interval": float(np.mean(inside)),
        "interval": float(np.median([(p.high_ms - p.ms) / p.ms for p in predictions])),
        "uncertain": float(np.median([one.error for one in found])), "waiting": float(np.median([one.waiting for one in found])),
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


if __name__ == "__main__":
    main()
