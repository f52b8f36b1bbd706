"""MLflow: a run for the search and a nested one for each training, at MLFLOW_TRACKING_URI or else in a database RUN/mlflow/mlflow.db."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody asked to be counted
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # instead of minutes without an answer
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from mlflow.entities import Metric, Param, Run
from mlflow.tracking import MlflowClient

from nasforge.trackers.base import Followed, Outcome, Training, markdown

PARENT, RUN, TRAINING, KIND = "mlflow.parentRunId", "nasforge.run", "nasforge.training", "nasforge.kind"  # tags
NOTE = "mlflow.note.content"  # the tag that MLflow shows as description
LONGEST = 4900  # letters in a value that every server takes
MOST_AT_ONCE = 90  # values that every server takes in one request
MOST_RUNS = 50_000  # that are asked for at once
T = TypeVar("T")


class MLflow:
    """The client of a tracking server, or of the database in the folder of the run."""

    def __init__(self, search: Followed) -> None:
        self.search = search
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{search.folder / 'mlflow' / 'mlflow.db'}"
        self.local = not os.environ.get("MLFLOW_TRACKING_URI")
        self.runs: dict[str, str] = {}  # ids by training, also of those that ended
        self.going_on: set[str] = set()

    def open(self) -> set[str]:
        for library in ("mlflow", "alembic"):
            logging.getLogger(library).setLevel(logging.WARNING)
        if self.local:
            (self.search.folder / "mlflow").mkdir(exist_ok=True)
        self.client = MlflowClient(self.uri)
        self.experiment = self._experiment()
        found = self._found(f"tags.`{RUN}` = '{self.search.id}'")
        begun = [str(run.info.run_id) for run in found if TRAINING not in run.data.tags]
        self.parent: str = begun[0] if begun else self._begun()
        self.client.update_run(self.parent, status="RUNNING")
        for run in found:
            name = run.data.tags.get(TRAINING)
            if name is not None and KIND in run.data.tags:
                self.runs[name] = str(run.info.run_id)
            elif name is not None:
                self.client.delete_run(run.info.run_id)
        return set(self.runs)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "nasforge")
        known = self.client.get_experiment_by_name(name)
        if known is not None:
            return known.experiment_id
        where = (self.search.folder / "mlflow" / "artifacts").as_uri() if self.local else None
        return self.client.create_experiment(name, artifact_location=where)

    def _found(self, words: str) -> list[Run]:
        return list(self.client.search_runs([self.experiment], words, max_results=MOST_RUNS))

    def _begun(self) -> str:
        parent = self.client.create_run(self.experiment, run_name=self.search.name, tags={RUN: self.search.id}).info.run_id
        self._log(parent, params=self.search.settings)
        return str(parent)

    def begin(self, training: Training) -> None:
        if training.name in self.runs:
            self.client.delete_run(self.runs[training.name])
        tags = {
            RUN: self.search.id, TRAINING: training.name, PARENT: self.parent, "phase": training.phase,
            **({"network": training.network} if training.network else {}),
            **_in_pieces("architecture", training.arch), NOTE: f"```yaml\n{training.arch[:LONGEST]}\n```",
        }  # fmt: skip
        run = self.client.create_run(self.experiment, run_name=training.name, tags=tags)
        self.runs[training.name] = run.info.run_id
        self.going_on.add(training.name)
        self._log(run.info.run_id, params=training.choices)

    def epoch(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
        self._log(self.runs[name], metrics=values, step=epoch)

    def end(self, training: Training) -> None:
        run = self.runs[training.name]
        self._log(run, metrics=training.figures())
        if training.message:
            self.client.set_tag(run, "message", training.message[:LONGEST])
        self.client.set_tag(run, KIND, training.kind)
        self._ended(training.name, "FAILED" if training.failed else "FINISHED")

    def _ended(self, name: str, status: str) -> None:
        self.client.set_terminated(self.runs[name], status)
        self.going_on.discard(name)

    def outcome(self, outcome: Outcome) -> None:
        tables = {name: markdown(*table) for name, table in outcome.tables().items()}
        self.client.set_tag(self.parent, NOTE, "\n\n".join(f"**{name}**\n\n{text}" for name, text in tables.items())[:LONGEST])
        self.client.set_tag(self.parent, "winner", outcome.best or "none")
        figures = {f"{row['name']}/{name}": value for row in outcome.finals for name, value in row.items() if type(value) in (int, float)}
        self._log(self.parent, metrics=figures)
        before = {run.info.run_id for run in self._found(f"tags.`{RUN}` = '{self.search.id}' and tags.front = 'true'")}
        front = {self.runs[row["training"]] for row in outcome.front if row["training"] in self.runs}
        for run in before ^ front:
            self.client.set_tag(run, "front", "true" if run in front else "false")

    def close(self, whole: bool) -> None:
        for name in sorted(self.going_on):
            self._ended(name, "KILLED")
        self.client.set_terminated(self.parent, "FINISHED" if whole else "KILLED")

    def _log(self, run: str, metrics: Mapping[str, float] | None = None, params: Mapping[str, Any] | None = None, step: int = 0) -> None:
        now = int(1000 * time.time())
        for numbers in _parts([Metric(_plain(name), float(value), now, step) for name, value in (metrics or {}).items()]):
            self.client.log_batch(run, metrics=numbers)
        for words in _parts([Param(_plain(name), str(value)[:LONGEST]) for name, value in (params or {}).items()]):
            self.client.log_batch(run, params=words)


def _parts(values: Sequence[T]) -> Iterator[list[T]]:
    for at in range(0, len(values), MOST_AT_ONCE):
        yield list(values[at : at + MOST_AT_ONCE])


def _plain(name: str) -> str:
    """A name in the letters that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:240]


def _in_pieces(name: str, text: str) -> dict[str, str]:
    """A text as tags: `name`, and where it is too long for one, `name 2` ..."""
    pieces = [text[at : at + LONGEST] for at in range(0, len(text), LONGEST)]
    return {name if i == 0 else f"{name} {i + 1}": piece for i, piece in enumerate(pieces)}


