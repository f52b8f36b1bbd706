"""The time that a search may take, and how it is divided: networks are looked for, the best are trained to the end, the page is written."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nasforge.search.timing import Timing

UNTIL = {"search": 0.45, "finals": 1.0}  # shares of the time at which phases end
UNTIL_WITH_CONTROL = {"search": 0.35, "control": 0.7, "finals": 1.0}
WRITING_S = 4.0  # for the summary, the page and an export
TRIALS = 24  # that the time of a search is to be enough for, however large the networks and the data;
FEWEST_TRIALS = 6  # where it is so short that trainings of 1/24 would tell nothing: then each has ...
SHORTEST_S = 8.0
BETWEEN_S = 1.0  # between two trainings of a worker: building, loading, weights on disk


@dataclass
class Clock:
    """The time of a run, over interruptions; without `minutes` nothing ever ends by it.

    since: seconds that a search had taken which came to its end before, with fewer minutes; the rest is divided.
    """

    minutes: float | None
    timing: Timing
    control: bool = False
    since: float = 0.0

    def until_s(self, phase: str) -> float:
        """Return the second of the run at which a phase must end."""
        if self.minutes is None:
            return math.inf
        share, end = (UNTIL_WITH_CONTROL if self.control else UNTIL)[phase], 60 * self.minutes
        return self.since + share * (end - min(WRITING_S, 0.1 * end) - self.since)

    def left_s(self, phase: str) -> float:
        """Return the seconds until a phase must end."""
        return self.until_s(phase) - (0.0 if self.minutes is None else self.timing.totals()["total"])

    def told(self) -> tuple[float, float] | None:
        """Return the seconds that have gone by and those in all; None without a limit."""
        return None if self.minutes is None else (self.timing.totals()["total"], 60 * self.minutes)

    def over(self, phase: str) -> bool:
        """Return whether the time of a phase has run out."""
        return self.left_s(phase) <= 0

    def trial_minutes(self, workers: int) -> float | None:
        """Return the longest time of a training while networks are looked for, so that enough of them are tried; None without a limit."""
        if self.minutes is None:
            return None
        return _trial_s(self.minutes, self.control, workers) / 60

    def training_minutes(self, trainings: int, workers: int) -> float | None:
        """Return how long the next training of the finals may take where so many are still to begin; None without a limit."""
        if self.minutes is None:
            return None
        return max(0.02, (self.left_s("finals") / math.ceil(trainings / workers) - BETWEEN_S) / 60)


def _trial_s(minutes: float, control: bool, workers: int) -> float:
    """The longest seconds of a training while networks are looked for."""
    whole = 60 * minutes * (UNTIL_WITH_CONTROL if control else UNTIL)["search"] * workers
    return whole / min(TRIALS, max(FEWEST_TRIALS, whole / SHORTEST_S))


def divided(minutes: float, control: bool, workers: int = 1) -> str:
    """Return in words how the time is divided."""
    shares = UNTIL_WITH_CONTROL if control else UNTIL
    phases = ", ".join(f"{phase} until {in_minutes(60 * minutes * end)}" for phase, end in shares.items())
    return f"{minutes:g} minutes: {phases}; trainings of the search are cut at {in_minutes(_trial_s(minutes, control, workers))}"


def in_minutes(seconds: float) -> str:
    """Return `2:05` for 125 seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
