"""A job as a `Trainable` of Ray Tune: one epoch a step, saved and taken up again where a scheduler pauses it.

In a search jobs and decisions pass through a `Desk`, an actor beside the driver: what Tune keeps of a trial (its config, its results) stays
small, and a network never depends on what a scheduler does to a config.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from nasforge.data import Dataset
from nasforge.evaluation.base import Context, Decision, Job, Report
from nasforge.evaluation.train import Train, recipe_of
from nasforge.networks.build import key
from nasforge.runners.ray_cluster import import_ray
from nasforge.runners.ray_worker import Events
from nasforge.train.checkpoint import set_recipe

ray = import_ray("tune")
from ray import tune  # noqa: E402  after its switches are set

FACTORS = ("lr", "weight_decay")  # words of a recipe that a scheduler of Tune may change, by a factor
SAVED, ABOUT = "checkpoint.pt", "about.json"


class Desk:
    """Where the driver lays jobs and decisions for the workers, and they lay what came of them: by the id of Tune's trial."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.decisions: dict[tuple[str, int], asyncio.Future[Decision]] = {}
        self.ended: dict[str, Any] = {}
        self.epochs: dict[str, int] = {}  # the last that the driver was told of

    async def put(self, trial: str, job: Job) -> None:
        self.jobs[trial] = job

    async def job(self, trial: str) -> tuple[Job, int]:
        """Return a job, and the last of its epochs that was told."""
        while trial not in self.jobs:  # calls of two processes come in any order
            await asyncio.sleep(0.001)
        return self.jobs[trial], self.epochs.get(trial, 0)

    async def decide(self, trial: str, epoch: int, decision: Decision | None) -> None:
        """Take the decision on an epoch; None where the training is paused, and no step will ask for one."""
        self.epochs[trial] = epoch
        if decision is not None:
            self._of(trial, epoch).set_result(decision)

    async def decision(self, trial: str, epoch: int) -> Decision:
        """Return how a training goes on after an epoch, as soon as it is known."""
        found = await self._of(trial, epoch)
        self.decisions.pop((trial, epoch), None)
        return found

    def _of(self, trial: str, epoch: int) -> asyncio.Future[Decision]:
        return self.decisions.setdefault((trial, epoch), asyncio.get_running_loop().create_future())

    async def end(self, trial: str, event: Any) -> None:
        self.ended[trial] = event

    async def take(self, trial: str) -> Any:
        """Return what came of a trial, None where it has not ended by itself; nothing more of it is kept."""
        self.jobs.pop(trial, None)
        self.epochs.pop(trial, None)
        self.decisions = {key: future for key, future in self.decisions.items() if key[0] != trial}
        return self.ended.pop(trial, None)


