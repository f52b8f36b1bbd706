"""A search by one call: the plan, the workers, the display, the report."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

from nasforge.api.data import OPTIONS, data_given, load_data
from nasforge.api.named import arch_named, space_named
from nasforge.api.run import Run
from nasforge.data import Dataset, StoredDataset
from nasforge.errors import UserError, nearest
from nasforge.evaluation.base import Context, Job
from nasforge.evaluation.train import recipe_of
from nasforge.objectives.objective import limits_of
from nasforge.plugins import LOADED
from nasforge.report import report
from nasforge.report.progress import intended, progress
from nasforge.runners import RUNNERS, Runner
from nasforge.search.clock import divided
from nasforge.search.default_space import default_space
from nasforge.search.opening import opening
from nasforge.search.plan import Plan
from nasforge.search.session import search as carry_out
from nasforge.search.settings import DEFAULTS, OTHERS, RUNNING, plan_of
from nasforge.search.study import quiet
from nasforge.tasks import seconds_to_load, task_of

SLOW_S = 2.0  # to load data: processes of this machine then get those of this one
SEVERAL = ("constraint", "until", "profile", "prior", "seed_arch")  # options that are lists; a word alone is a list of one


def search(
    space: str | Path | Mapping[str, Any] | None = None, data: Any = None, *, run: str | Path | None = None, show: bool | str = True,
    page: bool = True, **options: Any,
) -> Run:
    """Search a space for the best networks, and return the run; a run that exists in the folder is continued.

    Args:
        space: a packaged space, a file, or the data of one; default: the packaged one for such data.
        data: what `--data` names, `(x, y)`, arrays by name as in FILE.npz, a data frame, or a data set; default: that of the space, else
            `digits`.
        run: folder of the run, `runs/SPACE` by default.
        show: whether to show how the search proceeds, and notes; "verbose": also each training that ends.
        page: whether to write the page of the run.
        options: those of `nasforge search` by their long names: `trials`, `objective`, `strategy`, `seed`, `control`, `finalists`,
            `workers` ... `constraints` may also be a mapping of limits such as `{"params": 2e4}`, upper ones, and lower ones of what is
            to be large.

    Raises:
        UserError: the search cannot be carried out; nothing is written then.
        KeyboardInterrupt: after writing down what was interrupted, and the page of what there is; the same call continues.
    """
    began = time.monotonic()
    quiet()
    say = (lambda note: print(f"nasforge search: {note}", file=sys.stderr)) if show else (lambda note: None)
    plan, raw, given = planned(space, data, options, say)
    folder = Path(run or f"runs/{plan.name}")
    start_runner = runner_of(plan, {key: given.get(key, default) for key, default in RUNNING.items()}, folder)
    workers = given.get("workers", RUNNING["workers"])
    say("\n  ".join(["this is what was read, and is going to be done:", *opening(plan, raw, plan.load())]))
    say(intended(plan, workers, folder))
    if plan.minutes is not None:
        say(divided(plan.minutes, plan.controlled, workers))
    try:
        with progress(not show, show == "verbose") as shown:
            summary = carry_out(plan, folder, start_runner, shown, workers, began, say)
    except KeyboardInterrupt:
        if page:
            with contextlib.suppress(UserError):  # it was interrupted before there was anything
                report(folder, plan.storage)
        raise
    if page and "joined" not in summary:  # else this driver is not the owner of its study
        report(folder, plan.storage)
    return Run(folder, plan.storage, summary)


def planned(
    space: str | Path | Mapping[str, Any] | None, data: Any, options: Mapping[str, Any], say: Callable[[str], None]
) -> tuple[Plan, dict[str, Any], dict[str, Any]]:
    """Return the plan of a search from the arguments of `search`, the space as it is written, and the options by the names of a plan.

    Raises:
        UserError: the search cannot be carried out.
    """
    given, loaded = _known(options), None
    if space is None:
        space, loaded = _default_for(data, given)
    raw = dict(space) if isinstance(space, Mapping) else space_named(str(space))
    of_space = {} if hasattr(data, "batches") else raw.get("search") or {}
    asked = {**{name: of_space[name] for name in ("task", "data_limit") if name in of_space}, **given}
    of_data = {name: asked[name] for name in OPTIONS if asked.get(name) is not None}
    as_loaded = of_data == {name: given[name] for name in OPTIONS if given.get(name) is not None}
    dataset, source = data_given(data, of_data, raw, loaded=loaded if as_loaded else None)
    name = str(raw.get("name") or "space") if isinstance(space, Mapping) else Path(space).stem
    for plugin in LOADED.values():
        say(str(plugin))
    plan = plan_of(raw, {**given, "data": None if data is None else source.spec}, arch_named, say, dataset)
    return replace(plan, name=name), raw, given


def _default_for(data: Any, given: Mapping[str, Any]) -> tuple[str, Dataset]:
    """The name of the space that is searched for data where none is named, and the data."""
    if data is None:
        raise UserError("search: must have a space or data, got neither; for example nasforge search digits, or --data FOLDER")
    options = {name: given[name] for name in OPTIONS if given.get(name) is not None}
    found = data if hasattr(data, "batches") else load_data(data, **options)
    return default_space(found.spec, found.name), found


def runner_of(plan: Plan, options: Mapping[str, Any], folder: Path | None = None) -> Callable[[], Runner]:
    """Return what starts the runner that is asked for by the options of RUNNING. folder: of the run."""
    name = options["runner"] or ("ray" if options["ray"] else "local")
    if name not in RUNNERS:
        raise UserError(f"--runner {name}: no such runner; {nearest(name, RUNNERS)}")
    of_tune = plan.scheduler.removeprefix("tune:") if plan.scheduler.startswith("tune:") else None
    if of_tune and name != "tune":
        raise UserError(f"--scheduler {plan.scheduler}: is one of Ray Tune, which decides in its runner, got {name}; add --runner tune")
    for option in ("workers", "threads"):
        number = options[option]
        if (option, number) != ("threads", None) and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise UserError(f"--{option}: must be at least 1 and whole, got {number!r}")
    make, takes = RUNNERS[name]
    found = {
        "workers": options["workers"], "threads": options["threads"], "silence_s": options["silence"], "address": options["ray"] or "local",
        "gpus": options["gpus"] if plan.device.startswith("cuda") else 0.0, "scheduler": of_tune, "folder": folder and folder / "tune",
    }  # fmt: skip
    plugins = tuple(plugin.carried for plugin in plan.plugins)
    data = plan.load()
    if of_tune:
        found["epochs"] = recipe_of(Job({}, recipe=plan.recipe), data, task_of(data.spec, data.name)).epochs
    slow = name == "local" and seconds_to_load(data) > SLOW_S  # others are read again, faster than sent
    carried = data if plan.dataset is not None or isinstance(data, StoredDataset) or slow else None
    context = Context(plan.evaluator, plan.data, plan.device, plan.table, carried, plugins, data.key)
    return lambda: make(context, **{option: found[option] for option in takes if option in found})


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options under the names that a plan has for them. Raise UserError for an unknown one."""
    given = dict(options)
    for name in SEVERAL:
        if isinstance(given.get(name), str | Path):
            given[name] = [str(given[name])]
    limits = given.pop("constraints", None) or ()
    if isinstance(limits, Mapping):
        plain = {name: float(v) if isinstance(v, Real) and not isinstance(v, bool) else v for name, v in limits.items()}
        limits = [str(limit) for limit in limits_of(plain)]
    if not isinstance(limits, str | list | tuple):
        raise UserError(f"constraints: must be upper limits by name or a list of words such as 'params<=2e4', got {limits!r}")
    if limits:
        given["constraint"] = [*(given.get("constraint") or ()), *([limits] if isinstance(limits, str) else limits)]
    valid = (*DEFAULTS, *OTHERS, *RUNNING)
    for name in given:
        if name not in valid:
            raise UserError(f"search: unknown option {name!r}; {nearest(name, (*valid, 'constraints'), 'nasforge search --help')}")
    return given
