"""Weights & Biases: a run for each training, in one group, in RUN/wandb/; offline where there is no API key, or as WANDB_MODE says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("WANDB_SILENT", "true")  # the search says what there is to say
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nobody asked to be reported

import wandb

from nasforge.files import write_whole
from nasforge.trackers.base import Followed, Outcome, Training

ENDED = "ended.txt"  # in the folder: the trainings that are there in full, a name a line
OUTCOME = "outcome"


class WandB:
    """A run of wandb for each training that goes on."""

    def __init__(self, search: Followed) -> None:
        self.search, self.folder = search, search.folder / "wandb"
        self.runs: dict[str, Any] = {}
        self.ended: dict[str, None] = {}  # in order

    def open(self) -> set[str]:
        self.folder.mkdir(exist_ok=True)
        offline = not os.environ.get("WANDB_MODE") and not wandb.login(prompt=False)
        self.mode = "offline" if offline else None  # None: as the environment and the settings of wandb say
        if (self.folder / ENDED).is_file():
            self.ended = dict.fromkeys((self.folder / ENDED).read_text(encoding="utf-8").split())
        for folder in self.folder.glob(f"*run-*-{self.search.id}-*"):
            if folder.name.partition(f"-{self.search.id}-")[2] not in (*self.ended, OUTCOME):
                shutil.rmtree(folder)
        return set(self.ended)

    def begin(self, training: Training) -> None:
        if training.name in self.ended:
            del self.ended[training.name]
            self._write_ended()
        config = {"architecture": training.arch, **training.choices}
        self.runs[training.name] = self._fresh(training.name, training.phase, config, training.network)

    def _fresh(self, name: str, phase: str, config: Mapping[str, Any], notes: str = "") -> Any:
        """A run of that name instead of the one that there may be."""
        for folder in self.folder.glob(f"*run-*-{self.search.id}-{name}"):
            shutil.rmtree(folder)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "nasforge"), group=f"{self.search.name}-{self.search.id}", job_type=phase, name=name,
            id=f"{self.search.id}-{name}", dir=str(self.search.folder), mode=self.mode, config={**self.search.settings, **config},  # type: ignore[arg-type]
            notes=notes or None, reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True, disable_code=True),
        )  # fmt: skip

    def epoch(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
        self.runs[name].log(dict(values), step=epoch)

    def end(self, training: Training) -> None:
        run = self.runs.pop(training.name)
        run.summary.update({"kind": training.kind, "message": training.message, **training.figures()})
        run.finish(exit_code=int(training.failed))
        self.ended[training.name] = None
        self._write_ended()

    def _write_ended(self) -> None:
        write_whole(self.folder / ENDED, "".join(f"{name}\n" for name in self.ended))

    def outcome(self, outcome: Outcome) -> None:
        run = self._fresh(OUTCOME, OUTCOME, {})
        run.log({name: wandb.Table(columns=[*columns], data=rows) for name, (columns, rows) in outcome.tables().items()})
        run.summary["winner"] = outcome.best
        run.finish()

    def close(self, whole: bool) -> None:
        for run in self.runs.values():
            run.summary["kind"] = "interrupted"
            run.finish(exit_code=1)
