"""nasforge bench --latency: how well a few measurements predict all networks of a space on each device of a table.

Each device in turn counts as unknown: the tool chooses networks, is told their times there and nothing else, and predicts all others. Other
devices may help, those of the same chip (at another batch, or counting energy) excepted. Everything is done again without any help,
`alone`. Figures are means over several designs: each chooses from its own random 1,000 networks of the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from nasforge.commands.common import print_json, table
from nasforge.errors import UserError
from nasforge.latency.tables import chip, read_latencies
from nasforge.latency.transfer import Prior, curves, learn, order, predict_all, prior, scaled

POOL = 1000  # networks that a design chooses from
LEFT = 10  # networks that must be left to predict

Scores = dict[int, list[tuple[float, float, float]]]  # by samples, for each design: rank correlation, mean and median relative error


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    samples = _samples(args.samples)
    if args.seeds < 1:
        raise UserError(f"--seeds: must be at least 1, got {args.seeds}")
    target = read_latencies(args.latency)
    known = curves(target, target)
    if args.transfer:
        other = read_latencies(args.transfer)
        known = {f"{args.transfer}: {name}": c for name, c in curves(other, target).items()} | known
    features = scaled(target, target)
    devices: dict[str, Any] = {}
    for name, times in target.devices.items():
        if np.isfinite(times).sum() < max(samples) + LEFT:
            continue
        helpers = {n: c for n, c in known.items() if chip(n) != chip(name)}
        with_help = scores(prior(features, helpers), times, samples, args.seeds)
        alone = scores(prior(features, {}), times, samples, args.seeds)
        devices[name] = {"chip": chip(name), "helpers": len(helpers), **summary(with_help), "alone": summary(alone)}
    if not devices:
        raise UserError(f"--samples {args.samples}: no device of {target.name} has {max(samples) + LEFT} networks; ask for fewer")
    out = {
        "latency": str(args.latency), "transfer": args.transfer, "networks": target.networks, "kind": target.kind,
        "samples": samples, "seeds": args.seeds, **means(devices.values()), "groups": by_source(devices),
        "alone": means([d["alone"] for d in devices.values()]), "devices": devices,
    }  # fmt: skip
    if args.json:
        print_json(out)
    else:
        print(words(out))
    return 0


def _samples(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 1 for part in parts):
        raise UserError(f"--samples {text}: must be whole numbers >= 2 with commas between, such as 10,25,50")
    return sorted({int(part) for part in parts})


def scores(known: Prior, times: np.ndarray, samples: Sequence[int], seeds: int) -> Scores:
    """Return how well the times of a device are predicted from so many measurements, for each design."""
    out: Scores = {n: [] for n in samples}
    for seed in range(seeds):
        pool = np.random.default_rng(seed).permutation(len(times))[:POOL]
        chosen = order(known, times, max(samples), pool)
        for n in samples:
            measured = chosen[:n]
            predicted = predict_all(known, learn(known, measured, times[measured]))
            rest = np.isfinite(times)
            rest[measured] = False
            out[n].append(_score(predicted[rest], times[rest]))
    return out


def _score(predicted: np.ndarray, times: np.ndarray) -> tuple[float, float, float]:
    """Spearman's coefficient (equal times share a rank), mean and median relative error."""
    ranks = rankdata(predicted), rankdata(times)
    rank = float(np.corrcoef(*ranks)[0, 1]) if np.ptp(ranks[0]) and np.ptp(ranks[1]) else 0.0
    relative = np.abs(predicted / times - 1)
    return rank, float(relative.mean()), float(np.median(relative))


def summary(found: Scores) -> dict[str, dict[str, float]]:
    """Means over designs, by samples."""
    names = ("spearman", "mape", "median_ape")
    return {name: {str(n): round(float(np.mean([s[i] for s in rows])), 5) for n, rows in found.items()} for i, name in enumerate(names)}


def means(parts: Any) -> dict[str, dict[str, float]]:
    """Means over devices, by samples; `mape` is the mean over devices of the mean relative error, a share (0.05 is 5 %)."""
    rows = list(parts)
    return {
        title: {n: round(float(np.mean([row[name][n] for row in rows])), 5) for n in rows[0][name]}
        for title, name in (("mean_spearman", "spearman"), ("mape", "mape"), ("median_ape", "median_ape"))
    }


def by_source(devices: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the same means for devices of each source: what stands before the first slash of their names."""
    sources = dict.fromkeys(name.split("/")[0] for name in devices if "/" in name)
    return {s: {"devices": len(part), **means(part)} for s in sources if (part := [d for n, d in devices.items() if n.startswith(s + "/")])}


def words(out: Mapping[str, Any]) -> str:
    """Return the figures as text."""
    columns = [str(n) for n in out["samples"]]
    header = ["device", "helpers", *(f"rank@{n}" for n in columns), *(f"error@{n}" for n in columns), *(f"alone@{n}" for n in columns)]
    lines = [(name, one, one["alone"]["spearman"]) for name, one in out["devices"].items()]
    rows = [
        [name, one["helpers"], *(f"{one['spearman'][n]:.3f}" for n in columns), *(f"{one['median_ape'][n]:.3f}" for n in columns),
         *(f"{alone[n]:.3f}" for n in columns)]
        for name, one, alone in lines
    ]  # fmt: skip
    tail = [f"mean rank correlation with {n} measured: {out['mean_spearman'][n]:.4f} (alone {out['alone']['mean_spearman'][n]:.4f})"
            + "".join(f"; {s} {g['mean_spearman'][n]:.4f}" for s, g in out["groups"].items()) for n in columns]  # fmt: skip
    head = (
        f"{out['latency']}: {out['networks']:,} networks; rank correlation (Spearman) and median relative error of all the others,\n"
        f"means over {out['seeds']} designs; `alone` without the other devices\n\n"
    )
    return head + table(header, rows) + "\n\n" + "\n".join(tail)
