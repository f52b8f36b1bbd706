"""nasforge in a Tuner of your own: our strategies as its `search_alg`, our trainings as its trainable, our spaces as its `param_space`.

    from ray import tune
    import nasforge.tune

    tuner = tune.Tuner(
        tune.with_parameters(nasforge.tune.Training, data="digits"),
        tune_config=tune.TuneConfig(
            search_alg=nasforge.tune.NasforgeSearch("digits", objective="accuracy,-params", trials=16, run="runs/tuned"),
            metric="accuracy", mode="max", num_samples=16, max_concurrent_trials=2, reuse_actors=True,
        ),
    )

The study in the folder `run` is the truth: each trial is written there as it ends, `nasforge report RUN` shows it, and `Tuner.restore` asks
it what was trained already. Tune's own folder holds pickles: never restore one of somebody whom you do not trust.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasforge.api.data import load_data
from nasforge.api.named import space_named
from nasforge.api.search import planned
from nasforge.data import Dataset, Source
from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Job, Report, Result, Stop, numbers
from nasforge.evaluation.train import fit_to_data, recipe_of
from nasforge.files import write_whole
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.objectives.objective import limits_of, parse_limit, validation
from nasforge.runners.ray_cluster import import_ray
from nasforge.runners.tune_training import Steps
from nasforge.search.screening import costs
from nasforge.search.session import taken_up
from nasforge.search.study import quiet
from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.files import read
from nasforge.spaces.flat import FlatSpace
from nasforge.spaces.space import Space
from nasforge.strategies import tune as forms
from nasforge.tasks import task_of

ray = import_ray("tune")
from ray.tune.search import Searcher  # noqa: E402  after its switches are set

__all__ = ["NasforgeSearch", "Training", "config_space", "hyperopt_space", "param_space"]

SpaceLike = str | Path | Mapping[str, Any]


# ---------------------------------------------------------------- our spaces, for their searchers


def _flat(space: SpaceLike) -> FlatSpace:
    return FlatSpace(Space(space if isinstance(space, Mapping) else space_named(str(space))))


def param_space(space: SpaceLike) -> dict[str, Any]:
    """Return all parameters of a space as a `param_space` of Ray Tune, by short names: `c0`, `c1`, ...

    `Training(space=...)` knows what they mean. Each is the place of an option, or a number; what is not asked in a network has no effect.

    Raises:
        UserError: no such space, or its depth has no end.
    """
    return forms.domains_of_tune(_flat(space))


def hyperopt_space(space: SpaceLike) -> dict[str, Any]:
    """Return a space in the form of `HyperOptSearch(space=...)`, with its conditions. Raises UserError as `param_space`."""
    return forms.space_of_hyperopt(_flat(space))


def config_space(space: SpaceLike) -> Any:
    """Return a space in the form of `TuneBOHB(space=...)`, with its conditions. Raises UserError as `param_space`."""
    return forms.space_of_configspace(_flat(space))


# ---------------------------------------------------------------- our strategies


@dataclass
class _Open:
    number: int
    job: Job
    rows: list[dict[str, float]] = field(default_factory=list)


class NasforgeSearch(Searcher):  # type: ignore[misc]
    """A strategy of nasforge as the `search_alg` of a Tuner.

    Args:
        space, data, options: as for `nasforge.search`: `objective`, `constraint`, `strategy`, `trials`, `seed`, `epochs`, ...
        run: folder with the study; one that exists is gone on with.

    What computes the same as an earlier network, or breaks a limit on paper, never becomes a trial of Tune. Set `max_concurrent_trials`:
    without it Tune runs one trial of a custom searcher at a time.

    Raises:
        UserError: the search cannot be carried out.
    """

    def __init__(self, space: SpaceLike | None = None, data: Any = None, *, run: str | Path = "runs/tune", **options: Any) -> None:
        super().__init__()
        self.arguments, self.folder = (space, data, options), Path(run).resolve()
        quiet()
        self.plan, self.raw, _ = planned(space, data, {"scheduler": "none", **options}, lambda note: None)
        self._clear()

    def _clear(self) -> None:
        self._driver: Any = None
        self._close: Any = None
        self.open: dict[str, _Open] = {}
        self.ready: list[tuple[int, Job]] = []  # jobs that were taken up again, for whoever asks

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self.arguments, "folder": self.folder, "_metric": self._metric, "_mode": self._mode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        space, data, options = state["arguments"]
        self.__init__(space, data, run=state["folder"], **options)  # type: ignore[misc]
        self._metric, self._mode = state["_metric"], state["_mode"]

    @property
    def driver(self) -> Any:
        """The trials of the study, opened when they are needed first."""
        if self._driver is None:
            self._driver, self._close = taken_up(self.plan, self.folder)
        return self._driver

    def close(self) -> None:
        """Let others write to the run."""
        if self._close is not None:
            self._close()
            self._clear()

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        self._metric, self._mode = metric or self._metric, mode or self._mode
        if any(hasattr(value, "sample") for value in config.values()):
            raise UserError(f"param_space: the space of {type(self).__name__} is searched, got others: {', '.join(config)}; leave them out")
        return True

    def suggest(self, trial_id: str) -> Any:
        found = self.ready.pop(0) if self.ready else self.driver.next_job()
        if found is None:
            if not self.open:
                self.close()
            return None if self.open else Searcher.FINISHED
        number, job = found
        self.open[trial_id] = _Open(number, job)
        known = {"trial": number, "key": key(job.arch), "run": str(self.folder)}
        return {**known, "choices": dict(job.choices), "recipe": dict(job.recipe)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        one = self.open.get(trial_id)
        if one is not None and (row := _row(result)) and int(result["epoch"]) > len(one.rows):
            one.rows.append(row)
            self.driver.on_report(one.number, Report(int(result["epoch"]), row))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result:
            self.on_trial_result(trial_id, result)  # a scheduler that stops a trial leaves out its last row
        one = self.open.pop(trial_id, None)
        if one is None:
            return
        told = result or {}
        metrics = {name.removeprefix("metrics/"): value for name, value in told.items() if name.startswith("metrics/")}
        ended = Result(metrics=numbers(metrics), curve=one.rows, seconds={"training": float(told.get("seconds_training", 0.0))})
        if error:
            ended.error = "the trial failed in Ray Tune; its folder there tells why"
        elif not metrics:  # it was stopped, or paused and never taken up again
            ended.metrics, ended.stopped = validation(one.rows[-1]) if one.rows else {}, Stop.PRUNED
        if not error:
            answer = {"rows": one.rows, "metrics": ended.metrics, "stopped": ended.stopped is not None}
            _answers(self.folder).mkdir(parents=True, exist_ok=True)
            write_whole(_answers(self.folder) / f"{key(one.job.arch)}.json", json.dumps(answer))
        self.driver.on_end(one.number, ended)

    def save(self, checkpoint_path: str) -> None:
        """Write which trial of Tune is which of the study; all else is in the study."""
        Path(checkpoint_path).write_text(json.dumps({name: key(one.job.arch) for name, one in self.open.items()}), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Take up the study; trials of Tune that had not ended get the networks that they had."""
        mine = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        while self.driver.left or self.driver.paused or _waits(self.driver):
            found = self.driver.next_job()
            if found is None:
                break
            owner = next((name for name, its in mine.items() if its == key(found[1].arch) and name not in self.open), None)
            if owner is None:
                self.ready.append(found)
            else:
                self.open[owner] = _Open(*found)


