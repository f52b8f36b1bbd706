"""A search that was carried out: its trials, its front, its best network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from nasforge.api.exports import Tried, export
from nasforge.api.named import arch_and_weights
from nasforge.api.predict import predict
from nasforge.api.tables import frame
from nasforge.data.preprocess import read_preprocess
from nasforge.errors import UserError
from nasforge.networks.build import build
from nasforge.report import collect, report, words
from nasforge.report.trials import rows_of, trial_rows
from nasforge.spaces.arch import Arch


@dataclass(frozen=True)
class Found:
    """A network of a run.

    Attributes:
        name: in the folder of the run.
        arch: as data.
        weights: the file of its trained weights, None where there is none.
        row: its figures as `summary.json` has them.
    """

    name: str
    arch: Arch
    weights: Path | None
    row: dict[str, Any]

    @property
    def model(self) -> nn.Module:
        """The trained network, in eval mode; it reads inputs that were normalized as the data set does."""
        model = build(self.arch)
        if self.weights is not None:
            model.load_state_dict(load_file(self.weights))
        return model.eval()


def trials(*runs: str | Path) -> Any:
    """Return the trials of several runs as one data frame; `run` says of which, `study` whether of its search or its control.

    Raises:
        UserError: there is no such run, or pandas is not installed.
    """
    return frame(rows_of([collect(Path(run)) for run in runs]))


@dataclass(frozen=True)
class Run:
    """The folder of a search, and its summary."""

    folder: Path
    storage: str | None
    summary: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path, storage: str | None = None) -> Run:
        """Return the run in a folder, complete or not. Raise UserError where there is none."""
        found = collect(Path(folder), storage)
        return cls(Path(folder), storage, found.summary or {})

    @property
    def best(self) -> Found:
        """The finalist that is best by the objectives, the first one first, and keeps all limits. Raise UserError where there is none."""
        row = self.summary.get("best")
        if not row:
            raise UserError(f"{self.folder}: the search has no winner; its page says why each trial failed")
        arch, weights = arch_and_weights(f"{self.folder}:{row['name']}")
        return Found(str(row["name"]), arch, weights, dict(row))

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a trial: `number`, `kind`, `key`, `epochs`, `seconds` ..., its metrics and its choices; see `report.trials`."""
        return trial_rows(collect(self.folder, self.storage))

    def trials(self) -> Any:
        """Return the trials as a data frame; see `rows`."""
        return frame(self.rows())

    def front(self) -> Any:
        """Return the trials that no other dominates on val, as a data frame."""
        numbers = {r.number for r in collect(self.folder, self.storage).search.front()}
        return frame([row for row in self.rows() if row["number"] in numbers])

    def finalists(self) -> Any:
        """Return the networks that were trained to the end, with baselines and those of the control, as a data frame."""
        return frame(collect(self.folder, self.storage).rows())

    def report(self) -> Path:
        """Write the page of the run and return its path."""
        report(self.folder, self.storage)
        return self.folder / "report.html"

    def export(self, to: str, folder: str | Path | None = None, *, preprocess: str = "inside", data: Any = None, **options: Any) -> Tried:
        """Write the best network as `python`, `onnx` or `torch` and check it in a fresh process, on files of the data.

        Args:
            folder: to write into, or the file; `export` in the folder of the run by default.
            preprocess, data, options: as of `nasforge.export`.
        """
        name, out = self.best.name, Path(folder or self.folder / "export")
        return export(f"{self.folder}:{name}", to, out, preprocess=preprocess, data=data, name=name, **options)

    @property
    def preprocess(self) -> dict[str, Any] | None:
        """What lies between files and its networks, as `nasforge.data.preprocess` says; None where an older run has not kept it."""
        return read_preprocess(self.folder)

    def predict(self, files: Any, top: int = 5, out: str | Path | None = None) -> list[dict[str, Any]]:
        """Return what the best network says of files; see `nasforge.predict`."""
        return predict(f"{self.folder}:{self.best.name}", files, top, out)

    def __str__(self) -> str:
        return words(self.folder, self.storage)
