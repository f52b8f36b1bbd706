"""nasforge latency: an architecture measured here, and predicted where a profile is given."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from nasforge.api.named import arch_named
from nasforge.commands.common import print_json
from nasforge.data import Source
from nasforge.evaluation.train import for_data, reads
from nasforge.latency import Profile, measure, predict, read_profile
from nasforge.latency.profile import processor, versions
from nasforge.tasks import load_data


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    arch = arch_named(args.arch)
    if args.data is not None:
        arch = for_data(arch, load_data(Source.of(vars(args), reads(arch))))
    where = {"runtime": args.runtime, "device": args.device, "threads": args.threads, "batch": args.batch, "precision": args.precision}
    profile = read_profile(args.profile) if args.profile else None
    predicted = predict(profile, arch, **where) if profile else None
    found = measure(arch, **where, repeats=args.repeats)
    if args.json:
        print_json({"arch": args.arch, **asdict(found), "predicted_ms": predicted and predicted.ms,
                    "interval_ms": predicted and [predicted.low_ms, predicted.high_ms]})  # fmt: skip
        return 0
    print(f"{args.arch}: {found.median_ms:.3f} ms ± {found.error:.1%} (quartiles {found.spread:.0%} apart over {found.repeats} passes); "
          f"{args.runtime}, {args.device}, {args.threads} thread(s), batch {args.batch}, {args.precision}")  # fmt: skip
    if found.noisy:
        print("a noisy measurement, also after repeating it: measure again on a quiet machine")
    elif found.busy:
        print(
            f"the processor was busy with other work for {found.waiting:.0%} of the time; by the wall clock it took {found.wall_ms:.3f} ms"
        )
    if profile and predicted:
        print(f"predicted {predicted.ms:.3f} ms, 90 % of such networks between {predicted.low_ms:.3f} and {predicted.high_ms:.3f}; by "
              f"{args.profile} (median error {profile.error.get('median', 0):.1%} over {len(profile.networks)} networks)")  # fmt: skip
        for line in elsewhere(profile):
            print(line)
    return 0


def elsewhere(profile: Profile) -> list[str]:
    """Return what of a profile is not of this machine."""
    out = []
    if profile.processor != processor():
        out.append(f"note: the profile is of {profile.processor}, this machine is {processor()}")
    now = versions(profile.runtime)
    other = [f"{name} {v} (here {now[name]})" for name, v in profile.versions.items() if name in now and now[name] != v]
    return out + ([f"note: the profile was made with {', '.join(other)}"] if other else [])
