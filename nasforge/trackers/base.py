"""The contract of a tracker, and what it is told: a search, its trials, what came of it, all of it plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

PHASES = ("search", "control", "finals")


@dataclass(frozen=True)
class Followed:
    """A search: the id of its run, its folder, and in a few words what decides what it finds."""

    id: str
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.name


@dataclass(frozen=True)
class Training:
    """One training, a trial or one of the finals.

    Attributes:
        name: phase and number, `search-7`; in the finals the key of the network and the seed, `finals-3f2a-0`, which stay the same.
        arch: YAML.
        choices: that gave the architecture in the space.
        network: what it is called: a finalist, a baseline.
        kind: finished, pruned, failed, infeasible or interrupted; empty while it goes on.
        metrics: costs and, after the training, what it reached on val.
        message: of a failure.
    """

    name: str
    arch: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    network: str = ""
    kind: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    message: str = ""

    @property
    def phase(self) -> str:
        return self.name.partition("-")[0]

    @property
    def failed(self) -> bool:
        return self.kind == "failed"

    def figures(self) -> dict[str, float]:
        """Return what is known at the end, by names that all trackers use: `final/params`, `test/...`, `seconds/training`."""
        groups = {"final": self.metrics, "test": self.test, "seconds": self.seconds}
        return {f"{group}/{name}": float(value) for group, values in groups.items() for name, value in values.items()}


@dataclass(frozen=True)
class Outcome:
    """What came of a search: the rows of the front, those of the finals with their scores on test, and the name of the winner."""

    front: Sequence[Mapping[str, Any]]
    finals: Sequence[Mapping[str, Any]]
    best: str | None = None

    def tables(self) -> dict[str, tuple[list[str], list[list[Any]]]]:
        """Return columns and rows of both."""
        return {name: _table(rows) for name, rows in (("front", self.front), ("finalists", self.finals)) if rows}


class Tracker(Protocol):
    """Takes what happens in a search. Whatever it raises ends it, and never the search.

    All calls come from one thread, in the order in which things happened.
    """

    def open(self) -> set[str]:
        """Begin, or go on where an earlier session ended; drop trainings that are there in part, and return the names of the others."""
        ...

    def begin(self, training: Training) -> None:
        """Take a training that begins; what there is of one of that name is replaced."""
        ...

    def epoch(self, name: str, epoch: int, values: Mapping[str, float]) -> None:
        """Take an epoch of a training."""
        ...

    def end(self, training: Training) -> None:
        """Take what came of a training that began."""
        ...

    def outcome(self, outcome: Outcome) -> None:
        """Take what came of the search, in place of what came of it before it went on."""
        ...

    def close(self, whole: bool) -> None:
        """End the session. whole: whether the search came to its end; trainings that have not ended are cut off."""
        ...


def is_training(name: str) -> bool:
    """Return whether this is the name of a training, and no other file's."""
    return re.fullmatch(rf"({'|'.join(PHASES)})-[\w-]+", name) is not None


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join("" if cell is None else f"{cell:.6g}" if type(cell) is float else str(cell) for cell in line) + " |"
                     for line in lines)  # fmt: skip


def _table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[row.get(name) for name in columns] for row in rows]
