"""The time that a search may take, and how it is divided: networks are looked for, the best are trained to the end, the page is written."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nasforge.search.timing import Timing

UNTIL = {"search": 0.45, "finals": 1.0}  # shares of the time at which phases end
UNTIL_WITH_CONTROL = {"search": 0.35, "control": 0.7, "finals": 1.0}
WRITING_S = 4.0  # for the summary, the page and an export
TRIALS = 24  # that the time of a search is to be enough for, however large the networks and the data
BETWEEN_S = 1.0  # between two trainings of a worker: building, loading, weights on disk


@dataclass
class Clock:
    """The time of a run, over interruptions; without `minutes` nothing ever ends by it."""

    minutes: float | None
    timing: Timing
    control: bool = False

    def left_s(self, phase: str) -> float:
        """Return the seconds until a phase must end."""
        if self.minutes is None:
            return math.inf
        until = (UNTIL_WITH_CONTROL if self.control else UNTIL)[phase]
        end = 60 * self.minutes
        return until * (end - min(WRITING_S, 0.1 * end)) - self.timing.totals()["total"]

    def over(self, phase: str) -> bool:
        """Return whether the time of a phase has run out."""
        return self.left_s(phase) <= 0

    def trial_minutes(self, workers: int) -> float | None:
        """Return the longest time of a training while networks are looked for, so that enough of them are tried; None without a limit."""
        if self.minutes is None:
            return None
        shares = UNTIL_WITH_CONTROL if self.control else UNTIL
        return self.minutes * shares["search"] * workers / TRIALS

    def training_minutes(self, trainings: int, workers: int) -> float | None:
        """Return how long the next training of the finals may take where so many are still to begin; None without a limit."""
        if self.minutes is None:
            return None
        return max(0.02, (self.left_s("finals") / math.ceil(trainings / workers) - BETWEEN_S) / 60)


def divided(minutes: float, control: bool) -> str:
    """Return in words how the time is divided."""
    shares = UNTIL_WITH_CONTROL if control else UNTIL
    return f"{minutes:g} minutes: " + ", ".join(f"{phase} until {_clock(60 * minutes * end)}" for phase, end in shares.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