def _waits(driver: Any) -> bool:
    """Whether the study holds trials that are to be asked again."""
    from nasforge.search.study import waiting

    return bool(waiting(driver.ledger.study))


def _row(result: Mapping[str, Any]) -> dict[str, float]:
    return numbers({name.removeprefix("row/"): value for name, value in result.items() if name.startswith("row/")})


def _answers(run: str | Path) -> Path:
    return Path(run) / "answers"


# ---------------------------------------------------------------- our trainings


class Training(Steps):
    """A training of nasforge as the trainable of a Tuner: a row after each epoch, checkpoints, one actor for many trials.

    Give its arguments with `tune.with_parameters(Training, ...)`: the data travel once. A config is what `NasforgeSearch` suggests, or
    values of `param_space(space)` or of the forms for HyperOpt and BOHB. A network that computes the same as one that was trained in the
    same `run`, and one that breaks a limit, is answered without a training; the latter with `feasible` false and the worst score.

    Args:
        data: a name, a folder, a file, or a data set.
        space: where the config does not come from `NasforgeSearch`.
        constraint: limits on what is counted on paper, such as `params<=2e5`.
        recipe: words of the recipe that differ from the default one.
        run: a folder that all workers see, for what was trained already.
    """

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], data: Any = "digits", space: SpaceLike | None = None, constraint: str | Sequence[str] = (),
        recipe: Mapping[str, Any] | None = None, seed: int = 0, threads: int = 1, device: str = "cpu", run: str | Path | None = None,
    ) -> None:  # fmt: skip
        if isinstance(data, str | Path) and (named := Path(os.environ.get("TUNE_ORIG_WORKING_DIR", ".")) / data).exists():
            data = str(named)  # workers of Tune stand in the folders of their trials
        found: Dataset = data if hasattr(data, "batches") else load_data(data)
        self.space, self.words, self.seed = space, dict(recipe or {}), seed
        self.limits = [parse_limit(one) for one in ([constraint] if isinstance(constraint, str) else constraint)]
        self.run_folder = None if run is None else Path(run).resolve()
        self.task = task_of(found.spec, found.name)
        self.config = config
        self.begin(Context("train", Source(str(data) if isinstance(data, str | Path) else found.name), device), found, threads)

    def _drawn(self) -> Job:
        """The job of the config."""
        config = self.config
        run = config.get("run")
        raw = read(Path(run) / "space.yaml") if run else self.space
        if raw is None:
            raise UserError("Training: needs the space of its config; tune.with_parameters(Training, space=..., data=...)")
        raw = raw if isinstance(raw, Mapping) else space_named(str(raw))
        self.limits = [*self.limits, *limits_of(raw.get("constraints"))] if not self.limits and not run else self.limits
        space = Space(fit_to_data(raw, self.data))
        if "choices" in config:
            arch, choices = space.draw(replay(config["choices"]))
        else:
            from random import Random

            arch, choices = space.draw(replay(FlatSpace(space).choices(forms.flattened(config)), random_chooser(Random(0))))
        return Job(arch, self.seed, recipe={**self.words, **config.get("recipe", {})}, choices=choices)

    def step(self) -> dict[str, Any]:
        if not self.open and self.epoch == 0:
            self.drawn = self._drawn()
            known = self._known()
            if known is not None:
                return known
        return super().step()

    def _known(self) -> dict[str, Any] | None:
        """The last row of a network that need not be trained."""
        told = costs(count(self.drawn.arch))
        for limit in self.limits:
            if limit.metric in told and limit.excess(told[limit.metric]) > 0:
                worst = 0.0 if self.task.main.maximize else 1e9
                return {"epoch": 1, self.task.main.name: worst, "feasible": False, "broken": str(limit), **told, "done": True}
        run = self.config.get("run") or self.run_folder
        file = _answers(run) / f"{key(self.drawn.arch)}.json" if run else None
        if file is None or not file.exists():
            return None
        answer = json.loads(file.read_text(encoding="utf-8"))
        row, metrics = answer["rows"][-1] if answer["rows"] else {}, answer["metrics"]
        out = {"epoch": len(answer["rows"]), "row": row, **metrics, "known": True, "done": True}
        return out if answer["stopped"] else {**out, "metrics": metrics}

    def _take(self) -> tuple[Job, int]:
        return self.drawn, 0

    def _epoch(self, report: Report) -> dict[str, Any]:
        last = recipe_of(self.drawn, self.data, self.task).epochs
        return {**validation(report.row), "row": dict(report.row), "epochs_left": last - report.epoch, "feasible": True}

    def _end(self, event: Any) -> dict[str, Any]:
        result: Result = event[0]
        if result.error is not None:
            raise RuntimeError(result.error)
        told = costs(count(self.drawn.arch))
        if self.run_folder is not None:
            _answers(self.run_folder).mkdir(parents=True, exist_ok=True)
            answer = {"rows": result.curve, "metrics": {**told, **result.metrics}, "stopped": False}
            write_whole(_answers(self.run_folder) / f"{key(self.drawn.arch)}.json", json.dumps(answer))
        return {
            **told, **result.metrics, "metrics": {**told, **result.metrics}, "row": dict(result.curve[-1]) if result.curve else {},
            "epochs_left": 0, "feasible": True, "seconds_training": result.seconds.get("training", 0.0),
        }  # fmt: skip
