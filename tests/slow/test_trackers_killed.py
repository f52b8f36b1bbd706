"""A search that is followed by TensorBoard and killed with its process: the same command has each trial once, with local workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT, records

pytestmark = pytest.mark.slow
LINE = "search digits --trials 5 --epochs 4 --final-epochs 2 --finalists 1 --final-seeds 1 --seed-arch lenet5 --workers 2 --log tensorboard"


def begun(folder: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "nasforge", *LINE.split(), "--quiet", "--run", str(folder)]
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.thorough
def test_killed_and_continued_each_trial_is_there_once(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    followed, until = tmp_path / "tensorboard", time.monotonic() + 120
    with begun(tmp_path) as search:
        while len(list(followed.glob("search-*/ended"))) < 2 or all((one / "ended").exists() for one in followed.glob("search-*")):
            assert search.poll() is None and time.monotonic() < until, search.stdout and search.stdout.read()
            time.sleep(0.05)
        search.send_signal(signal.SIGKILL)
    with begun(tmp_path) as again:
        said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    found = {f"search-{n}": r for n, r in enumerate(records(tmp_path)) if r.get("kind") in ("finished", "pruned", "failed")}
    assert len(found) == 5 and {one.name for one in followed.glob("search-*")} == found.keys()
    for name, record in found.items():
        seen = accumulator.EventAccumulator(str(followed / name))
        seen.Reload()
        curve = [(event.step, pytest.approx(event.value)) for event in seen.Scalars("val/accuracy")]
        assert [(row["epoch"], row["accuracy"]) for row in record["curve"]] == curve
