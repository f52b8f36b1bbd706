"""TensorBoard: event files in RUN/tensorboard/, a folder for each training, with hyper-parameters for its HPARAMS page."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from nasforge.trackers.base import Followed, Outcome, Training, is_training, markdown

ENDED = "ended"  # an empty file in the folder of a training that is there in full
OUTCOME = "outcome"


class TensorBoard:
    """A writer for each training that goes on."""

    def __init__(self, search: Followed) -> None:
        self.folder = search.folder / "tensorboard"
        self.writers: dict[str, SummaryWriter] = {}

    def open(self) -> set[str]:
        self.folder.mkdir(exist_ok=True)
        there = {folder.name: (folder / ENDED).exists() for folder in self.folder.iterdir() if is_training(folder.name)}
        for name, whole in there.items():
            if not whole:
                shutil.rmtree(self.folder / name)
        return {name for name, whole in there.items() if whole}

    def begin(self, training: Training) -> None:
        writer = self.writers[training.name] = self._fresh(training.name)
        writer.add_text("architecture", f"```yaml\n{training.arch}```")
        if training.network:
            writer.add_text("network", training.network)
        writer.flush()

    def _fresh(self, name: str) -> SummaryWriter:
        if (self.folder / name).exists():
            shutil.rmtree(self.folder / name)
        return SummaryWriter(str(self.folder / name))

    def epoch(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            self.writers[name].add_scalar(tag, value, epoch)
        self.writers[name].flush()

    def end(self, training: Training) -> None:
        writer, figures = self.writers.pop(training.name), training.figures()
        for tag, value in figures.items():
            writer.add_scalar(tag, value, 0)
        choices = {name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in training.choices.items()}
        for summary in hparams({"kind": training.kind, "phase": training.phase, **choices}, figures):
            writer._get_file_writer().add_summary(summary)
        writer.add_text("kind", f"{training.kind}: {training.message}" if training.message else training.kind)
        writer.close()
        (self.folder / training.name / ENDED).touch()

    def outcome(self, outcome: Outcome) -> None:
        with self._fresh(OUTCOME) as writer:
            for name, (columns, rows) in outcome.tables().items():
                writer.add_text(name, markdown(columns, rows))
            writer.add_text("winner", outcome.best or "none")

    def close(self, whole: bool) -> None:
        for writer in self.writers.values():
            writer.close()
