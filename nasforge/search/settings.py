"""From what a user asks for to the plan of a search: the rules, and the errors that say what to change, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from nasforge.blocks import BLOCKS
from nasforge.data import Dataset, Source
from nasforge.errors import UserError, nearest
from nasforge.evaluation import EVALUATORS
from nasforge.evaluation.base import Job
from nasforge.evaluation.tables import OURS, read_table
from nasforge.evaluation.train import fit_to_data, for_data, reads, recipe_of
from nasforge.latency import read_profile
from nasforge.latency.runtimes import PACKAGES, RUNTIMES, TORCH_OWN
from nasforge.networks.build import build
from nasforge.objectives.metrics import Known, Metric, is_metric, metric, names
from nasforge.objectives.objective import LIFTED, Limit, Objective, limits_of, parse_limit, parse_objectives
from nasforge.plugins import LOADED
from nasforge.search.default_space import default_space
from nasforge.search.plan import Plan
from nasforge.spaces.arch import Arch
from nasforge.spaces.check import check_arch
from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.space import Choices, Space
from nasforge.storage.open import without_password
from nasforge.strategies.registry import check_strategy
from nasforge.strategies.schedulers import FIDELITIES, scheduler_names, scheduler_of
from nasforge.tasks import Task, forward, load_data, task_of
from nasforge.trackers import trackers_named
from nasforge.train import checked_device

MOST_TRIED = 20  # random networks whose output is looked at before a search begins
# what `search:` of a space file may say, and the command line, which goes before it
DEFAULTS: dict[str, Any] = {
    "data": "digits", "task": None, "target": None, "objective": None, "strategy": "predictor", "evaluator": "train",
    "scheduler": "asha", "fidelity": "epochs", "scores": "", "trials": 40, "finalists": 4, "final_seeds": 3, "seed_arch": [],
    "epochs": None, "final_epochs": None, "data_limit": None, "control": False, "minutes": None,
}  # fmt: skip
ALIASES = {"pruner": "scheduler"}  # names in older files
OTHERS: dict[str, Any] = {  # what the command line alone may say
    "allow_code": False, "constraint": (), "profile": (), "table": None, "select": None, "report": None, "seed": 0, "device": "cpu",
    "storage": None, "prior": (), "inherit": False, "image_size": None, "image_fit": None, "skip_broken": False, "data_memory": None,
    "until": (), "runtime": "eager", "log": None,
}  # fmt: skip
RUNNING: dict[str, Any] = {  # what decides how a search is carried out, not what it finds
    "runner": None, "workers": 1, "threads": None, "silence": 7200.0, "ray": None, "gpus": 1.0,
}  # fmt: skip
INHERIT = ("copy", "grow", "shrink")
TIMED = {"trials": 10_000, "finalists": 2, "final_seeds": 1}  # defaults where the minutes are given


def plan_of(
    raw: Mapping[str, Any],
    given: Mapping[str, Any],
    find: Callable[[str], Arch],
    say: Callable[[str], None],
    dataset: Dataset | None = None,
) -> Plan:
    """Return the plan: what is given, then the space's own `search` and `constraints`, then defaults.

    Args:
        raw: the space.
        given: options by name, those of DEFAULTS and OTHERS; None counts as not given.
        find: the architecture of a name, for baselines.
        say: takes a note for the user.
        dataset: the data themselves, instead of a source of them.

    Raises:
        UserError: something is unknown, or does not fit the data, the task or the evaluator.
    """
    check_arch(raw, BLOCKS)
    of_space = {ALIASES.get(k, k): v for k, v in (raw.get("search") or {}).items()}
    unknown = [k for k in of_space if k not in DEFAULTS]
    if unknown:
        raise UserError(f"search.{unknown[0]}: unknown key; {nearest(unknown[0], DEFAULTS, 'nasforge search --help')}")
    said = {**of_space, **{k: v for k, v in given.items() if v is not None}}
    timed = _checked_minutes(said.get("minutes"))
    if timed is not None and "minutes" not in of_space:  # what the space says of trials and finals is for as long as they take
        said = {k: v for k, v in said.items() if k not in TIMED or given.get(k) is not None}
    asked = {**defaults(timed), **said}
    if dataset is not None:
        asked["data"] = dataset.name
    own_limits, limits_asked = lifted(raw.get("constraints"), asked["constraint"])
    for option, words in (("--constraint", limits_asked), ("--until", asked["until"])):  # before data are read, which takes longer
        for word in words:
            parse_limit(word, option)
    log = trackers_named(asked["log"])
    checked_device(asked["device"], here=asked.get("ray") in (None, "local"))  # a cluster has its own
    source = Source.of(asked, reads(raw))
    data = load_data(source) if dataset is None else dataset
    task = task_of(data.spec, data.name)
    for note in data.spec.notes:
        say(f"{data.name}: {note}")
    looked_up = _table(asked, Space(raw)) if asked["evaluator"] == "table" else None
    space = raw  # a table is of the space as it is
    if looked_up is None:
        try:
            space = fit_to_data(raw, data)
        except UserError as error:
            raise UserError(f"{error}{_for_such(data)}") from None
        check_outputs(Space(space), data, task)
    if timed is not None and given.get("seed_arch") is None:
        asked["seed_arch"] = []  # the time is for what is searched
    if asked["data"] != of_space.get("data", asked["data"]) and given.get("seed_arch") is None and asked["seed_arch"]:
        baselines = ", ".join(asked["seed_arch"])
        say(f"baselines {baselines} belong to the space's own data; name some with --seed-arch to compare with them")
        asked["seed_arch"] = []
    check_strategy(asked["strategy"])
    for name, table in (("scheduler", scheduler_names()), ("evaluator", EVALUATORS), ("fidelity", FIDELITIES)):
        if asked[name] not in table:
            raise UserError(f"--{name} {asked[name]}: no such {name}; {nearest(asked[name], table)}")
    if asked["fidelity"] != "epochs" and not scheduler_of(asked["scheduler"]).pauses:
        raise UserError(f"--fidelity {asked['fidelity']}: grows at rungs where trainings pause; add --scheduler halving or hyperband")
    for name in ("trials", "finalists", "final_seeds"):
        if not isinstance(asked[name], int) or asked[name] < 1:
            raise UserError(f"--{name.replace('_', '-')}: must be a whole number >= 1, got {asked[name]!r}")
    limits = {(x.metric, x.upper): x for x in (*own_limits, *map(parse_limit, limits_asked))}
    main_and_params = f"{'' if task.main.maximize else '-'}{task.main.name},-params"
    objectives = tuple(parse_objectives(asked["objective"] or main_and_params))
    told = {m.name for m in EVALUATORS[asked["evaluator"]]().metrics(task)}
    foreign = sorted({n for o in objectives for n in o.reads if metric(n).known is Known.TRAINED} - told)
    if foreign and given.get("objective") is None:
        say(f"the space's objective {asked['objective']} needs {', '.join(foreign)}, which {data.name} has not; {main_and_params} instead")
        objectives = tuple(parse_objectives(main_and_params))
    for one in objectives:
        if is_metric(one.base) and one.maximize != metric(one.base).maximize:
            more, sign = ("larger", "-") if one.maximize else ("smaller", "")
            say(f"--objective {one}: the {more} the {metric(one.base).title}, the better; {sign}{one.metric} is the other way round")
    until = tuple(parse_limit(text, "--until") for text in asked["until"])
    scores = _scores(asked["scores"], asked["strategy"], asked["evaluator"])
    profiles = _profiles(asked["profile"])
    _check_known(EVALUATORS[asked["evaluator"]]().metrics(task), asked["evaluator"], task, objectives, (*limits.values(), *until), profiles)
    for device, path in profiles.items():
        own = read_profile(path).input
        if own is not None and list(own) != list(space.get("input", own)):
            shapes = ["x".join(map(str, one)) for one in (own, space["input"])]
            say(f"--profile {f'{device}=' if device else ''}{path}: was measured with inputs of {shapes[0]}, the search reads {shapes[1]}; "
                "predictions are carried over by the amounts of work: calibrate with --data for sharper ones")  # fmt: skip
    plan = Plan(
        space=space,
        data=source,
        objectives=objectives,
        limits=tuple(limits.values()),
        strategy=asked["strategy"],
        evaluator=asked["evaluator"],
        scheduler=asked["scheduler"],
        fidelity=asked["fidelity"],
        trials=asked["trials"],
        seed=asked["seed"],
        recipe={} if asked["epochs"] is None else {"epochs": asked["epochs"]},
        final_recipe={} if asked["final_epochs"] is None else {"epochs": asked["final_epochs"]},
        baselines={word: for_data(find(name), data) for word, name in _plain_names(asked["seed_arch"]).items()},
        finalists=asked["finalists"],
        final_seeds=asked["final_seeds"],
        control=asked["control"],
        device=str(asked["device"]),
        storage=asked["storage"],
        prior=tuple(asked["prior"]),
        inherit=_inherit(asked["inherit"]),
        scores=scores,
        profiles=profiles,
        runtime=_checked_runtime(asked["runtime"], asked["device"]),
        table=looked_up,
        dataset=dataset,
        plugins=tuple(LOADED.values()),
        minutes=timed,
        until=until,
        command=_command(given, dataset is not None),
        log=log,
    )
    _check_recipes(plan, data, task)
    return plan


def lifted(own: Mapping[str, Any] | None, words: Sequence[str]) -> tuple[list[Limit], list[str]]:
    """Return the limits of a space that hold, and the words of limits that were asked for: beside the word `none` the space has none."""
    return [] if LIFTED in words else limits_of(own), [word for word in words if word != LIFTED]


def _check_recipes(plan: Plan, data: Dataset, task: Task) -> None:
    """Raise UserError where no network could be trained for its recipe: of some random ones each has a wrong value, or a baseline has."""
    for arch in plan.baselines.values():
        recipe_of(Job(arch, full=True, recipe=plan.final_recipe), data, task)
    for full, changes in ((False, plan.recipe), (True, plan.final_recipe)):
        rng, space = Random(0), Space(plan.space)
        for tried in range(1, MOST_TRIED + 1):
            try:
                recipe_of(Job(space.draw(random_chooser(rng))[0], full=full, recipe=changes), data, task)
                break
            except UserError:  # values that the space leaves open may be wrong in some networks
                if tried == MOST_TRIED:
                    raise


def defaults(minutes: float | None) -> dict[str, Any]:
    """Return the value of each option where neither the command line nor the space says one."""
    return {**DEFAULTS, **OTHERS, **RUNNING, **(TIMED if minutes is not None else {})}


def _command(given: Mapping[str, Any], in_python: bool) -> dict[str, Any]:
    """What was asked for, as plain data: options of DEFAULTS where something was said, others where that is not the default anyway.

    in_python: the data were given as themselves; no command line names them.
    """
    usual = {**OTHERS, **RUNNING}
    said = {k: v for k, v in given.items() if v is not None and (k in DEFAULTS or (k in usual and v != usual[k] and v != []))}
    if "storage" in said:
        said["storage"] = without_password(str(said["storage"]))
    plain = json.loads(json.dumps(said, default=str))
    return {**plain, "data": None} if in_python else plain


def _inherit(word: Any) -> str:
    given = {None: "", False: "", True: "copy"}.get(word, word)
    if given not in ("", *INHERIT):
        raise UserError(f"--inherit: must be one of {', '.join(INHERIT)}, got {word!r}")
    return given


def _checked_minutes(minutes: Any) -> float | None:
    if minutes is None:
        return None
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0.1 <= minutes < 1e6:
        raise UserError(f"--minutes {minutes}: must be a number of minutes, at least 0.1")
    return float(minutes)


def check_outputs(space: Space, data: Dataset, task: Task) -> None:
    """Raise UserError where no network of a space gives what the task reads: of some random ones, none that can be built."""
    rng, misfit = Random(0), None
    batch = next(data.batches("train", 2)).to("meta")
    for _ in range(MOST_TRIED):
        arch, _ = space.draw(random_chooser(rng))
        try:
            network = build(arch, "meta").eval()
        except UserError:  # the search says how many cannot be built
            continue
        try:
            task.check(forward(network, batch), batch)
            return
        except UserError as error:
            misfit = error
        except (RuntimeError, ValueError, TypeError, NotImplementedError):  # what cannot run on meta is judged when it is trained
            return
    if misfit is not None:
        raise misfit


def _table(asked: Mapping[str, Any], space: Space) -> tuple[str, str, str]:
    """The table that is looked up, and its columns: selected, reported. Raise UserError where it is of another space."""
    table = read_table(Path(asked["table"]) if asked["table"] else OURS)
    if table.minimize:
        raise UserError(f"--table {asked['table']}: must hold accuracies, got losses; `nasforge bench` compares strategies on them")
    select, report = asked["select"] or table.usual[0], asked["report"] or table.usual[1]
    table.column(select, "--select")
    table.column(report, "--report")
    if not any(_in_space(dict(row), space) for row in table.rows):
        names = ", ".join(name for name, _ in next(iter(table.rows), ()))
        raise UserError(
            f"--table {asked['table'] or OURS}: holds no network of this space; its choices are {names or 'none'}; "
            "search the space that the table was made for, or give its own table"
        )
    return str(asked["table"] or OURS), select, report


def _in_space(choices: Choices, space: Space) -> bool:
    """Whether these choices, and no others, are what a space asks."""
    try:
        return space.draw(replay(choices))[1] == choices
    except UserError:
        return False


def _scores(asked: str | Sequence[str], strategy: str, evaluator: str) -> tuple[str, ...]:
    """The zero-cost scores that are asked for: with commas between, or a list in a space file."""
    asked = asked if isinstance(asked, str) else ",".join(map(str, asked))
    found = tuple(dict.fromkeys(n.strip() for n in asked.split(",") if n.strip()))
    for name in found:
        if name not in names(Known.ZERO_COST):
            raise UserError(f"--scores {asked}: {name!r} is no zero-cost score; {nearest(name, names(Known.ZERO_COST))}")
    if found and (strategy, evaluator) != ("predictor", "train"):
        got = f"--strategy {strategy} --evaluator {evaluator}"
        raise UserError(f"--scores {asked}: are read by --strategy predictor beside --evaluator train, got {got}")
    return found


def _for_such(data: Dataset) -> str:
    """In words, which packaged space is for such data."""
    try:
        return f"; {default_space(data.spec, data.name)} is for such data"
    except UserError:
        return ""


def _checked_runtime(name: str, device: str) -> str:
    """A runtime of latency that is there. Raises UserError for another one, before anything is trained."""
    if name not in RUNTIMES:
        raise UserError(f"--runtime {name}: no such runtime; {nearest(name, RUNTIMES)}")
    if name not in TORCH_OWN and not device.startswith("cpu"):
        raise UserError(f"--runtime {name}: runs on the processor only, got --device {device}; measure with eager or compile there")
    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        raise UserError(f"--runtime {name}: needs the package {PACKAGES[name]}, which is not installed; pip install 'nasforge[{name}]'")
    return name


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


def _check_known(
    told: Sequence[Metric], evaluator: str, task: Task, objectives: Sequence[Objective], limits: Iterable[Limit], profiles: Iterable[str]
) -> None:
    """Raise UserError where a metric that is asked for is never known: of another task, or of a device without a profile."""
    own = [m.name for m in told]
    known = {*own, *names(Known.PAPER, Known.MEASURED), *(f"latency_ms@{name}" for name in profiles if name)}
    for name in {name for o in objectives for name in o.reads} | {limit.metric for limit in limits}:
        if name in known:
            continue
        if metric(name).known is Known.PREDICTED:
            device = name.partition("@")[2]
            raise UserError(f"{name}: needs the profile of that device; add --profile {device}=FILE (nasforge calibrate makes one)")
        if evaluator == "train":
            raise UserError(f"{name}: is never known, the task {task.name} has no {name}; it has {', '.join(own)}, costs and latency")
        raise UserError(f"--evaluator {evaluator}: does not find out {name}; it finds out {', '.join(sorted(own))}, costs and latency")


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
