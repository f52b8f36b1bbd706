"""Every documented network as it is, exported by `nasforge.export` and so run in a fresh Python and compared.

    python benchmarks/exports.py --out FILE [--kinds onnx,python] [--minutes 15] [NAME ...]

FILE gets one JSON line for each network and kind; a second call goes on where the first was stopped, and tries once more, at the end,
what has failed. The smallest networks come first. Each is exported in a process of its own, which is ended after `--minutes`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasforge import zoo
from nasforge.blocks.core.shapes import Tokens
from nasforge.errors import UserError
from nasforge.export import EXPORTERS, export
from nasforge.export.check import allowed
from nasforge.networks.build import build, input_shapes
from nasforge.networks.network import Network

Row = dict[str, Any]


def example_inputs(arch: dict[str, Any], batch: int) -> list[Tensor]:
    """Random inputs, the same at every call."""
    generator = torch.Generator().manual_seed(batch)
    return [
        torch.randint(shape.vocab, (batch, shape.length), generator=generator)
        if isinstance(shape, Tokens)
        else torch.randn(batch, *shape, generator=generator)
        for shape in input_shapes(arch).values()
    ]


def lively(arch: dict[str, Any]) -> Network:
    """The network in eval mode with weights by which its outputs depend on its input: those of a fresh deep one hardly do.

    He's weights, a little noise on scales and biases, so that none is 0 or 1, and the statistics of random inputs in batch norms. The
    inputs have several contrasts, as real images do: the means of equally noisy ones are nearly the same, and a norm over these (in the
    gates of SKNet) would blow up rounding until nothing can be compared.
    """
    torch.manual_seed(0)
    network = build(arch)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = None  # the plain mean over all batches
        contrasts = torch.tensor([0.5, 1.0, 1.5, 2.0])
        network.train()(*(x * contrasts.view(4, *[1] * (x.ndim - 1)) if x.is_floating_point() else x for x in example_inputs(arch, 4)))
    return network.eval()


def spread(network: Network, inputs: list[Tensor]) -> float:
    """How much an output changes from sample to sample, relative to the largest; where hardly at all, a comparison sees nothing."""
    with torch.no_grad():
        y = network(*inputs)
    outputs = list(y.values()) if isinstance(y, dict) else [y]
    return min(((one - one[:1]).abs().max() / one.abs().max().clamp(min=1e-30)).item() for one in outputs)


def take_away(name: str, kinds: list[str], out: Path, folder: str) -> None:
    """Add one line for each kind to the file `out`; the exported files stand in `folder` while they are checked."""
    torch.set_num_threads(1)
    arch = zoo.load(name)
    network = lively(arch)
    about = {"name": name, "params": sum(p.numel() for key, p in network.named_parameters() if not key.startswith("aux.")),
             "layers": sum(any(p.ndim > 1 for p in m.parameters(recurse=False)) for m in network.modules()),
             "spread": spread(network, example_inputs(arch, 2))}  # fmt: skip
    state = network.state_dict()
    del network
    for to in kinds:
        began = time.perf_counter()
        found: Row = {"difference": None, "rounding": None, "tolerance": None, "error": None}
        try:
            done = export(arch, state, to, folder)
            for file in done.files:
                file.unlink()
            tolerance = allowed(EXPORTERS[to].tolerance, done.rounding)
            found |= {"difference": done.largest_difference, "rounding": done.rounding, "tolerance": tolerance}
        except Exception as error:  # a result like any other
            found["error"] = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        add(out, {**about, "to": to, "seconds": round(time.perf_counter() - began, 1), "memory_gb": memory_gb(), **found})


def memory_gb() -> float:
    """The most that this process and the largest one it has started have held, added up."""
    return round(sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1e6, 2)


def add(out: Path, row: Row) -> None:
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read(out: Path) -> dict[tuple[str, str], Row]:
    """The last row of each network and kind."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    return {(row["name"], row["to"]): row for row in map(json.loads, lines)}


