"""A trial trained again as it was trained in the search, from what its run has written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasforge.data import Dataset
from nasforge.errors import UserError
from nasforge.evaluation.base import Decision, Evaluator, Job, Report, Result, Stop
from nasforge.evaluation.train import recipe_of
from nasforge.search.context import monitor_of, usual_recipes
from nasforge.search.driver import fidelity_of
from nasforge.search.plan import Plan, plan_from, read_manifest
from nasforge.search.records import Ledger, TrialRecord
from nasforge.search.study import studies_of
from nasforge.spaces.arch import Arch
from nasforge.spaces.choosers import replay
from nasforge.spaces.space import Space
from nasforge.strategies.base import TrialKind
from nasforge.strategies.schedulers import FIDELITIES, InTraining, scheduler_of
from nasforge.tasks import task_of


@dataclass(frozen=True)
class Trained:
    """A trial of a run that was trained. plan: of its search. data_key: of what it was trained on."""

    plan: Plan
    arch: Arch
    record: TrialRecord
    curves: list[tuple[float, ...]]
    data_key: str
    manifest: Mapping[str, Any]
    minutes: float | None = None  # of each trial of a timed search

    @classmethod
    def of(cls, run: Path, number: int) -> Trained:
        """Return the trial of that number. Raise UserError where there is none, or where it was not trained."""
        manifest = read_manifest(run)
        plan, study = plan_from(run, manifest), studies_of(run)("search")
        if plan.evaluator != "train":
            raise UserError(f"{run}: its trials were judged by --evaluator {plan.evaluator}, not trained; train {run}:{number} by a recipe")
        ledger = None if study is None else Ledger(study, plan.objectives, plan.limits)
        record = None if ledger is None else ledger.records.get(number)
        if ledger is None or record is None or record.kind not in (TrialKind.FINISHED, TrialKind.PRUNED) or not record.curve:
            kind = "not there" if record is None else str(record.kind)
            raise UserError(f"{run}:{number}: must be a trial that was trained, it is {kind}; name one of those that the page shows")
        if "inherited" in record.metrics:
            raise UserError(f"{run}:{number}: began with the weights of a relative (--inherit), which are not known; train it by a recipe")
        arch, _ = Space(plan.space).draw(replay(record.choices))
        place = number if record.first is None else record.first
        return cls(plan, arch, record, list(ledger.curves()[place]), str(manifest.get("data_key")), manifest,
                   None if study is None else study.user_attrs.get("trial_minutes"))  # fmt: skip

    def again(self, evaluator: Evaluator, data: Dataset, on_report: Callable[[Report], object], weights: str, checkpoint: str) -> Result:
        """Return the result of the same training: with its seed and recipe, paused and stopped after the same epochs.

        weights, checkpoint: files as of a `Job`; no checkpoint is there yet.
        """
        plan, task, last = self.plan, task_of(data.spec, data.name), len(self.curves)
        time = {} if self.minutes is None else {"minutes": self.minutes}
        recipe: dict[str, Any] = {**plan.recipe, **monitor_of(plan.objectives, task), **time}
        usual = usual_recipes(self.manifest, task, data)["short"]
        full = recipe_of(Job(self.arch, plan.seed, recipe=recipe, usual=usual), data, task)
        steps = [] if self.record.baseline else FIDELITIES[plan.fidelity](full.epochs)
        place = self.record.number if self.record.first is None else self.record.first
        done = 0

        def decide(report: Report) -> Decision:
            nonlocal done
            if report.epoch <= done:  # reported again from a checkpoint
                return Decision.CONTINUE
            done = report.epoch
            on_report(report)
            if done == last:
                return Decision.STOP if self.record.kind is TrialKind.PRUNED else Decision.CONTINUE
            scheduler = scheduler_of(plan.scheduler)
            paused = scheduler.pauses and bool(steps)
            return scheduler.on_report({}, InTraining(place, self.curves[:done], steps, full.epochs)) if paused else Decision.CONTINUE

        while True:
            now = {**recipe, **fidelity_of(plan.fidelity, full, done, steps)}
            job = Job(self.arch, plan.seed, recipe=now, usual=usual, weights=weights, checkpoint=checkpoint, choices=self.record.choices)
            result = evaluator.evaluate(job, decide)
            if result.stopped is not Stop.PAUSED:
                return result

    def differences(self, result: Result) -> dict[str, float]:
        """Return by how much each metric on val differs from what the search has recorded."""
        both = result.metrics.keys() & self.record.metrics.keys()
        return {name: result.metrics[name] - self.record.metrics[name] for name in sorted(both)}
