"""The command lines with which a run goes on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasforge.plugins import copies
from nasforge.report.format import times
from nasforge.report.noise import as_good
from nasforge.report.run import Run
from nasforge.search.plan import BASELINES, PLUGINS
from nasforge.search.settings import defaults

OF_DATA = ("data", "data_limit", "task", "target", "image_size", "skip_broken", "data_memory", "allow_code")
ONE_OPTION = ("prior", "seed_arch")  # that takes several values; others are repeated


def go_on(run: Run) -> list[tuple[str, str]]:
    """Return (what for, command) for taking the winner away, training it again, and going on with the search."""
    folder, best, leader = str(run.folder), run.best(), run.leader()
    out = []
    if best is not None:
        take = ["export", folder, "--to", "python", "--out", "exported", *_plugins(run)]
        out.append(("Take the winner away as one readable Python file (or onnx, torch)", _line(take)))
        if small := as_good(run):
            name, ratio = small.row["name"], times(small.ratio)
            take = ["export", f"{folder}:{name}", "--to", "python", "--out", f"exported-{name}", *_plugins(run)]
            out.append((f"Take {name} away instead, as good within the noise and {ratio} times smaller", _line(take)))
        out.append((f"Train {best['name']} once more, with another seed", _train(run, str(best["name"]))))
    if leader is not None:
        show = ["show", f"{folder}:{leader.number}", *_plugins(run)]
        out.append((f"Layers and costs of trial {leader.number}, or of any other", _line(show)))
    options = _options(run)
    timed = run.manifest.get("minutes")
    unit, name, amount = ("much time", "minutes", timed) if timed else ("many trials", "trials", run.asked)
    more = amount if run.summary is None else 2 * amount
    why = "Go on where the search stopped" if run.summary is None else f"Search on with twice as {unit}; what is done is kept"
    out.append((why, _search(run, {**options, name: more}, "")))
    out.append(("Do the whole search again, from the same space, data and seed", _search(run, {**options, name: amount}, "-again")))
    return out


def _line(parts: list[str]) -> str:
    return shlex.join(["nasforge", *parts])


def _search(run: Run, options: Mapping[str, Any], suffix: str) -> str:
    """The command that searches with these options into the folder of the run, or into one beside it."""
    place, folder = _place(run)
    space, into = str(folder / "space.yaml"), f"{folder}{suffix}"
    if _in_python(run):
        return _call("search", {**options, "run": into}, space)
    words = [word for name, value in options.items() for word in _words(name, value)]
    return place + _line(["search", space, *_data(run), *words, "--run", into])


def _train(run: Run, name: str) -> str:
    place, folder = _place(run)
    device = run.manifest.get("device", "cpu")
    if _in_python(run):
        return _call("train", {"seed": 100, **({} if device == "cpu" else {"device": device})}, f"{folder}:{name}")
    on = [] if device == "cpu" else ["--device", device]
    return place + _line(["train", f"{folder}:{name}", *_data(run), "--seed", "100", *on])


def _place(run: Run) -> tuple[str, Path]:
    """Where paths that were given mean what they meant: the words that go there, and the folder of the run seen from there."""
    given_in = run.manifest.get("given_in")
    if not isinstance(given_in, str) or Path(given_in) == Path.cwd() or not Path(given_in).is_dir():
        return "", run.folder
    return f"cd {shlex.quote(given_in)} && ", run.folder.resolve()


def _in_python(run: Run) -> bool:
    """Whether the data were given to `nasforge.search` as themselves."""
    return _command(run).get("data", "") is None


def _call(function: str, options: Mapping[str, Any], first: str) -> str:
    """The call from Python, where no command line can name the data."""
    named = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"nasforge.{function}({first!r}, data, {named})"


def _command(run: Run) -> Mapping[str, Any]:
    found = run.manifest.get("command")
    return found if isinstance(found, dict) else {}


def _options(run: Run) -> dict[str, Any]:
    """The options of the search, by their names, that differ from what they are where nothing is said."""
    told: dict[str, Any] = run.manifest
    usual = {**defaults(told.get("minutes")), **_of_space(run)}
    found = {"objective": ",".join(told["objectives"]), "constraint": told["constraints"], **(_command(run) or _older(run, usual))}
    if baselines := told.get("baselines"):
        found["seed_arch"] = [_baseline(run, name) for name in baselines]
    if told.get("evaluator") == "table" and isinstance(columns := told.get("table"), list) and len(columns) == 2:
        found |= {"select": columns[0], "report": columns[1]}
    return {name: value for name, value in found.items() if name not in OF_DATA and name in usual and value != usual[name]}


def _of_space(run: Run) -> Mapping[str, Any]:
    found = run.space.data.get("search")
    return found if isinstance(found, dict) else {}


def _older(run: Run, usual: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run whose manifest does not have them as they were given."""
    told: dict[str, Any] = run.manifest
    same = ("strategy", "evaluator", "fidelity", "seed", "finalists", "final_seeds", "inherit", "scores", "prior", "device")
    found = {name: told[name] for name in same if name in told} | {"scheduler": told.get("pruner", usual["scheduler"])}
    for name, recipe in (("epochs", "recipe"), ("final_epochs", "final_recipe")):
        found[name] = told.get(recipe, {}).get("epochs")
    found["profile"] = [f"{device}=FILE" if device else "FILE" for device in told.get("profiles", {})]  # where they lie is not known
    found["storage"] = told.get("storage_url")
    found["control"] = run.control is not None or (told.get("control", False) and told["strategy"] != "random")
    return {name: value for name, value in found.items() if value or name in ("seed", "control")}


def _baseline(run: Run, name: str) -> str:
    """The file of a baseline in the folder of the run; its name where it has none, which then is a documented network."""
    _, folder = _place(run)
    files = [folder / BASELINES / f"{name}.yaml", folder / "finalists" / f"{name}.yaml"]
    return next((str(file) for file in files if file.is_file()), name)


def _words(name: str, value: Any) -> list[str]:
    """An option of the command line with its value."""
    option = f"--{name.replace('_', '-')}"
    if value is True:
        return [option]
    if value is False:
        return [f"--no-{name}"] if name == "control" else []
    if name == "objective":  # may begin with a minus
        return [f"{option}={value}"]
    if name == "scores" and isinstance(value, list):
        return [option, ",".join(map(str, value))]
    if not isinstance(value, list):
        return [option, f"{value:.15g}" if isinstance(value, float) else str(value)]
    if name in ONE_OPTION:
        return [option, *map(str, value)] if value else []
    return [word for one in value for word in (option, str(one))]


def _data(run: Run) -> list[str]:
    data = run.manifest["data"]
    given = [
        ("--data-limit", data.get("limit")), ("--task", data.get("task")), ("--target", data.get("target")),
        ("--data-memory", _command(run).get("data_memory")),
    ]  # fmt: skip
    options = [word for option, value in given if value is not None for word in (option, str(value))]
    if size := data.get("image_size"):
        options += ["--image-size", "x".join(map(str, size))]
    if data.get("skip_broken"):
        options.append("--skip-broken")
    plugins = _plugins(run)
    return ["--data", data["spec"], *options, *(plugins or (["--allow-code"] if data.get("allow_code") else []))]


def _plugins(run: Run) -> list[str]:
    """The options that load the plugins of a run again."""
    files = copies(run.manifest.get("plugins", ()), run.folder / PLUGINS)
    return [word for file in files for word in ("--plugin", file)] + ["--allow-code"] * bool(files)