def waiting(out: Path, names: list[str], kinds: list[str]) -> list[tuple[str, list[str]]]:
    """What is still to do: the networks never tried, then those that failed, each by size."""
    rows, size = read(out), {row["name"]: row["macs"] for row in zoo.entries()}
    new = [(name, [to for to in kinds if (name, to) not in rows]) for name in names]
    failed = [(name, [to for to in kinds if rows.get((name, to), {}).get("error")]) for name in names]
    return [job for jobs in (new, failed) for job in sorted(jobs, key=lambda job: size[job[0]]) if job[1]]


def carry_out(name: str, kinds: list[str], out: Path, minutes: float) -> None:
    """One network in a process of its own, for it may hang or run out of memory; forked, so that torch need not be imported again."""
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("fork").Process(target=take_away, args=(name, kinds, out, folder))
        process.start()
        process.join(60 * minutes)
        ended = f"ended with {process.exitcode}"
        if process.is_alive():
            process.kill()
            process.join()
            ended = f"was not done in {minutes:g} minutes"
    rows = read(out)
    for to in kinds if process.exitcode else []:
        if (name, to) not in rows:
            add(out, {"name": name, "to": to, "seconds": None, "error": f"the process {ended}"})


def summary(out: Path, names: list[str], kinds: list[str]) -> str:
    """How many of each kind passed, which failed, the worst difference and the slowest, and which needed the rule on rounding."""
    rows = {key: row for key, row in read(out).items() if key[0] in names}
    text = []
    for to in kinds:
        tried = [row for (_, kind), row in rows.items() if kind == to]
        passed = [row for row in tried if not row["error"]]
        rounded = sorted((row for row in passed if row["rounding"] is not None), key=lambda row: -row["rounding"])
        text.append(f"{to}: {len(passed)} of {len(names)} passed, {len(tried) - len(passed)} failed, {len(names) - len(tried)} not tried")
        if passed:
            blind = min(passed, key=lambda row: row["spread"] / row["tolerance"])
            text.append(f"  weakest check: {blind['name']}, whose output changes with the input by {blind['spread']:.2g}, "
                        f"and may differ by {blind['tolerance']:.2g}")  # fmt: skip
            worst = max(passed, key=lambda row: row["difference"] / row["tolerance"])
            slowest = max(passed, key=lambda row: row["seconds"])
            text.append(f"  nearest to its tolerance: {worst['name']}, {worst['difference']:.2g} of {worst['tolerance']:.2g}")
            text.append(f"  slowest: {slowest['name']}, {slowest['seconds']:.0f} s; all: {sum(row['seconds'] for row in passed):.0f} s")
        text += [f"  judged by float64: {r['name']}, file {r['difference']:.2g}, network {r['rounding']:.2g} away" for r in rounded]
        text += [f"  FAILED {row['name']}: {row['error']}" for row in tried if row["error"]]
    return "\n".join(text)


def main() -> int:
    """The summary on stdout; 1 where a network failed or was not tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="documented networks (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines")
    parser.add_argument("--kinds", default="onnx,python", help=f"of {', '.join(EXPORTERS)} (default: onnx,python)")
    parser.add_argument("--minutes", type=float, default=15.0, help="for one network (default: 15)")
    args = parser.parse_args()
    names, kinds = args.names or zoo.names(), args.kinds.split(",")
    unknown = [word for word in (*names, *kinds) if word not in (*zoo.names(), *EXPORTERS)]
    if unknown:
        raise SystemExit(f"no documented network or kind: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:  # imports and fills torch's tables once, for all processes
        export(zoo.load("lenet1"), None, "onnx", folder)
    for name, left in waiting(args.out, names, kinds):
        carry_out(name, left, args.out, args.minutes)
        rows = read(args.out)
        print(*(f"{name} {to}: {rows[name, to]['seconds']} s {rows[name, to]['error'] or ''}" for to in left), sep="\n", flush=True)
    print(summary(args.out, names, kinds))
    rows = read(args.out)
    return int(any((name, to) not in rows or rows[name, to]["error"] is not None for name in names for to in kinds))


if __name__ == "__main__":
    sys.exit(main())
