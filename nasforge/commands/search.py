"""nasforge search: a search from a space file to finalists, report and export."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from nasforge.blocks import BLOCKS
from nasforge.commands.common import arch_and_weights, arch_named, print_json, space_named
from nasforge.commands.progress import progress
from nasforge.commands.train import for_data
from nasforge.errors import UserError, nearest
from nasforge.evaluation.base import EVALUATORS, TOLD, Data, DataSpec, Job, data_of, fit_to_data, recipe_of
from nasforge.evaluation.tables import OURS, read_table
from nasforge.export import export
from nasforge.latency import read_profile
from nasforge.objectives.metrics import Known, metric
from nasforge.objectives.metrics import names as metrics_known
from nasforge.objectives.objective import Limit, Objective, limits_of, parse_limit, parse_objectives
from nasforge.report import report, words
from nasforge.runners.local import LocalRunner
from nasforge.search.plan import Plan
from nasforge.search.session import Runner, search
from nasforge.spaces.arch import Arch
from nasforge.spaces.check import check_arch
from nasforge.strategies.registry import STRATEGIES
from nasforge.strategies.schedulers import FIDELITIES, PRUNERS

DEFAULTS: dict[str, Any] = {
    "data": "digits", "objective": "accuracy,-params", "strategy": "predictor", "evaluator": "train", "pruner": "asha",
    "fidelity": "epochs", "scores": "",
    "trials": 40, "finalists": 4, "final_seeds": 3, "seed_arch": [], "epochs": None, "final_epochs": None, "data_limit": None,
    "control": True,
}  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = plan_of(args)
    folder = Path(args.run or f"runs/{Path(args.space).stem}")
    with progress(quiet=args.json) as show:
        summary = search(plan, folder, lambda: _runner(args, plan), show)
    if "joined" in summary:
        return _tell_joined(summary, args.json)
    report(folder, args.storage)
    exported = _export(args, folder, summary)
    if args.json:
        print_json({**summary, "report": str(folder / "report.html"), "exported": exported})
    else:
        print(words(folder, args.storage))
        print(
            f"\nreport: {folder / 'report.html'}"
            + (f"\nexport: {exported['path']}, largest difference {exported['largest_difference']:.2g}" if exported else "")
        )
    return 0


def plan_of(args: argparse.Namespace) -> Plan:
    """The plan: the command line, then the space file's `search` and `constraints`, then defaults."""
    raw = space_named(args.space)
    check_arch(raw, BLOCKS)
    asked = _asked(args, raw.get("search") or {})
    spec = DataSpec(asked["data"], asked["data_limit"], 0, args.allow_code)
    data = data_of(spec)
    looked_up = _table(args) if asked["evaluator"] == "table" else None
    space = fit_to_data(raw, data) if looked_up is None else raw  # a table is of the space as it is
    if asked["data"] != (raw.get("search") or {}).get("data", asked["data"]) and args.seed_arch is None and asked["seed_arch"]:
        note = f"baselines {', '.join(asked['seed_arch'])} belong to the space's own data; name some with --seed-arch to compare with them"
        print(f"nasforge search: {note}", file=sys.stderr)
        asked["seed_arch"] = []
    for name, table in (("strategy", STRATEGIES), ("pruner", PRUNERS), ("evaluator", EVALUATORS), ("fidelity", FIDELITIES)):
        if asked[name] not in table:
            raise UserError(f"--{name} {asked[name]}: no such {name}; {nearest(asked[name], table)}")
    if asked["fidelity"] != "epochs" and PRUNERS[asked["pruner"]].brackets is None:
        raise UserError(f"--fidelity {asked['fidelity']}: grows at rungs where trainings pause; add --pruner halving or hyperband")
    for name in ("trials", "finalists", "final_seeds"):
        if not isinstance(asked[name], int) or asked[name] < 1:
            raise UserError(f"--{name.replace('_', '-')}: must be a whole number >= 1, got {asked[name]!r}")
    limits = {(x.metric, x.upper): x for x in (*limits_of(raw.get("constraints")), *map(parse_limit, args.constraint or []))}
    objectives = tuple(parse_objectives(asked["objective"]))
    if data.train.y.ndim < 3 and any("miou" in o.reads for o in objectives):
        raise UserError(f"--objective: miou is for label maps, {data.name} has classes; take accuracy")
    scores = _scores(asked["scores"], asked["strategy"], asked["evaluator"])
    profiles = _profiles(args.profile or [])
    _check_told(asked["evaluator"], objectives, limits.values(), profiles)
    plan = Plan(
        space=space,
        data=spec,
        objectives=objectives,
        limits=tuple(limits.values()),
        strategy=asked["strategy"],
        evaluator=asked["evaluator"],
        pruner=asked["pruner"],
        fidelity=asked["fidelity"],
        trials=asked["trials"],
        seed=args.seed,
        recipe={} if asked["epochs"] is None else {"epochs": asked["epochs"]},
        final_recipe={} if asked["final_epochs"] is None else {"epochs": asked["final_epochs"]},
        baselines={word: _baseline(name, data) for word, name in _plain_names(asked["seed_arch"]).items()},
        finalists=asked["finalists"],
        final_seeds=asked["final_seeds"],
        control=asked["control"],
        device=args.device,
        storage=args.storage,
        prior=tuple(args.prior or ()),
        inherit=args.inherit,
        scores=scores,
        profiles=profiles,
        table=looked_up,
    )
    for full, recipe in ((False, plan.recipe), (True, plan.final_recipe)):
        recipe_of(Job({}, spec, full=full, recipe=recipe), data)  # a wrong number is told before anything is written
    return plan


