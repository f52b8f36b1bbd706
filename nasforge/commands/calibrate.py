"""nasforge calibrate: a latency profile of this machine, or of one that is measured elsewhere, for the networks of a space."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nasforge.api.named import space_named
from nasforge.blocks import BLOCKS
from nasforge.commands.calibrate_away import read_measured, write_folder
from nasforge.commands.common import print_json
from nasforge.data import Source
from nasforge.errors import UserError
from nasforge.evaluation.train import fit_to_data, reads
from nasforge.latency import Profile, calibrate, write_profile
from nasforge.latency.design import pick
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.objectives.metrics import Known, metric
from nasforge.objectives.objective import Limit, limits_of
from nasforge.spaces.arch import Arch
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.space import Space
from nasforge.tasks import load_data

POOL = 8  # networks drawn for each one measured
MOST_DRAWS = 50  # for each network wanted
LONG = ("blocks", "networks", "times_ms")  # fields of a profile that are not told


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if args.measured:
        return _finish(args, read_measured(Path(args.measured)))
    if args.networks < 1:
        raise UserError(f"--networks: must be at least 1, got {args.networks}")
    raw = space_named(args.space)
    check_arch(raw, BLOCKS)
    fitted = raw if args.data is None else fit_to_data(raw, load_data(Source.of(vars(args), reads(raw))))
    archs = spread(Space(fitted), args.networks, args.seed, limits_of(fitted.get("constraints")))
    if args.script:
        folder = write_folder(archs, Path(args.script), args.space, args.runtime, args.batch)
        if args.json:
            print_json({"script": str(folder / "measure.py"), "networks": len(archs), "runtime": args.runtime})
        else:
            needs = "torch" if args.runtime == "eager" else args.runtime
            print(f"{folder}: {len(archs)} networks. On the target machine, with {needs} installed:\n  python measure.py\n"
                  f"and then here:\n  nasforge calibrate {args.space} --measured measured.json")  # fmt: skip
        return 0
    where = {"runtime": args.runtime, "device": args.device, "threads": args.threads, "batch": args.batch, "precision": args.precision}
    return _finish(args, calibrate(archs, repeats=args.repeats, space=args.space, **where))


def _finish(args: argparse.Namespace, profile: Profile) -> int:
    path = write_profile(profile, args.out)
    if args.json:
        told = {k: v for k, v in asdict(profile).items() if k not in LONG}
        print_json({"profile": str(path), "networks": len(profile.networks), "rates": profile.predictor.fit.rates, **told})
        return 0
    e = profile.error
    print(f"{path}: {len(profile.networks)} networks of {profile.space}, {profile.runtime} ({profile.precision}) on {profile.device}, "
          f"{profile.threads} thread(s), batch {profile.batch}; {profile.processor}\n"
          f"each predicted from the others: median error {e['median']:.1%}, worst {e['worst']:.1%}, "
          f"{e['within_10_percent']:.0%} within 10 %, rank correlation {e['rank_correlation']:.3f}")  # fmt: skip
    if e["noisy"]:
        print(
            f"{e['noisy']:.0%} of the measurements are uncertain by more than 5 %; calibrate again on a quiet machine for a better profile"
        )
    return 0


def spread(space: Space, wanted: int, seed: int, limits: Sequence[Limit] = ()) -> list[Arch]:
    """Different networks of a space that tell most about the others, within its limits on paper; fewer where the space has no more."""
    told = [limit for limit in limits if metric(limit.metric).known is Known.PAPER]
    rng = random.Random(seed)
    found: dict[str, Arch] = {}
    for _ in range(wanted * MOST_DRAWS):
        arch, _ = space.draw(random_chooser(rng))
        try:
            cost = count(arch)
            if all(limit.excess(float(getattr(cost, limit.metric))) <= 0 for limit in told):
                found.setdefault(key(arch), arch)
        except UserError:
            continue
        if len(found) >= POOL * wanted:
            break
    archs = list(found.values())
    return [archs[i] for i in pick(archs, wanted)]
