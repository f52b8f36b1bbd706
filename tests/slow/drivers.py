"""Searches as a user starts them, in processes of their own, and what their storages hold: for tests that break things."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from nasforge.storage.open import open_storage

TRIALS = 8
SPACE = """
input: [1, 8, 8]
classes: 10
body:
  - conv: {out: {choose: [4, 8, 12, 16]}, kernel: {choose: [1, 3, 5]}}
  - stage: {block: {conv: {out: {choose: [8, 16, 24]}}}, depth: {int: [1, 3]}}
head: [gap_head]
"""


class Driver:
    """One `nasforge search` in a process of its own."""

    def __init__(self, folder: Path, *more: str, name: str = "run", workers: int = 2, **limits: Any) -> None:
        space = folder / "space.yaml"
        space.write_text(SPACE, encoding="utf-8")
        self.run = folder / name
        asked = f"--data digits --data-limit 600 --trials {TRIALS} --epochs 10 --final-epochs 1 --finalists 1 --final-seeds 1"
        kind = f"--no-control --strategy random --scheduler none --objective accuracy,-params --workers {workers} --json"
        self.command = [sys.executable, "-W", "ignore", "-m", "nasforge.cli", "search", str(space), *asked.split(), *kind.split()]
        self.command += ["--run", str(self.run), *more]
        self.out = (folder / f"{name}.out").open("w+")
        self.err = (folder / f"{name}.err").open("w+")
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would the driver
        self.process = subprocess.Popen(self.command, stdout=self.out, stderr=self.err, start_new_session=True, **limits)

    def said(self) -> str:
        """What it wrote on stderr."""
        return Path(self.err.name).read_text(encoding="utf-8")

    def signal(self, number: int) -> None:
        """Send a signal to the driver and its workers, as a terminal or a machine that dies does."""
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()

    def wait(self, timeout_s: float = 180) -> int:
        try:
            return self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                self.signal(signal.SIGKILL)

    def summary(self) -> dict[str, Any]:
        """What it printed, after it has ended well."""
        code = self.wait()
        assert code == 0, self.said()[-2000:]
        return json.loads(Path(self.out.name).read_text(encoding="utf-8"))

    def close(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
        self.out.close()
        self.err.close()


def records(run: Path, url: str | None = None) -> list[dict[str, Any]]:
    """The records of the trials of a run, by number."""
    name = "search" if url is None else f"{run.name}-search"
    storage = open_storage(run, url, write=False)
    try:
        return [t.user_attrs.get("record", {}) for t in optuna.load_study(study_name=name, storage=storage).trials]
    finally:
        if url is not None:
            storage.engine.dispose()


def finished(run: Path, url: str | None = None) -> dict[int, dict[str, Any]]:
    """The finished trials by number; none where nothing is there yet."""
    try:
        return {number: r for number, r in enumerate(records(run, url)) if r.get("kind") == "finished"}
    except Exception:  # no file, no study, half a line: it has just begun
        return {}


def until(what: Callable[[], Any], driver: Driver, timeout_s: float = 200) -> Any:
    """What `what` returns, once it is true. Fails where that takes too long, or the driver has ended before."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        got = what()
        if got:
            return got
        assert driver.process.poll() is None, f"it has ended: {driver.said()[-2000:]}"
        time.sleep(0.1)
    raise AssertionError(f"waited {timeout_s} s in vain; {driver.said()[-2000:]}")


def assert_whole(run: Path, before: dict[int, dict[str, Any]], url: str | None = None, trials: int = TRIALS) -> None:
    """Nothing that had finished is lost or changed, nothing was trained twice, and there are as many trials as were asked."""
    after = records(run, url)
    assert all(after[number] == record for number, record in before.items()), "a finished trial is lost"
    counted = [r for r in after if r.get("kind") in ("finished", "pruned", "failed")]
    assert len(counted) == trials, [r.get("kind") for r in after]
    keys = [r["key"] for r in counted if r["kind"] != "failed"]
    assert len(keys) == len(set(keys)), "a network was trained twice"