def _asked(args: argparse.Namespace, of_space: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [k for k in of_space if k not in DEFAULTS]
    if unknown:
        raise UserError(f"search.{unknown[0]}: unknown key; {nearest(unknown[0], DEFAULTS)}")
    given = {k: v for k, v in vars(args).items() if k in DEFAULTS and v is not None}
    if args.no_control:
        given["control"] = False
    return {**DEFAULTS, **of_space, **given}


def _table(args: argparse.Namespace) -> tuple[str, str, str]:
    """The table that is looked up, and its columns: selected, reported."""
    of = read_table(Path(args.table) if args.table else OURS)
    if of.minimize:
        raise UserError(f"--table {args.table}: must hold accuracies, got losses of cells; `nasforge bench` compares strategies on them")
    select, report = args.select or of.usual[0], args.report or of.usual[1]
    of.column(select, "--select")
    of.column(report, "--report")
    return str(args.table or OURS), select, report


def _scores(asked: str | Sequence[str], strategy: str, evaluator: str) -> tuple[str, ...]:
    """The zero-cost scores that are asked for: with commas between, or a list in a space file."""
    asked = asked if isinstance(asked, str) else ",".join(map(str, asked))
    names = tuple(dict.fromkeys(n.strip() for n in asked.split(",") if n.strip()))
    for name in names:
        if name not in metrics_known(Known.ZERO_COST):
            raise UserError(f"--scores {asked}: {name!r} is no zero-cost score; {nearest(name, metrics_known(Known.ZERO_COST))}")
    if names and (strategy, evaluator) != ("predictor", "train"):
        got = f"--strategy {strategy} --evaluator {evaluator}"
        raise UserError(f"--scores {asked}: are read by --strategy predictor beside --evaluator train, got {got}")
    return names


def _profiles(words: Sequence[str]) -> dict[str, str]:
    """The files of device profiles by device: `FILE` is this machine's, `NAME=FILE` another device's."""
    out: dict[str, str] = {}
    for word in words:
        name, _, path = word.rpartition("=")
        if name in out:
            raise UserError(
                f"--profile {word}: {name or 'this machine'} has two profiles; give each device a name of its own, as NAME=FILE"
            )
        read_profile(path)
        out[name] = path
    return out


def _check_told(evaluator: str, objectives: Sequence[Objective], limits: Iterable[Limit], profiles: Iterable[str]) -> None:
    """Raises UserError where the evaluator never finds out a metric that is asked for."""
    known = {*TOLD[evaluator], *metrics_known(Known.PAPER, Known.MEASURED), *(f"latency_ms@{name}" for name in profiles if name)}
    for name in {name for o in objectives for name in o.reads} | {limit.metric for limit in limits}:
        if metric(name).known is Known.PREDICTED and name not in known:
            device = name.partition("@")[2]
            raise UserError(f"{name}: needs the profile of that device; add --profile {device}=FILE (nasforge calibrate makes one)")
        if name not in known:
            raise UserError(
                f"--evaluator {evaluator}: does not tell {name}; it tells {', '.join(sorted(TOLD[evaluator]))}, costs and latency"
            )


def _baseline(name: str, data: Data) -> Arch:
    """A baseline for the data: the network in its small form where the images are small."""
    arch = arch_named(name)
    return for_data(arch, data)


def _plain_names(names: list[str]) -> dict[str, str]:
    """Each baseline by a file name of its own: a path gives its stem, RUN:NAME its NAME."""
    out: dict[str, str] = {}
    for name in names:
        base = word = Path(name.rpartition(":")[2]).stem
        if word.isdigit() or word.startswith(("finalist", "control")):
            base = word = f"baseline_{word}"
        number = 2
        while word in out:
            word, number = f"{base}_{number}", number + 1
        out[word] = name
    return out


def _tell_joined(summary: dict[str, Any], as_json: bool) -> int:
    """Say what a driver did that is not the owner of its study."""
    if as_json:
        print_json(summary)
    else:
        print(f"{summary['joined']} has its trials ({summary['finished']} finished); the driver that began it trains the finalists")
    return 0


def _runner(args: argparse.Namespace, plan: Plan) -> Runner:
    if args.ray:
        from nasforge.runners.ray_actors import RayRunner  # heavy, and only here

        gpus = args.gpus if plan.device.startswith("cuda") else 0.0
        return RayRunner(args.ray, args.workers, args.threads, plan.evaluator, gpus=gpus, silence_s=args.silence, data=plan.data)
    if args.workers < 1:
        raise UserError(f"--workers: must be at least 1, got {args.workers}")
    return LocalRunner(args.workers, args.threads, plan.evaluator, plan.device, silence_s=args.silence)


def _export(args: argparse.Namespace, folder: Path, summary: dict[str, Any]) -> dict[str, Any] | None:
    if not args.export or not summary.get("best"):
        return None
    from safetensors.torch import load_file

    arch, weights = arch_and_weights(f"{folder}:{summary['best']['name']}")
    done = export(arch, load_file(weights) if weights else None, args.export, folder / "export", name=summary["best"]["name"])
    return {"path": str(done.path), "largest_difference": done.largest_difference}
