"""What is shown of a training while it runs: on a terminal one line that changes, elsewhere lines now and then, and whatever is said."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

REDRAWN_EVERY_S = 0.2
FIRST_LINE_S, MOST_LINE_S = 5.0, 60.0  # without a line, where there is no terminal: twice as long each time


class Progress:
    """Shows how far a training is.

    show: whether anything is shown. verbose: where there is no terminal, a line every second. unit: what is counted.
    epochs: of the whole training, None while that is not known. minutes: that it may take at most.
    """

    def __init__(self, show: bool = True, verbose: bool = False, unit: str = "samples") -> None:
        self.show, self.verbose, self.unit = show, verbose, unit
        self.epochs: int | None = None
        self.minutes: float | None = None
        self.terminal = sys.stderr.isatty()
        self.drawn = False
        self.pause = 1.0 if verbose else FIRST_LINE_S
        self.began = self.said = self.phase_began = self.epoch_began = time.monotonic()
        self.phase: tuple[int, str] | None = None
        self.epoch_s: float | None = None  # of the last whole epoch

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self.show:
            self.clear()
            print(text, file=sys.stderr, flush=True)
            self.said = time.monotonic()

    def status(self, text: str) -> None:
        """Show what is being done, where the next line takes its place."""
        if self.show and self.terminal:
            columns = shutil.get_terminal_size().columns
            print(f"\r{text[: columns - 1]}\x1b[K", end="", file=sys.stderr, flush=True)
            self.drawn, self.said = True, time.monotonic()

    @contextmanager
    def during(self, text: str) -> Iterator[None]:
        """A context in which something is being done."""
        self.status(text)
        try:
            yield
        finally:
            self.clear()

    def clear(self) -> None:
        """Take the line that changes away."""
        if self.drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self.drawn = False

    def step(self, epoch: int, phase: str, seen: int, of: int) -> None:
        """Note how many samples of a phase were seen: training or validation of an epoch, counted from 1, or test after all (0)."""
        now = time.monotonic()
        if self.phase is None or self.phase[0] != epoch:
            self.epoch_s = None if self.phase is None or self.phase[0] != epoch - 1 else now - self.epoch_began
            self.epoch_began = now
        if self.phase != (epoch, phase):
            self.phase, self.phase_began = (epoch, phase), now
        if not self.show or now - self.said < (REDRAWN_EVERY_S if self.terminal else self.pause) or not (seen or self.terminal):
            return
        line = self._line(epoch, phase, seen, of, now)
        if self.terminal:
            self.status(line)
        else:
            self.say(line)
            self.pause = 1.0 if self.verbose else min(2 * self.pause, MOST_LINE_S)

    def _line(self, epoch: int, phase: str, seen: int, of: int, now: float) -> str:
        of_epochs = f"/{self.epochs}" if self.epochs is not None and self.minutes is None else ""
        parts = [f"epoch {epoch}{of_epochs}"] if epoch else []
        parts.append(f"{phase} {seen / max(1, of):.0%}")
        took = now - self.phase_began
        if seen and took > 0:
            rate = seen / took
            parts.append(f"{rate:,.{0 if rate >= 9.95 else 1}f} {self.unit}/s")
            if phase == "training" and (left := self._left(epoch, (of - seen) / rate, of / rate, now)) is not None:
                parts.append(f"{clock(left)} left")
        return "  ".join(parts)

    def _left(self, epoch: int, rest: float, whole: float, now: float) -> float | None:
        """Seconds until the end, from those for the rest of this epoch and for a whole one."""
        by_epochs = None if self.epochs is None else rest + (self.epochs - epoch) * (self.epoch_s or whole)
        if self.minutes is None:
            return by_epochs
        by_clock = max(0.0, 60 * self.minutes - (now - self.began))
        return by_clock if by_epochs is None else min(by_clock, by_epochs)


def clock(seconds: float) -> str:
    """Return 1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
