"""What trainings and searches give that must not change under a refactoring: learning curves, and the choices that strategies ask for.

`python tests/golden/record.py FILE` writes them with all digits; two such files are the same before and after a refactoring. The tests
compare with `golden.json`, which `--short` wrote: choices exactly, curves up to what another processor rounds otherwise.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasforge.data import Source, load
from nasforge.evaluation.base import Context, Decision, Report, Result, Stop
from nasforge.evaluation.train import fit_to_data
from nasforge.networks.build import build, key
from nasforge.networks.cost import count
from nasforge.objectives.objective import parse_limit, parse_objectives
from nasforge.runners.inline import InlineRunner
from nasforge.search.plan import Plan
from nasforge.search.session import search
from nasforge.search.study import quiet
from nasforge.spaces.choosers import random_chooser
from nasforge.spaces.files import find_space, read
from nasforge.spaces.space import Space
from nasforge.tasks import load_data, task_of
from nasforge.train import Recipe, default_recipe, fit, score

SPACES = {"digits": "digits", "mixed": "pictures", "sequence": "digits", "unet": "maps"}  # and what each is trained on
OBJECTIVES = {"digits": "accuracy,-params", "mixed": "accuracy,-macs", "sequence": "accuracy", "unet": "miou,-params"}
RECIPES: dict[str, dict[str, Any]] = {
    "short": {"epochs": 2},
    "whole": {"epochs": 3, "early_stopping": 1, "grad_clip": None, "data_fraction": 0.5},
    "mixed up": {"epochs": 2, "augment": {"mixup": 0.2}, "init": "he", "optimizer": "nesterov", "schedule": "onecycle", "ema": None},
    "small": {"epochs": 2, "resolution": 0.5},
}


def written(folder: Path) -> dict[str, str]:
    """Data sets by name: digits, and random pictures and label maps with something to learn, written into a folder."""
    rng = np.random.default_rng(0)
    y = np.arange(160) % 4
    x = (rng.integers(0, 120, (160, 3, 32, 32)) + 30 * y[:, None, None, None]).astype(np.uint8)
    np.savez(folder / "pictures.npz", x=x, y=y)
    x = rng.integers(0, 256, (30, 3, 48, 48)).astype(np.uint8)
    x[:, :, :24] //= 2
    maps = (x[:, 0] > 100).astype(np.int64) + (x[:, 1] > 150)
    maps[:, :2] = 255
    np.savez(folder / "maps.npz", x=x, y=maps)
    return {"digits": "digits", **{name: str(folder / f"{name}.npz") for name in ("pictures", "maps")}}


def networks(space: str, data: Any, wanted: int = 2) -> list[Any]:
    """The first networks drawn of a space, fitted to the data."""
    raw, found, seed = Space(fit_to_data(read(find_space(space)), data)), [], 0
    while len(found) < wanted:
        arch, _ = raw.draw(random_chooser(random.Random(seed)))
        seed += 1
        if count(arch).macs < (6e6 if space != "unet" else 4e7):
            found.append(arch)
    return found


def curves(folder: Path, space: str) -> dict[str, Any]:
    """The curve, the metrics and the test scores of short trainings of the networks of a space, by recipe."""
    out: dict[str, Any] = {}
    source = SPACES[space]
    data = load(written(folder)[source], limit=400)
    for number, arch in enumerate(networks(space, data)):
        for name, changes in RECIPES.items():
            if (source == "maps" and name in ("mixed up", "small")) or (space == "sequence" and name == "small"):
                continue
            task = task_of(data.spec)
            recipe = Recipe.from_dict({**default_recipe(task, data, full=name == "whole").to_dict(), **changes})
            torch.manual_seed(number)
            model = build(arch)
            fitted = fit(model, data, recipe, seed=number)
            rows = [{k: v for k, v in row.items() if k != "seconds"} for row in fitted.curve]
            out[f"{number} {name}"] = {"curve": rows, "metrics": fitted.metrics, "test": score(model, data, "test", task)}
    return out


class MadeUp:
    """A runner that gives each job made-up scores, a function of its network."""

    def run(self, driver: Any) -> None:
        while (todo := driver.next_job()) is not None:
            number, job = todo
            result = Result()
            for epoch in range(1, job.recipe["epochs"] + 1):
                row = {"epoch": epoch, "lr": 0.1, "seconds": 0.0, **made_up(job.arch, epoch / job.recipe["epochs"])}
                result.curve.append(row)
                decision = driver.on_report(number, Report(epoch, row))
                if decision != Decision.CONTINUE:
                    result.stopped = Stop.PAUSED if decision == Decision.PAUSE else Stop.PRUNED
                    break
            result.metrics = {"accuracy": row["accuracy"], "loss": row["val_loss"], "miou": row["miou"]}
            result.test = dict(result.metrics) if job.test else {}
            driver.on_end(number, result)

    def close(self) -> None:
        pass


def made_up(arch: Any, part: float) -> dict[str, float]:
    """Scores after a part of a training."""
    chance = random.Random(key(arch)).random()
    score_ = (0.99 - 0.4 * math.exp(-((count(arch).params / 3000) ** 0.5)) - 0.05 * chance) * (1 - 0.5 * math.exp(-4 * part))
    return {"accuracy": score_, "miou": score_**2, "loss": 2 * (1 - score_), "val_loss": 2.2 * (1 - score_)}


def asks(folder: Path, space: str, strategy: str, scheduler: str, measures: bool = False) -> dict[str, Any]:
    """The choices that a search of made-up scores asks for and what becomes of its trials; without measures as in older runs."""
    objectives = parse_objectives("accuracy" if space.endswith(" one") else OBJECTIVES[space])
    space = space.removesuffix(" one")
    spec = Source(written(folder)[SPACES[space]], 400)
    limit = "params<=600000" if space == "unet" else "params<=60000"
    fitted = fit_to_data(read(find_space(space)), load_data(spec))
    plan = Plan(
        space=fitted, data=spec, objectives=tuple(objectives), limits=(parse_limit(limit),), strategy=strategy,
        scheduler=scheduler, trials=16, recipe={"epochs": 9}, final_recipe={"epochs": 3}, finalists=2, final_seeds=2,
        measures=measures,
    )  # fmt: skip
    summary = search(plan, folder / "made-up", MadeUp, lambda status: None)
    return {**trials_of(folder / "made-up"), "summary": plain(summary)}


def trainings(folder: Path) -> dict[str, Any]:
    """A search of real trainings in this process."""

    spec = Source("digits", 300)
    plan = Plan(
        space=fit_to_data(read(find_space("digits")), load_data(spec)), data=spec, objectives=tuple(parse_objectives("accuracy,-params")),
        limits=(parse_limit("macs<=100000"),), trials=6, recipe={"epochs": 4}, final_recipe={"epochs": 2}, finalists=2, final_seeds=2,
        measures=False,
        baselines={"plain": {"input": [1, 8, 8], "classes": 10, "body": [{"conv": {"out": 8}}], "head": ["gap_head"]}},
    )  # fmt: skip
    summary = search(plan, folder / "real", lambda: InlineRunner(Context(source=spec)), lambda status: None)
    return {**trials_of(folder / "real"), "summary": plain(summary)}


def trials_of(run: Path) -> dict[str, Any]:
    """The trials of the studies of a run as plain data, without times."""
    found: dict[str, Any] = {}
    for line in (run / "study.journal").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "param_name" in entry:
            found.setdefault(f"trial {entry['trial_id']}", {})[entry["param_name"]] = entry["param_value_internal"]
        record = (entry.get("user_attr") or {}).get("record")
        if record and "trial_id" in entry:
            found[f"record {entry['trial_id']}"] = without_times(record)
    return found


def without_times(record: Any) -> Any:
    if isinstance(record, dict):
        return {k: without_times(v) for k, v in record.items() if k != "seconds"}
    return [without_times(v) for v in record] if isinstance(record, list) else record


def plain(summary: dict[str, Any]) -> dict[str, Any]:
    """What of a summary does not depend on folders and times."""
    names = ("name", "key", "metric", "params", "macs", "val", "test_mean", "test_std", "search_val")
    rows = [{n: row[n] for n in names} for row in (*summary["finalists"], *summary["control_finalists"], *summary["baselines"])]
    return {"rows": rows, "best": summary["best"]["name"], "hypervolume": summary["hypervolume"]}


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    **{f"curves {space}": partial(curves, space=space) for space in SPACES},
    **{
        f"asks {space} {strategy} {scheduler}": partial(asks, space=space, strategy=strategy, scheduler=scheduler)
        for space in SPACES
        for strategy, scheduler in (("predictor", "asha"), ("nsga2", "halving"), ("tpe", "median"), ("local", "none"))
        if space == "digits" or strategy not in ("tpe", "local")
    },
    "trainings": trainings,
    "asks digits predictor with measures": partial(asks, space="digits", strategy="predictor", scheduler="asha", measures=True),
    "asks digits predictor for one objective": partial(asks, space="digits one", strategy="predictor", scheduler="asha", measures=True),
}


def recorded(part: str) -> dict[str, Any]:
    """One part, as JSON reads it back."""
    quiet()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        return json.loads(json.dumps(PARTS[part](Path(name))))


def shortened(part: str, found: Any) -> Any:
    """The same with 7 digits, and without the learning curves that are made up."""
    if isinstance(found, dict):
        return {k: shortened(part, v) for k, v in found.items() if k != "curve" or not part.startswith("asks")}
    if isinstance(found, list):
        return [shortened(part, v) for v in found]
    return float(f"{found:.7g}") if isinstance(found, float) else found


def text(everything: dict[str, Any]) -> str:
    """Everything as JSON, one line a training or trial."""
    parts = []
    for part, found in everything.items():
        rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in found.items())
        parts.append(f"{json.dumps(part)}: {{\n{rows}\n}}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    everything = {part: recorded(part) for part in PARTS}
    if "--short" in sys.argv:
        everything = {part: shortened(part, found) for part, found in everything.items()}
    Path(sys.argv[1]).write_text(text(everything), encoding="utf-8")
