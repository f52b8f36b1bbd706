"""What can be refused at once: names, limits, files and folders, before torch is imported or any data are read.

Whatever passes is checked again where it is used, with more at hand.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nasforge.api import parts
from nasforge.api.named import arch_named, space_named
from nasforge.api.recipes import recipe_named
from nasforge.errors import UserError, nearest
from nasforge.files import parsed_file
from nasforge.objectives.objective import lifted, parse_limit, parse_objectives, together
from nasforge.spaces.files import check_folder
from nasforge.trackers import trackers_named

BUDGETS = ("macs", "params", "peak_bytes", "latency_ms")
# where a program may have added some
LIVE = {"evaluator": ("nasforge.evaluation", "EVALUATORS"), "runner": ("nasforge.runners", "RUNNERS")}
ADDED_TO = ("strategy", "scheduler", "evaluator", "task", "data")  # by plugins


def check(args: argparse.Namespace) -> None:
    """Raise UserError for what a command was given and cannot be carried out, as far as that can be known at once."""
    if args.command in CHECKS:
        CHECKS[args.command](args)
    _check_data(getattr(args, "data", None))
    for option in ("strategy", "scheduler", "evaluator", "fidelity", "runner", "runtime", "precision", "task", "axis"):
        _check_choice(option, getattr(args, option, None))
    for path in _each(getattr(args, "profile", None)):
        _check_profile(path.rpartition("=")[2])


def _check_choice(option: str, value: str | None) -> None:
    """Raise UserError for a value that an option does not take."""
    known = _choices(option)
    if value is not None and known and value not in known:
        raise UserError(f"--{option} {value}: no such {option}; {nearest(value, known)}")


def _choices(option: str) -> list[str]:
    """The names that an option takes; none where plugins may have added some."""
    added = option in ADDED_TO and "nasforge.plugins" in sys.modules
    module, table = LIVE.get(option, ("", ""))
    live = list(getattr(sys.modules[module], table)) if module in sys.modules else []
    return [] if added else list(dict.fromkeys([*parts.stored()["choices"][option], *live]))


def _search(args: argparse.Namespace) -> None:
    raw = {} if args.space is None else space_named(args.space)
    together(map(parse_limit, lifted(_each(args.constraint))[1]))
    for word in _each(args.until):
        parse_limit(word, "--until")
    if (args.scheduler or "").startswith("tune:") and args.runner != "tune":
        got = f"--runner {args.runner}" if args.runner else "none"
        raise UserError(f"--scheduler {args.scheduler}: is one of Ray Tune, which decides in its runner, got {got}; add --runner tune")
    if args.objective is not None:
        parse_objectives(args.objective)
    trackers_named(args.log)
    _check_data(args.data or (raw.get("search") or {}).get("data"))
    for name in _each(args.seed_arch):
        _check_arch(name)
    for run in _each(args.prior):
        check_folder(Path(run))


def _train(args: argparse.Namespace) -> None:
    if args.as_trial:
        return
    _check_arch(args.arch)
    words = parts.words()
    for name in recipe_named(args.recipe, args.arch, args.set):
        if name not in words:
            raise UserError(f"recipe.{name}: no such value in a recipe; {nearest(name, words, 'nasforge recipes')}")
    _check_weights(args.weights)


def _scale(args: argparse.Namespace) -> None:
    if (args.phi is None) == (args.fit is None) and not (args.grid and args.fit is None):
        raise UserError("scale: give either --phi P or --fit METRIC=NUMBER (or --grid, alone or with one of them)")
    if args.grid and args.axis:
        raise UserError("scale: --grid searches all three axes at once; leave --axis out")
    if args.budget and args.budget not in BUDGETS:
        raise UserError(f"--budget: must be one of {', '.join(BUDGETS)}, got {args.budget!r}")
    for word in args.fit.split(",") if args.fit else ():
        name = word.partition("=")[0].strip().rstrip("<")
        if name not in _choices("fit"):
            raise UserError(f"--fit {args.fit}: {name!r} is nothing that a network can be fitted to; {nearest(name, _choices('fit'))}")
    _check_arch(args.arch)


def _network(args: argparse.Namespace) -> None:
    _check_arch(args.arch)
    _check_weights(getattr(args, "weights", None))


def _zoo(args: argparse.Namespace) -> None:
    if args.weights:
        _check_arch(args.weights[0])
        _check_weights(args.weights[1])


def _predict(args: argparse.Namespace) -> None:
    if not os.path.lexists(args.network):
        _check_arch(args.network)


def _locate(args: argparse.Namespace) -> None:
    _check_arch(args.arch)
    space_named(args.space)


def _report(args: argparse.Namespace) -> None:
    for run in (*args.run, *_each(args.against)):
        check_folder(Path(run))


def _bench(args: argparse.Namespace) -> None:
    known = _choices("strategy")
    for name in (word.strip() for word in (args.strategies or "").split(",")):
        if name and known and name not in known:
            raise UserError(f"--strategies {name}: no such strategy; {nearest(name, known)}")


CHECKS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "search": _search, "train": _train, "scale": _scale, "score": _network, "latency": _network, "export": _network, "zoo": _zoo,
    "predict": _predict, "locate": _locate, "report": _report, "bench": _bench, "calibrate": lambda args: space_named(args.space),
    "replay": lambda args: check_folder(Path(args.run)),
}  # fmt: skip


def _each(given: Any) -> Iterable[str]:
    """The words of an option that may be repeated, or not, or not be there."""
    return () if given is None else [given] if isinstance(given, str) else given


def _check_arch(name: str) -> None:
    """Raise UserError where no architecture has this name; of a run, whose reading takes more, where it lies is enough."""
    folder = name.rpartition(":")[0]
    if not (Path(folder or name) / "manifest.json").is_file():
        arch_named(name)


def _check_data(name: Any) -> None:
    known = _choices("data")
    if isinstance(name, str) and known and name not in known and ":" not in name and not os.path.exists(os.path.expanduser(name)):
        raise UserError(f"data: no file or folder {name!r}; valid: {', '.join(known)}")


def _check_weights(path: str | None) -> None:
    if path is not None and not os.path.lexists(path):
        raise UserError(f"{path}: must be a file that can be read, got: there is no such file")


def _check_profile(path: str) -> None:
    try:
        parsed_file(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no latency profile ({error}); make one with calibrate") from None
