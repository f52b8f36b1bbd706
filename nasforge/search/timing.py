"""Where the time of a search went: wall seconds in which something was trained or measured, and all others."""

from __future__ import annotations

import time


class Timing:
    """Adds up wall time with at least one job running (busy), the workers' own seconds, and the total."""

    def __init__(self, began: float | None = None) -> None:
        self.began = time.monotonic() if began is None else began
        self.running: set[object] = set()
        self.busy_since = 0.0
        self.busy = 0.0
        self.before = {"total": 0.0, "busy": 0.0, "training": 0.0, "measuring": 0.0}
        self.worked = {"training": 0.0, "measuring": 0.0}

    def carry(self, earlier: dict[str, float]) -> None:
        """Go on from the totals of an earlier session of the same run."""
        self.before |= {k: earlier[k] for k in self.before if k in earlier}

    def started(self, job: object) -> None:
        if not self.running:
            self.busy_since = time.monotonic()
        self.running.add(job)

    def ended(self, job: object, seconds: dict[str, float]) -> None:
        self.running.discard(job)
        if not self.running:
            self.busy += time.monotonic() - self.busy_since
        for name in self.worked:
            self.worked[name] += seconds.get(name, 0.0)

    def totals(self) -> dict[str, float]:
        """Seconds: total and busy wall time, worker seconds of training and measuring, wall time with neither (overhead)."""
        busy = self.busy + (time.monotonic() - self.busy_since if self.running else 0.0)
        out = {
            "total": time.monotonic() - self.began + self.before["total"],
            "busy": busy + self.before["busy"],
            "training": self.worked["training"] + self.before["training"],
            "measuring": self.worked["measuring"] + self.before["measuring"],
        }
        out["overhead"] = max(0.0, out["total"] - out["busy"])
        return {k: round(v, 2) for k, v in out.items()}
