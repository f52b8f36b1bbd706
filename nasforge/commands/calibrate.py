"""nasforge calibrate: a latency profile of this machine for the networks of a space."""

from __future__ import annotations

import argparse
import random
from dataclasses import asdict

from nasforge.arch import Arch
from nasforge.blocks import BLOCKS
from nasforge.build import key
from nasforge.check import check_arch
from nasforge.choosers import random_chooser
from nasforge.commands.common import print_json, space_named
from nasforge.cost import count
from nasforge.errors import UserError
from nasforge.latency import calibrate, write_profile
from nasforge.space import Space

MOST_DRAWS = 50  # for each network wanted


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    data = space_named(args.space)
    check_arch(data, BLOCKS)
    profile = calibrate(spread(Space(data), args.networks, args.seed), runtime=args.runtime, device=args.device)
    path = write_profile(profile, args.out)
    if args.json:
        print_json({"profile": str(path), **{k: v for k, v in asdict(profile).items() if k != "table"}})
    else:
        e = profile.error
        print(f"{path}: {profile.networks} networks of {args.space}, {profile.runtime} on {profile.device}, {profile.threads} thread(s); "
              f"each predicted from the others: median error {e['median']:.1%}, worst {e['worst']:.1%}, "
              f"rank correlation {e['rank_correlation']:.3f}")  # fmt: skip
    return 0


def spread(space: Space, wanted: int, seed: int) -> list[Arch]:
    """Different networks of a space, evenly spread from its cheapest to its dearest draws."""
    rng = random.Random(seed)
    found: dict[str, tuple[int, Arch]] = {}
    for _ in range(wanted * MOST_DRAWS):
        arch, _ = space.draw(random_chooser(rng))
        try:
            found.setdefault(key(arch), (count(arch).macs, arch))
        except UserError:
            continue
        if len(found) >= 5 * wanted:
            break
    ordered = sorted(found.values(), key=lambda pair: pair[0])
    step = max(1, (len(ordered) - 1)) / max(1, wanted - 1)
    return [ordered[round(i * step)][1] for i in range(min(wanted, len(ordered)))]
