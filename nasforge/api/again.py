"""A trial of a search trained again as the search did, by one call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nasforge.api.data import data_given
from nasforge.api.train import Trained, told
from nasforge.data import Dataset, Source
from nasforge.data.preprocess import write_preprocess
from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Job, Report
from nasforge.evaluation.train import Train, recipe_of
from nasforge.networks.cost import count
from nasforge.objectives.metrics import metric
from nasforge.report.training import Progress
from nasforge.runners.local import usual_threads
from nasforge.search.again import Trained as Trial
from nasforge.search.context import usual_recipes
from nasforge.search.plan import read_manifest, source_of
from nasforge.spaces.files import write
from nasforge.tasks import load_data, task_of
from nasforge.train import checked_device, use_threads


@dataclass(frozen=True)
class TrainedAgain(Trained):
    """What a training gave that was to be the one of a trial.

    Attributes:
        recorded: the metrics on val that the search wrote down.
        differences: of the metrics now from those.
    """

    recorded: dict[str, float] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether all metrics are those of the search, to the last bit."""
        return not any(self.differences.values())

    def __str__(self) -> str:
        now, then = self.metrics[self.metric], self.recorded[self.metric]
        title = metric(self.metric).title
        if self.same:
            return f"{title} {now:.6g} on val, as in the search to the last bit"
        return f"{title} {now:.6g} on val, in the search {then:.6g}: it differs by {now - then:+.3g}"


def train_again(
    trial: str, data: Any = None, *, allow_code: bool = False, out: str | Path | None = None, show: bool = True, verbose: bool = False
) -> TrainedAgain:
    """Train a trial as its search did: with its data, recipe, seed and threads, paused and stopped after the same epochs.

    On the machine and with the versions of the search this gives its metrics to the last bit. Test is not read.

    Args:
        trial: RUN:NUMBER.
        data: where they were given to the search in Python, or lie elsewhere by now; default: those that the run names.
        allow_code: whether data that are a function may run.
        out: folder for weights and curve, `runs/again-RUN-NUMBER` by default.
        show: whether to print how far the training is, and a line an epoch, to stderr.
        verbose: also the recipe, and where there is no terminal a line every second.

    Raises:
        UserError: there is no such trial, it was not trained, or its data are others by now.
    """
    folder, _, number = trial.rpartition(":")
    if not folder or not (number.isascii() and number.isdigit()):
        raise UserError(f"{trial}: must be a trial of a search as RUN:NUMBER")
    run = Path(folder)
    manifest, found = read_manifest(run), Trial.of(run, int(number))
    progress = Progress(show, verbose)
    with progress.during("reading the data"):
        dataset = _data(run, manifest, found, data, allow_code)
    device = str(checked_device(found.plan.device))
    _set_threads(manifest)
    place = Path(out or f"runs/again-{run.resolve().name}-{number}")
    task = task_of(dataset.spec, dataset.name)
    usual = usual_recipes(found.manifest, task, dataset)["short"]
    recipe = recipe_of(Job(found.arch, found.plan.seed, recipe=found.plan.recipe, usual=usual), dataset, task)
    write({**found.arch, "recipe": recipe.to_dict()}, place / "arch.yaml")
    write_preprocess(dataset.spec.preprocess, place)

    cost = count(found.arch)
    progress.epochs, progress.minutes = recipe.epochs, recipe.minutes
    progress.unit = "images" if dataset.spec.is_image else "samples"
    if verbose:
        progress.say(f"recipe: {json.dumps(recipe.to_dict())}")
    progress.say(f"{trial} on {dataset.name}: {cost.params:,} parameters, {dataset.size('train'):,} {progress.unit} an epoch")

    def say(report: Report) -> None:
        losses = f"loss {report.row['loss']:.4f}  val loss {report.row['val_loss']:.4f}"
        main = "" if task.main.name == "loss" else f"  {task.main.title} {report.row[task.main.name]:.4g}"
        progress.say(f"epoch {report.epoch}/{recipe.epochs}  {losses}{main}")

    progress.status("preparing the training")
    evaluator = Train(progress.step)
    evaluator.prepare(Context("train", found.plan.data, device, dataset=dataset))
    checkpoint = place / "checkpoint.pt"  # between the pauses of the trial
    checkpoint.unlink(missing_ok=True)
    try:
        result = found.again(evaluator, dataset, say, weights=str(place / "model.safetensors"), checkpoint=str(checkpoint))
    finally:
        progress.clear()
    checkpoint.unlink(missing_ok=True)
    if result.error:
        raise UserError(result.error)
    differences = found.differences(result)
    recorded = {name: found.record.metrics[name] for name in differences}
    trained = TrainedAgain(
        {**found.arch, "recipe": recipe.to_dict()}, trial, dataset.name, task.name, task.main.name, "as it is", cost.params, cost.macs,
        result.metrics, {}, result.curve, result.seconds, place, recorded, differences,
    )  # fmt: skip
    named = {**source_of(found.plan.data), "given_in": str(manifest.get("given_in", "."))}
    (place / "result.json").write_text(json.dumps({**told(trained), "source": named}, indent=1), encoding="utf-8")
    return trained


def _data(run: Path, manifest: Mapping[str, Any], trial: Trial, data: Any, allow_code: bool) -> Dataset:
    """The data of the search. Raise UserError where they are others."""
    source: Source = replace(trial.plan.data, allow_code=allow_code)
    options: dict[str, Any] = {
        "task": source.task,
        "target": source.target,
        "data_limit": source.limit,
        "skip_broken": source.skip_broken or None,
    }
    options |= {"image_size": source.image_size, "allow_code": allow_code}
    wanted = data if data is not None else lies_at(manifest, source)
    dataset, named = data_given(wanted, {k: v for k, v in options.items() if v is not None}, trial.plan.space)
    found = dataset if dataset is not None else load_data(replace(named, seed=source.seed))
    if found.key != trial.data_key:
        raise UserError(f"{run}: was searched on other data (key {trial.data_key}, these have {found.key}); give them with --data")
    return found


def lies_at(manifest: Mapping[str, Any], source: Source) -> str:
    """What names the data of a run here: their path may be from the folder in which the search was given."""
    there = Path(str(manifest.get("given_in", "."))) / source.spec
    return str(there) if there.exists() and not Path(source.spec).exists() else source.spec


def _set_threads(manifest: Mapping[str, Any]) -> None:
    """As many threads as a worker of the search had."""
    asked = manifest.get("command")
    command: Mapping[str, Any] = asked if isinstance(asked, dict) else {}
    if command.get("runner") != "inline":
        use_threads(command.get("threads") or usual_threads(int(command.get("workers", 1))))
