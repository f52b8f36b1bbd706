"""nasforge show SPACE: the size of a space, what it leaves open, and how large the networks are that are drawn from it."""

from __future__ import annotations

import argparse
import math
import random
from statistics import quantiles

from nasforge.api.named import space_named
from nasforge.blocks import BLOCKS
from nasforge.commands.common import print_json, table
from nasforge.errors import UserError
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Space

SAMPLES = 200


def show_space(args: argparse.Namespace) -> int:
    """Print a space."""
    data = space_named(args.what)
    check_arch(data, BLOCKS)
    space, rng = Space(data), random.Random(0)
    keys: list[str] = []
    costs: dict[str, list[float]] = {"params": [], "macs": []}
    broken: list[str] = []
    for _ in range(SAMPLES):
        arch, _ = space.draw(random_chooser(rng))
        try:
            cost = count(arch)
        except UserError as error:
            broken.append(str(error))
            continue
        keys.append(key(arch))
        costs["params"].append(cost.params)
        costs["macs"].append(cost.macs)
    found = {
        "space": args.what,
        "size": "infinite" if math.isinf(space.size()) else int(space.size()),
        "domains": {o.name: str(o) for o in space.domains()},
        "samples": SAMPLES,
        "distinct": len(set(keys)),
        "not_buildable": len(broken),
        **{name: _spread(values) for name, values in costs.items()},
    }
    if args.json:
        print_json(found)
        return 0
    size = space.size()
    many = "infinitely many" if math.isinf(size) else f"{int(size):,}" if size < 1e12 else f"{size:.3g}"
    print(f"{args.what}: {many} choices in {len(found['domains'])} domains")
    print(
        f"of {SAMPLES} random draws {len(set(keys))} are different networks, {len(broken)} cannot be built"
        + (f" ({broken[0]})" if broken else "")
    )
    print(
        table(
            ("", "least", "quarter", "half", "three quarters", "most"),
            [(n, *(f"{v:,.0f}" for v in s)) for n in costs if (s := _spread(costs[n]))],
        )
    )
    print()
    print(table(("domain", "values"), list(found["domains"].items())))
    return 0


def _spread(values: list[float]) -> list[float]:
    return [min(values), *quantiles(values, n=4), max(values)] if len(values) > 1 else []
