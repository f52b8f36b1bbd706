"""How many architectures a second can be drawn, named and counted, beside building and counting each network.

    python benchmarks/screening.py [--space mobile] [--seconds 5] [--warm 5000]

Both rates are of this run and of one core, in processor time, so that a busy machine does not count: the first with the memo warm,
the second by building every network on the meta device and running torch's FlopCounterMode over it.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from nasforge.blocks.core.shapes import example
from nasforge.networks.build import build, input_shapes, key
from nasforge.networks.cost import count
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import find_space, read
from nasforge.spaces.space import Space

BURST = 100  # calls between two looks at the clock


def screen(space: Space, rng: random.Random) -> tuple[str, int, int]:
    """The key, parameters and multiply-adds of one random architecture."""
    arch, _ = space.draw(random_chooser(rng))
    cost = count(arch)
    return key(arch), cost.params, cost.macs


def count_whole(arch: Arch) -> tuple[int, int]:
    """Parameters and multiply-adds of the network built as a whole."""
    network = build(arch, "meta").eval()
    inputs = [example(shape, 1, "meta") for shape in input_shapes(arch).values()]
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        network(*inputs)
    return sum(p.numel() for p in network.parameters()), flops.get_total_flops() // 2


def rate(work: Callable[[], object], seconds: float, burst: int) -> float:
    """Calls of `work` per second of processor time."""
    done, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        for _ in range(burst):
            work()
        done += burst
    return done / (time.process_time() - began)


def main() -> None:
    """Print both rates and their ratio; fail where the two counts of a network differ."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--space", default="mobile", help="name or file of a space")
    parser.add_argument("--seconds", type=float, default=5.0, help="processor time for each measurement")
    parser.add_argument("--warm", type=int, default=5000, help="architectures screened before the measurement")
    args = parser.parse_args()
    torch.set_num_threads(1)
    space, rng = Space(read(find_space(args.space))), random.Random(0)

    began = time.process_time()
    seen = {screen(space, rng)[0] for _ in range(args.warm)}
    warming = time.process_time() - began
    screening = rate(lambda: screen(space, rng), args.seconds, BURST)

    def whole() -> None:
        arch, _ = space.draw(random_chooser(rng))
        key(arch)
        found, cost = count_whole(arch), count(arch)
        if found != (cost.params, cost.macs):
            raise SystemExit(f"the counts differ: whole network {found}, sum of blocks {(cost.params, cost.macs)} for {arch}")

    building = rate(whole, args.seconds, 1)
    print(f"{args.space}: {space.size():,.0f} choices; {len(seen):,} different architectures in the {warming:.1f} s of warming up")
    print(f"drawn, named and counted from the memo: {screening:8,.0f} a second, one core")
    print(f"drawn, named, built and counted whole:  {building:8,.1f} a second, one core (the counts agree)")
    print(f"ratio: {screening / building:,.0f}")


if __name__ == "__main__":
    main()
