"""A training of ours as the trainable of a Tuner."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from nasforge.api.data import load_data
from nasforge.api.named import space_named
from nasforge.data import Dataset, Source
from nasforge.errors import UserError
from nasforge.evaluation.base import Context, Job, Report, Result, Stop
from nasforge.evaluation.train import fit_to_data, recipe_of
from nasforge.networks.build import key
from nasforge.networks.cost import count
from nasforge.objectives.objective import limits_of, parse_limit, validation
from nasforge.runners.tune_training import Steps
from nasforge.search.screening import costs
from nasforge.spaces.choosers import random_chooser, replay
from nasforge.spaces.files import read
from nasforge.spaces.flat import FlatSpace
from nasforge.spaces.space import Space
from nasforge.strategies import tune as forms
from nasforge.tasks import task_of
from nasforge.tune.answers import answer_of, keep_answer
from nasforge.tune.spaces import SpaceLike

WORST = 1e9  # of what is to be small, where a limit is broken


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
        raw = read(Path(config["run"]) / "space.yaml") if "run" in config else self.space
        if raw is None:
            raise UserError("Training: needs the space of its config; tune.with_parameters(Training, space=..., data=...)")
        raw = raw if isinstance(raw, Mapping) else space_named(str(raw))
        if not self.limits and "run" not in config:  # NasforgeSearch has kept those of its space
            self.limits = limits_of(raw.get("constraints"))
        space = Space(fit_to_data(raw, self.data))
        given = replay(config["choices"]) if "choices" in config else replay(
            FlatSpace(space).choices(forms.flattened(config)), random_chooser(Random(0))
        )  # fmt: skip
        arch, choices = space.draw(given)
        return Job(arch, recipe={**self.words, **config.get("recipe", {})}, choices=choices, **{"seed": self.seed, **config.get("how", {})})

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
                worst = 0.0 if self.task.main.maximize else WORST
                return {"epoch": 1, self.task.main.name: worst, "feasible": False, "broken": str(limit), **told, "done": True}
        run = self.config.get("run") or self.run_folder
        answer = answer_of(run, key(self.drawn.arch)) if run else None
        if answer is None:
            return None
        row, metrics = answer["rows"][-1] if answer["rows"] else {}, answer["metrics"]
        out = {"epoch": len(answer["rows"]), "row": row, **metrics, "known": True, "done": True}
        return out if answer["stopped"] == Stop.PRUNED else {**out, "metrics": metrics, "stopped": answer["stopped"]}

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
        metrics = {**told, **result.metrics}
        if self.run_folder is not None:
            keep_answer(self.run_folder, key(self.drawn.arch), result.curve, metrics, result.stopped)
        return {
            **metrics, "metrics": metrics, "row": dict(result.curve[-1]) if result.curve else {}, "epochs_left": 0, "feasible": True,
            "stopped": result.stopped and str(result.stopped), "seconds_training": result.seconds.get("training", 0.0),
        }  # fmt: skip
