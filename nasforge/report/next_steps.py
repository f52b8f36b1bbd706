"""The command lines with which a run goes on."""

from __future__ import annotations

import shlex
from typing import Any

from nasforge.plugins import copies
from nasforge.report.run import Run
from nasforge.search.plan import PLUGINS
from nasforge.search.settings import DEFAULTS, TIMED

OPTIONS = {  # by their names in a manifest: the option and its default
    "strategy": ("--strategy", "predictor"), "evaluator": ("--evaluator", "train"), "pruner": ("--scheduler", "asha"),
    "fidelity": ("--fidelity", "epochs"), "seed": ("--seed", 0),
}  # fmt: skip


def go_on(run: Run) -> list[tuple[str, str]]:
    """Return (what for, command) for taking the winner away, training it again, and going on with the search."""
    folder, best = str(run.folder), run.best()
    out = []
    if best is not None:
        out += [
            (
                "Take the winner away as one readable Python file (or onnx, torch)",
                ["export", folder, "--to", "python", "--out", "exported", *_plugins(run)],
            ),
            (
                f"Train {best['name']} once more, with another seed",
                ["train", f"{folder}:{best['name']}", *_data(run), "--seed", "100"],
            ),
        ]
    leader = run.leader()
    if leader is not None:
        out.append((f"Layers and costs of trial {leader.number}, or of any other", ["show", f"{folder}:{leader.number}", *_plugins(run)]))
    minutes = run.manifest.get("minutes")
    unit, option, amount = ("much time", "--minutes", minutes) if minutes else ("many trials", "--trials", run.asked)
    more = amount if run.summary is None else 2 * amount
    why = "Go on where the search stopped" if run.summary is None else f"Search on with twice as {unit}; what is done is kept"
    out.append((why, [*_search(run), option, f"{more:g}", "--run", folder]))
    again = [*_search(run), option, f"{amount:g}", "--run", f"{folder}-again"]
    out.append(("Do the whole search again, from the same space, data and seed", again))
    return [(words, shlex.join(["nasforge", *parts])) for words, parts in out]


def _search(run: Run) -> list[str]:
    """The search command without trials and run folder."""
    told: dict[str, Any] = run.manifest
    parts = ["search", str(run.folder / "space.yaml"), *_data(run), "--objective=" + ",".join(told["objectives"])]
    for limit in told["constraints"]:
        parts += ["--constraint", limit]
    for name, (option, default) in OPTIONS.items():
        if told.get(name, default) != default:
            parts += [option, str(told[name])]
    for option, recipe in (("--epochs", "recipe"), ("--final-epochs", "final_recipe")):
        if "epochs" in told.get(recipe, {}):
            parts += [option, str(told[recipe]["epochs"])]
    usual = {**DEFAULTS, **(TIMED if told.get("minutes") else {})}
    for name in ("finalists", "final_seeds"):
        if told.get(name, usual[name]) != usual[name]:
            parts += [f"--{name.replace('_', '-')}", str(told[name])]
    if told.get("inherit"):
        parts.append("--inherit")
    if told.get("scores"):
        parts += ["--scores", ",".join(told["scores"])]
    for device in told.get("profiles", {}):  # the manifest knows their times, not where their files lie
        parts += ["--profile", f"{device}=FILE" if device else "FILE"]
    if told.get("prior"):
        parts += ["--prior", *told["prior"]]
    if told.get("baselines"):
        parts += ["--seed-arch", *told["baselines"]]
    if run.control is not None:
        parts.append("--control")
    return parts


def _data(run: Run) -> list[str]:
    data = run.manifest["data"]
    given = [("--data-limit", data.get("limit")), ("--task", data.get("task")), ("--target", data.get("target"))]
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
