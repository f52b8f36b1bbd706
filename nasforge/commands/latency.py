"""nasforge latency: an architecture measured here, and predicted where a profile is given."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from nasforge.commands.common import arch_named, print_json
from nasforge.latency import measure, predict, read_profile


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    arch = arch_named(args.arch)
    where = {"runtime": args.runtime, "device": args.device, "threads": args.threads, "batch": args.batch}
    profile = read_profile(args.profile) if args.profile else None
    predicted = predict(profile, arch, **where) if profile else None
    found = measure(arch, **where)
    if args.json:
        print_json({"arch": args.arch, **asdict(found), "predicted_ms": predicted})
        return 0
    noisy = ", a noisy measurement: repeat it on a quiet machine" if found.noisy else ""
    print(f"{args.arch}: {found.median_ms:.3f} ms (quartiles {found.spread:.0%} apart{noisy}); {args.runtime}, {args.device}, "
          f"{args.threads} thread(s), batch {args.batch}")  # fmt: skip
    if profile and predicted is not None:
        print(
            f"predicted {predicted:.3f} ms by {args.profile} (median error {profile.error['median']:.1%} over {profile.networks} networks)"
        )
    return 0