class Steps(tune.Trainable):  # type: ignore[misc]
    """A job whose epochs are steps. config: factors on words of the recipe (`FACTORS`) besides what names the job.

    Subclasses say where the job comes from (`_take`), what is decided after an epoch (`_decision`) and what is told of the end (`_end`).
    """

    def begin(self, context: Context, data: Dataset, threads: int) -> None:
        """Prepare the evaluator of this process."""
        self.worker, self.data = Events(context, threads, data), data
        self.scratch = Path(tempfile.mkdtemp(prefix="nasforge-tune-"))
        self.open = False  # whether the training waits for an answer
        self.job: Job | None = None
        self.reset_config(self.config)

    def _take(self) -> tuple[Job, int]:
        """The job, and the last of its epochs that was told."""
        raise NotImplementedError

    def _decision(self) -> Decision:
        """How the training goes on."""
        return Decision.CONTINUE

    def _epoch(self, report: Report) -> dict[str, Any]:
        """What Tune is told of an epoch."""
        raise NotImplementedError

    def _end(self, event: Any) -> dict[str, Any]:
        """What Tune is told at the end. event: the result, and what was written beside."""
        raise NotImplementedError

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Make ready for another trial, or for this one with other numbers: it goes on from its own checkpoint."""
        self._leave()
        self.factors = {name: float(new_config[name]) for name in FACTORS if name in new_config}
        self.epoch, self.job = 0, None
        self.given: dict[str, Any] | None = None  # what is known of a checkpoint from elsewhere
        return True

    def step(self) -> dict[str, Any]:
        event = self._next()
        while isinstance(event, Report) and event.epoch <= self.epoch:  # taken up again: it tells its first epochs once more
            event = self.worker.resume(Decision.CONTINUE)
        self.open = isinstance(event, Report)
        if isinstance(event, Report):
            self.epoch = event.epoch
            row = {**event.row, **{f"{name}_factor": factor for name, factor in self.factors.items()}}
            return {"epoch": event.epoch, **self._epoch(Report(event.epoch, row))}
        return {"epoch": self.epoch, **self._end(event), "done": True}

    def _next(self) -> Any:
        if self.open:
            return self.worker.resume(self._decision())
        job, self.epoch = self._take()
        self.job = mine = self._mine(job)
        return self.worker.begin(mine)

    def _mine(self, job: Job) -> Job:
        """The job with a checkpoint that this node sees, of the recipe that is asked for now."""
        shared = job.checkpoint is not None and Path(job.checkpoint).parent.parent.is_dir()
        checkpoint = Path(job.checkpoint) if shared and job.checkpoint else self.scratch / f"{self.trial_id}.pt"
        given = self.given
        if given is not None and given["key"] == key(job.arch) and (given["trial"] != self.trial_id or not checkpoint.exists()):
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            if (self.scratch / SAVED).exists():
                shutil.copyfile(self.scratch / SAVED, checkpoint)
            self.epoch = given["epoch"]
        if isinstance(self.worker.evaluator, Train) and self.factors:
            recipe = recipe_of(job, self.data, self.worker.evaluator.task)
            changed = {name: getattr(recipe, name) * factor for name, factor in self.factors.items()}
            job = replace(job, recipe={**job.recipe, **changed})
            set_recipe(checkpoint, replace(recipe, **changed).to_dict())
        return replace(job, checkpoint=str(checkpoint))

    def _leave(self) -> None:
        """Let the training that waits for an answer write its checkpoint and end."""
        if self.open:
            self.open = False
            while isinstance(self.worker.resume(Decision.PAUSE), Report):  # answers to epochs that it tells once more do not count
                pass

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the state of the training; its next step goes on from there."""
        self._leave()
        if self.job is None:  # it was answered without a training
            return
        saved = Path(self.job.checkpoint) if self.job.checkpoint else None
        if saved is not None and saved.exists():
            shutil.copyfile(saved, Path(checkpoint_dir) / SAVED)
        known = {"trial": self.trial_id, "epoch": self.epoch, "key": key(self.job.arch)}
        (Path(checkpoint_dir) / ABOUT).write_text(json.dumps(known), encoding="utf-8")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Keep a checkpoint for the next step: it is taken up by a network that computes the same, and left by any other."""
        about = Path(str(checkpoint)) / ABOUT
        self.given = json.loads(about.read_text(encoding="utf-8")) if about.exists() else None
        (self.scratch / SAVED).unlink(missing_ok=True)
        if (Path(str(checkpoint)) / SAVED).exists():
            shutil.copyfile(Path(str(checkpoint)) / SAVED, self.scratch / SAVED)

    def cleanup(self) -> None:
        self._leave()
        shutil.rmtree(self.scratch, ignore_errors=True)


class Training(Steps):
    """A job that lies on the desk, by the id of Tune's trial. config: `trial`, its number in the study, for readers."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], context: Context, data: Dataset, threads: int, desk: Any
    ) -> None:
        self.desk = desk
        self.begin(context, data, threads)

    def _take(self) -> tuple[Job, int]:
        return ray.get(self.desk.job.remote(self.trial_id))

    def _decision(self) -> Decision:
        return ray.get(self.desk.decision.remote(self.trial_id, self.epoch))

    def _epoch(self, report: Report) -> dict[str, Any]:
        return {"report": report}

    def _end(self, event: Any) -> dict[str, Any]:
        ray.get(self.desk.end.remote(self.trial_id, event))
        return {}
